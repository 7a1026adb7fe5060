from experiments.codec_bach import CodecBach


class WithoutDropout(CodecBach):
    """The small codec trained with all codebooks always, for one bitrate."""

    quantiser_dropout = 0.0
