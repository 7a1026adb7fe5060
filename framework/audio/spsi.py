"""Phases from magnitudes in one pass over the frames: single-pass spectrogram inversion (Beauregard et al., 2015).

Each peak of a spectrum is taken for a sinusoid, whose phase advances from frame to frame by its frequency, and the
bins around the peak for what the window makes of it. The phases are a far better start for Griffin-Lim than zero,
provided that the magnitudes resolve the partials.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad


class SinglePassInversion:
    """Phases of magnitudes that come in pieces `(batch, frames, bins)`.

    Args:
        n_fft: Length of the transform (samples).
        hop_length: Samples between two frames.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        self.hops = hop_length / n_fft
        self.state: Tensor | None = None

    def __call__(self, magnitude: Tensor) -> Tensor:
        """Return the phases (radians) of the next frames, of the piece's shape."""
        if not magnitude.shape[1]:
            return magnitude
        peaks, frequencies = sinusoids(magnitude)
        half_advance = frequencies * (self.hops / 2)
        state = initial_state(magnitude) if self.state is None else self.state
        phases = torch.empty_like(magnitude)
        for frame in range(magnitude.shape[1]):
            phases[:, frame], state = advance(state, peaks[:, frame], half_advance[:, frame])
        self.state = state
        return in_frames(phases)


def sinusoids(magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each bin of magnitudes `(batch, frames, bins)` the peak it belongs to, and its frequency (bins).

    From any bin the peak is reached by going uphill. Its frequency is that of the parabola through the logarithms of
    the peak and its two neighbours.
    """
    bins = magnitude.shape[-1]
    level = magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny).log()
    left, right = pad(level, (1, 0), value=-math.inf)[..., :-1], pad(level, (0, 1), value=-math.inf)[..., 1:]
    number = torch.arange(bins, device=magnitude.device)
    uphill = torch.where(left > torch.maximum(level, right), number - 1, torch.where(right > level, number + 1, number))
    for _ in range(math.ceil(math.log2(bins))):
        uphill = uphill.gather(-1, uphill)
    # The first and the last bin have one neighbour alone.
    inner = pad(torch.ones_like(number[1:-1]), (1, 1))
    curvature = (left - 2 * level + right).clamp(max=-1e-6)
    offset = torch.where(inner > 0, (left - right) / (2 * curvature), 0.0).clamp(-0.5, 0.5)
    return uphill, (number + offset).gather(-1, uphill)


def initial_state(magnitude: Tensor) -> Tensor:
    """Return the state before the first of frames `(batch, frames, bins)`: phases that are spread over the bins.

    Sinusoids of equal phase would peak together.
    """
    golden_ratio = (5**0.5 - 1) / 2
    number = torch.arange(magnitude.shape[-1], dtype=torch.double, device=magnitude.device)
    return (golden_ratio * number).frac().to(magnitude.dtype).repeat(magnitude.shape[0], 1)


def advance(state: Tensor, peaks: Tensor, half_advance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the phases (turns) of a frame's sinusoids at its centre, and the state for the frame behind it.

    The state is what the phases would be half a hop later. All tensors are `(batch, bins)`: between two frames a
    sinusoid advances by half a hop at the frequency of the first and half a hop at that of the second.
    """
    turns = state.gather(-1, peaks) + half_advance
    phase = turns - turns.floor()
    return phase, phase + half_advance


def in_frames(turns: Tensor) -> Tensor:
    """Return phases in frames (radians) of those at their centres (turns), both `(batch, frames, bins)`.

    From the beginning of a frame to its centre, a bin advances by half as many turns as its number.
    """
    number = torch.arange(turns.shape[-1], device=turns.device)
    return 2 * math.pi * turns + math.pi * (number % 2)
