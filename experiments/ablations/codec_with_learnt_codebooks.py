from experiments.codec_bach import CodecBach
from framework.generators.codecs.quantisation import Codebook, FactorisedCodebook


class WithLearntCodebooks(CodecBach):
    """The small codec with DAC's codebooks, learnt by gradient and looked up by direction."""

    def build_codebook(self, latents: int) -> Codebook:
        return FactorisedCodebook(latents, self.codebook_size, self.codebook_dim)
