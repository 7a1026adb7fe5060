"""A language model of codes, conditioned."""

from datamodules.notes import Notes
from framework.generators.latent.code_language_model import CodeLanguageModel


class CodeLanguageModelNotes(CodeLanguageModel):
    """Notes of nine instruments, which a label chooses, as text of the small codec (`fit codec_bach` first)."""

    data = Notes.variant(sample_rate=22050, segment=22528, batch_size=8, labels=("instrument",), validation_clips=4)
    mel = "hifigan_22k"
    autoencoder = "codec_bach"
    label = "instrument"
    num_classes = 9
    context = 128
    max_steps = 20_000
    val_check_interval = 2_000
