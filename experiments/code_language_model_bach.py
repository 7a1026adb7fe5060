"""A language model of codes, small."""

from datamodules.bach_chorales import BachChorales
from framework.generators.latent.code_language_model import CodeLanguageModel


class CodeLanguageModelBach(CodeLanguageModel):
    """Chorales as text: four of the small codec's codebooks in the delay pattern (`fit codec_bach` first)."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, segment=62720, batch_size=4, validation_clips=4)
    mel = "hifigan_22k"
    autoencoder = "codec_bach"
    n_codebooks = 4
    channels = 192
    layers = 4
    context = 256
    top_k = 50
    max_steps = 2_000
    val_check_interval = 1_000
