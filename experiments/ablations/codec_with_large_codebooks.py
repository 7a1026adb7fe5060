from experiments.codec_bach import CodecBach


class WithLargeCodebooks(CodecBach):
    """The small codec with fewer, larger codebooks for about the same bitrate."""

    n_codebooks = 6
    codebook_size = 1024
