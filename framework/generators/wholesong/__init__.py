"""Whole-song hierarchical generation (Wang et al., 2024): networks and the system."""

from framework.aliases import attributes_of

__getattr__ = attributes_of("framework.generators.wholesong.system")
