"""Interpolates controls from the frame rate of a network to the sample rate of oscillators (DDSP: Engel et al., 2020).

Controls are `(batch, frames, channels)`, as linear and recurrent layers give them; f0 is `(batch, frames)` in Hz.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from framework.audio.checks import check_at_least, check_real, check_shape
from framework.errors import InvalidValueError

Interpolation = Literal["nearest", "linear", "hann", "cubic"]


def full_precision(x: Tensor) -> Tensor:
    """Convert a tensor to float32, unless it is float64: phases and FFTs are inaccurate in lower precision.

    Raises:
        InvalidTypeError: the tensor is complex.
    """
    check_real("a signal", x)
    return x if x.dtype == torch.float64 else x.float()


def exp_sigmoid(x: Tensor, exponent: float = 10.0, maximum: float = 2.0, threshold: float = 1e-7) -> Tensor:
    """Map any number to an amplitude in `(threshold, maximum + threshold)` (section B.5).

    `maximum * sigmoid(x) ** ln(exponent) + threshold`: far below zero the amplitude grows by a factor of `exponent` for
    each unit. The same in the official code and in ddsp_pytorch.
    """
    return maximum * torch.sigmoid(full_precision(x)) ** math.log(exponent) + threshold


def blend_weights(
    interpolation: Interpolation, position: Tensor, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, int]:
    """Return the weights of the neighbouring frames for each point between two frames.

    Args:
        interpolation: `nearest` holds a frame until the next; `linear` and `hann` blend it into the next, along a line
            or, as overlapping Hann windows of two hops do, half a cosine; `cubic` takes one more frame on either side.
        position: Place between the frames `(points,)`, 0 at the first and 1 at the next.
        dtype: Type of the weights.

    Returns:
        Weights `(neighbours, points)`, and which frame the first of the neighbours is, relative to the first frame.

    Raises:
        InvalidValueError: there is no such interpolation.
    """
    if interpolation not in get_args(Interpolation):
        raise InvalidValueError(f"interpolation {interpolation!r}: give one of {', '.join(get_args(Interpolation))}")
    check_real("position", position)
    u = position.double()
    if interpolation == "nearest":
        return torch.ones_like(u)[None].to(dtype), 0
    if interpolation == "cubic":
        return torch.stack([_keys(1 + u), _keys(u), _keys(1 - u), _keys(2 - u)]).to(dtype), -1
    rise = u if interpolation == "linear" else 0.5 - 0.5 * torch.cos(torch.pi * u)
    return torch.stack([1 - rise, rise]).to(dtype), 0


def _keys(x: Tensor, a: float = -0.75) -> Tensor:
    """Cubic convolution kernel (Keys, 1981, equation 4) at distances from 0 to 2 frames."""
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, inner, outer)


def resample(controls: Tensor, steps: int, interpolation: Interpolation = "linear", hold_last: bool = True) -> Tensor:
    """Interpolate controls `(batch, frames, channels)` to `(batch, steps, channels)`.

    The official code takes f0 `linear` and amplitudes by `hann` windows; ddsp_pytorch takes both `nearest`. Frame k is
    at step `k * steps / frames`, without TensorFlow's and PyTorch's usual half pixel.

    Args:
        controls: Values at the frame rate.
        steps: Length of the result.
        interpolation: How; see `blend_weights`.
        hold_last: Whether the last frame is held for a hop; otherwise it is the last step, and frame k is at step
            `k * (steps - 1) / (frames - 1)`. The official Hann windows then end one step short of the last frame:
            frame k is at `k * steps / (frames - 1)`.

    Raises:
        InvalidValueError: there is no frame, or Hann windows would not have a whole number of steps.
    """
    check_shape("controls", controls, "batch", "frames", "channels")
    check_at_least("steps", steps, 0)
    frames = controls.shape[1]
    controls = full_precision(controls)
    intervals = frames if hold_last else frames - 1
    if interpolation == "hann" and (intervals < 1 or steps % intervals or steps <= intervals):
        raise InvalidValueError(f"Hann windows need a multiple of {intervals} steps for {frames} frames, not {steps}")
    whole = steps if hold_last or interpolation == "hann" else steps - 1
    position = torch.arange(steps, device=controls.device, dtype=torch.float64) * intervals / max(whole, 1)
    if interpolation == "nearest" and not hold_last:
        position = (position + 0.5).floor()
    first = position.floor()
    weights, offset = blend_weights(interpolation, position - first, controls.dtype)
    result = torch.zeros_like(controls[:, :1])
    for neighbour, weight in enumerate(weights, start=offset):
        frame = (first.long() + neighbour).clamp(0, frames - 1)
        result = result + weight[:, None] * controls[:, frame]
    return result


def harmonic_frequencies(f0: Tensor, harmonics: int) -> Tensor:
    """Return the frequencies (Hz) `(batch, frames, harmonics)` of the harmonics 1, 2, ... of f0 `(batch, frames)`."""
    f0 = full_precision(f0)
    return f0[..., None] * torch.arange(1, harmonics + 1, device=f0.device, dtype=f0.dtype)


def normalise_harmonics(distribution: Tensor, f0: Tensor, sample_rate: int, leak: float | None = None) -> Tensor:
    """Silence the harmonics at and above half the sample rate, then scale the others to a sum of one (section 3.1).

    Args:
        distribution: Non-negative weights `(batch, frames, harmonics)`.
        f0: Fundamental frequency `(batch, frames)` in Hz.
        sample_rate: Hz.
        leak: None is the official code. ddsp_pytorch (1e-4) adds this to the factors 1 below and 0 above, so that a
            little remains of every harmonic.

    Returns:
        Weights of the same shape; all zero in frames without any harmonic below half the sample rate.

    Raises:
        InvalidValueError: f0 has not one value for each frame.
    """
    check_shape("harmonics' distribution", distribution, "batch", "frames", "harmonics")
    check_shape("f0", f0, *distribution.shape[:2])
    distribution, f0 = full_precision(distribution), full_precision(f0)
    below = harmonic_frequencies(f0, distribution.shape[-1]) < sample_rate / 2
    weights = distribution * (below if leak is None else below + leak)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)
