from experiments.codec_bach import CodecBach
from framework.generators.dac import DACNetwork
from framework.generators.vocos import VocosDecoder


class WithVocosDecoder(CodecBach):
    """The small codec whose decoder is a small Vocos: one inverse transform in place of upsampling."""

    def build_generator(self) -> DACNetwork:
        network = super().build_generator()
        network.decoder = VocosDecoder(network.dimension, network.samples_per_frame, 128, 384, 4)
        return network
