from torch import nn

from experiments.codec_bach import CodecBach
from framework.generators.codecs.dac import DAC


class WithDACNetworks(CodecBach):
    """The small codec with encoder and decoder of DAC's kind, at the sample rate."""

    decoder_channels = 128

    def build_encoder(self, outputs: int) -> nn.Module:
        return DAC.build_encoder(self, outputs)

    def build_decoder(self, inputs: int) -> nn.Module:
        return DAC.build_decoder(self, inputs)
