"""DDSP (Engel et al., 2020): networks and the system."""

from framework.aliases import attributes_of

__getattr__ = attributes_of("framework.generators.ddsp.system")
