"""Binary notes in training."""

from experiments.musegan_bach import MuseGANBach


class WithHardRefinement(MuseGANBach):
    """The critic sees notes at a threshold, with a straight-through gradient."""

    refinement = "hard"
