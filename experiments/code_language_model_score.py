"""A language model of codes that plays a score."""

from experiments.code_language_model_bach import CodeLanguageModelBach


class CodeLanguageModelScore(CodeLanguageModelBach):
    """Chorales as text of the small codec that play the notes they are given (`fit codec_bach` first)."""

    data = CodeLanguageModelBach.data.variant(score_hop=256)
    scored = True
