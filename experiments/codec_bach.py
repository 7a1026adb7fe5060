"""A small codec."""

from torch import nn

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.dac import DACDiscriminator
from framework.generators.codecs.dac import DAC
from framework.generators.codecs.quantisation import Codebook, EMACodebook
from framework.generators.fourier import SpectrumEncoder
from framework.generators.vocos import VocosDecoder


class CodecBach(DAC):
    """A small codec on Bach for strings, after DAC: up to 4.8 kbit/s; minutes on two CPU cores.

    Encoder and decoder work at the frame rate, as Vocos does: in a few minutes DAC's own learn far less. So do its
    codebooks, which collapse onto a few codes: here they are EnCodec's.
    """

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=8)
    mel = "hifigan_22k"
    encoder_channels = 8
    rates = (4, 8, 8)
    n_codebooks = 8
    codebook_size = 128
    learning_rate = 1e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 100.0
    adversarial_start = 2_700
    max_steps = 3_000
    val_check_interval = 1_000

    def build_encoder(self, outputs: int) -> nn.Module:
        return SpectrumEncoder(outputs, 256, channels=192, hidden=576, layers=4)

    def build_decoder(self, inputs: int) -> nn.Module:
        return VocosDecoder(inputs, 256, channels=192, hidden=576, layers=4)

    def build_codebook(self, latents: int) -> Codebook:
        return EMACodebook(latents, self.codebook_size, dead_code_threshold=0.5)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"dac": DACDiscriminator((3, 7, 11), (1024,), period_channels=(8, 32, 64, 64), channels=8)}
