"""SpecGrad of DiffWave's size."""

from datamodules.bach_chorales import BachChorales
from framework.generators.specgrad import SpecGrad


class SpecGradBase(SpecGrad):
    """DiffWave BASE from noise of the mel's envelope (Koizumi et al., 2022)."""

    data = BachChorales.variant(segment=15_872)
