"""Pseudo quadrature mirror filters (PQMF): critically sampled sub-bands of audio, and synthesis (Nguyen, 1994)."""

import math

import torch
from torch import Tensor, nn

from framework.audio.checks import check_at_least, check_real, check_shape
from framework.errors import InvalidValueError

TAPS, CUTOFF, BETA = 62, 0.142, 9.0
"""Order of the prototype for four bands, its cutoff as a share of half the rate, and the Kaiser window's beta."""


class SubBandAnalysis(nn.Conv1d):
    """Audio `(batch, 1, time)` -> sub-bands `(batch, bands, time / bands)`, at a fraction of the sample rate."""

    def __init__(self, bands: int = 4, taps: int = TAPS, cutoff: float = CUTOFF, beta: float = BETA) -> None:
        super().__init__(1, bands, taps + 1, bands, padding=taps // 2, bias=False)
        fixed(self, filters(bands, taps, cutoff, beta)[0])

    def forward(self, audio: Tensor) -> Tensor:
        """Return the sub-bands, in float32 whatever the surrounding autocast: rounding would drown quiet ones.

        Raises:
            InvalidValueError: the audio is not mono, or empty.
        """
        check_shape("audio", audio, "batch", 1, "time")
        check_real("audio", audio)
        with torch.autocast(audio.device.type, enabled=False):
            return super().forward(audio.to(self.weight.dtype))


class SubBandSynthesis(nn.ConvTranspose1d):
    """Sub-bands `(batch, bands, time / bands)` -> audio `(batch, 1, time)`; what the analysis made comes back."""

    def __init__(self, bands: int = 4, taps: int = TAPS, cutoff: float = CUTOFF, beta: float = BETA) -> None:
        # With so much padding the output is `bands` times as long.
        super().__init__(bands, 1, taps + 1, bands, padding=taps // 2, output_padding=bands - 1, bias=False)
        fixed(self, bands * filters(bands, taps, cutoff, beta)[1])

    def forward(self, sub_bands: Tensor) -> Tensor:  # type: ignore[override]
        """Return the audio, in float32 whatever the surrounding autocast.

        Raises:
            InvalidValueError: there are other sub-bands, or none.
        """
        check_shape("sub-bands", sub_bands, "batch", self.in_channels, "time")
        check_real("sub-bands", sub_bands)
        with torch.autocast(sub_bands.device.type, enabled=False):
            return super().forward(sub_bands.to(self.weight.dtype))


def filters(bands: int, taps: int, cutoff: float, beta: float) -> tuple[Tensor, Tensor]:
    """Return the filters of analysis and of synthesis, both `(bands, 1, taps + 1)`: a modulated low-pass filter.

    Raises:
        InvalidValueError: there are no bands, or an odd number of taps, whose delay would be half a sample.
    """
    check_at_least("bands", bands, 1)
    check_at_least("taps", taps, 2)
    if taps % 2:
        raise InvalidValueError(f"taps = {taps}: give an even number")
    places = torch.arange(taps + 1) - taps / 2
    window = torch.kaiser_window(taps + 1, periodic=False, beta=beta, dtype=torch.double)
    prototype = cutoff * torch.sinc(cutoff * places.double()) * window
    order = torch.arange(bands).double()[:, None]
    angle = (2 * order + 1) * math.pi / (2 * bands) * places
    turn = (-1) ** order * math.pi / 4
    analysis, synthesis = (2 * prototype * (angle + sign * turn).cos() for sign in (1, -1))
    return analysis[:, None].float(), synthesis.flip(-1)[:, None].float()


def fixed(layer: nn.Conv1d | nn.ConvTranspose1d, weight: Tensor) -> None:
    """Set a fixed weight of a layer, which is not trained and not part of checkpoints."""
    del layer.weight
    layer.register_buffer("weight", weight, persistent=False)
