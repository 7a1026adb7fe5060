"""MuseGAN (Dong et al., 2018): networks, tracks, and the system."""

from framework.aliases import attributes_of

__getattr__ = attributes_of("framework.generators.musegan.system")
