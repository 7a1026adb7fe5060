from experiments.encodec_24k import Encodec24k


class WithoutBalancer(Encodec24k):
    """EnCodec whose losses are summed as they are (Défossez et al., 2023, section 4.5.4)."""

    balanced = False
