"""Griffin-Lim, the baseline."""

from datamodules.bach_chorales import BachChorales
from framework.generators.griffin_lim import GriffinLimVocoder


class GriffinLim(GriffinLimVocoder):
    """Fast Griffin-Lim from log-mels, the baseline of every evaluation (Perraudin et al., 2013)."""

    data = BachChorales
