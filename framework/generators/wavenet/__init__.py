"""WaveNet (van den Oord et al., 2016): network, sampling in three ways, and the system."""

from framework.aliases import attributes_of

__getattr__ = attributes_of("framework.generators.wavenet.system")
