from experiments.codec_bach import CodecBach
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_scale_stft import MultiScaleSTFTDiscriminator


class WithSTFTDiscriminator(CodecBach):
    """The small codec against EnCodec's multi-scale STFT discriminator."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_scale_stft": MultiScaleSTFTDiscriminator((1024,), channels=8)}
