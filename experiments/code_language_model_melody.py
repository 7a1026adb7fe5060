"""A language model of codes that plays a melody."""

from datamodules.stems import BachStems
from framework.generators.latent.code_language_model import CodeLanguageModel


class CodeLanguageModelMelody(CodeLanguageModel):
    """A violin that plays what pitch it is given, as text of the small codec (`fit codec_bach` first)."""

    data = BachStems.variant(
        sample_rate=22050, instruments=("violin",), score_hop=256, segment=62720, batch_size=4, validation_clips=4
    )
    mel = "hifigan_22k"
    autoencoder = "codec_bach"
    scored = True
    n_codebooks = 4
    context = 256
    max_steps = 20_000
    val_check_interval = 2_000
