"""Griffin-Lim from the true spectrum."""

from typing import Any

from torch import Tensor

from experiments.griffin_lim import GriffinLim
from framework.audio.griffin_lim import LinearGriffinLim
from framework.errors import InvalidValueError


class GriffinLimLinear(GriffinLim):
    """Fast Griffin-Lim from true linear magnitudes; the difference from griffin_lim is the loss by the mel bands."""

    def build_generator(self) -> LinearGriffinLim:
        if self.mel_consistency_steps:
            raise InvalidValueError("mel_consistency_steps: there is no mel to project towards; leave it at 0")
        return LinearGriffinLim(self.preset, self.iterations, self.momentum, self.random_phase)

    def condition(self, batch: dict[str, Any]) -> Tensor:
        return self.front_end.magnitude(batch["audio"])
