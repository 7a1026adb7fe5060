"""Binary notes in training, at random."""

from experiments.musegan_bach import MuseGANBach


class WithBernoulliRefinement(MuseGANBach):
    """The critic sees notes drawn by their values as probabilities, with a straight-through gradient."""

    refinement = "bernoulli"
