"""A bank of harmonic oscillators (DDSP: Engel et al., 2020, sections 3.1 and B.5) that neither drifts nor fills memory.

The sum over harmonics h of `a_h sin(h w)` written out is a tensor of (batch, samples, harmonics), several times over
with its gradients. Here no such tensor is made:

* The phase is accumulated over frames only, in float64, and wrapped to one cycle; within a frame it is a polynomial of
  the sample. So it has the same error after a minute as at the start, that of one float32 number.
* With `h = K j + k`, `e^{ihw} = e^{iKjw} e^{ikw}`: about 2 sqrt(harmonics) sinusoids make all of them, and what is
  summed over k is a product of a frame's amplitudes with K sinusoids, a matrix product. Each sinusoid is found by
  doubling, `e^{i(n+k)w} = e^{inw} e^{ikw}`, at the cost of a multiplication.
* Amplitudes that are interpolated are a blend of two frames with weights that every hop shares: both frames'
  sums are made and then blended.
* Samples are made some thousand at a time, and again in the backward pass, which keeps the frames alone.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.audio.envelopes import Interpolation, blend_weights, full_precision, harmonic_frequencies

_SAMPLES_AT_ONCE = {"cpu": 1 << 14}
"""What stays in the cache of a processor; elsewhere starting a kernel costs more than memory."""


def harmonic_oscillators(
    f0: Tensor,
    amplitudes: Tensor,
    hop_length: int,
    sample_rate: int,
    interpolation: Interpolation = "hann",
    f0_interpolation: Literal["nearest", "linear"] = "linear",
    band_limited: bool = True,
) -> Tensor:
    """Return the sum of sines at the multiples of f0.

    The first sample has the phase of one step, as the cumulative sum of the official code. The official code takes the
    defaults; ddsp_pytorch takes both interpolations `nearest` and is not band-limited.

    Frames with an f0 of 0 Hz are unvoiced: their harmonics are silent, and f0 does not glide to or from 0 Hz. (Both
    official codes hold the phase there, which leaves a constant offset in the audio.)

    Args:
        f0: Fundamental frequency `(batch, frames)` in Hz.
        amplitudes: Peak amplitude `(batch, frames, harmonics)` of each harmonic; frame k is at sample `k * hop_length`
            and the last one is held.
        hop_length: Samples between two frames.
        sample_rate: Hz.
        interpolation: How amplitudes go from frame to frame.
        f0_interpolation: How f0 does.
        band_limited: Whether harmonics are silent in the very samples where they are at or above half the sample rate.

    Returns:
        Audio `(batch, 1, frames * hop_length)`.

    Raises:
        ValueError: if f0 and amplitudes differ in batch or frames.
    """
    if f0.shape != amplitudes.shape[:2]:
        raise ValueError(f"f0 {tuple(f0.shape)} and amplitudes {tuple(amplitudes.shape)} differ in batch or frames")
    f0, amplitudes = full_precision(f0), full_precision(amplitudes)
    with torch.autocast(f0.device.type, enabled=False):
        start, end = _hop_ends(f0, f0_interpolation)
        heard = (f0 > 0)[..., None]
        if band_limited:
            heard = heard & (harmonic_frequencies(f0, amplitudes.shape[-1]) < sample_rate / 2)
        phase = _frame_phase(start.double() / sample_rate, end.double() / sample_rate, hop_length)
        position = torch.arange(hop_length, device=f0.device) / hop_length
        weights, offset = blend_weights(interpolation, position, f0.dtype)
        neighbours = _neighbours(amplitudes * heard, len(weights), offset)
        audio = _HarmonicSum.apply(phase.flatten(0, 1), neighbours.flatten(0, 1), weights)
        audio = audio.reshape(len(f0), -1, hop_length)
        if band_limited and f0_interpolation == "linear":
            audio = audio - _above_nyquist(start, end, phase, neighbours, weights, sample_rate)
    return audio.reshape(len(f0), 1, -1)


def _hop_ends(f0: Tensor, interpolation: str) -> tuple[Tensor, Tensor]:
    """Return f0 (Hz) `(batch, frames)` at the start of each hop and at the start of the next."""
    if interpolation == "nearest":
        return f0, f0
    following = torch.cat([f0[:, 1:], f0[:, -1:]], 1)
    return torch.where(f0 > 0, f0, following), torch.where(following > 0, following, f0)


def _frame_phase(start: Tensor, end: Tensor, hop_length: int) -> Tensor:
    """Return the coefficients of each hop's phase (cycles) `(batch, frames, 3)`, in float64.

    With frequencies (cycles per sample) that go from start to end along a line, the sum of those up to sample i is
    `c0 + c1 (i + 1) + c2 i (i + 1) / 2`.
    """
    slope = (end - start) / hop_length
    advance = start * hop_length + slope * (hop_length * (hop_length - 1) / 2)
    before = advance.cumsum(1) - advance
    return torch.stack([before - before.detach().round(), start, slope], -1)


def _neighbours(frames: Tensor, count: int, offset: int) -> Tensor:
    """Return for each frame those blended in its hop: `(batch, frames, count, channels)`, the outermost ones held."""
    number = frames.shape[1]
    index = torch.arange(number, device=frames.device)[:, None] + torch.arange(count, device=frames.device) + offset
    return frames[:, index.clamp(0, number - 1)]


def _powers(hop_length: int, device: torch.device) -> Tensor:
    """Return what the coefficients of a hop's phase multiply, `(3, hop_length)`."""
    i = torch.arange(hop_length, device=device, dtype=torch.float64)
    return torch.stack([torch.ones_like(i), i + 1, i * (i + 1) / 2])


def _angle(phase: Tensor, powers: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the angles (radians) `(..., hop_length)` of hops with phase coefficients `(..., 3)`, in -pi ... pi."""
    cycles = phase @ powers
    return ((cycles - cycles.detach().round()) * (2 * math.pi)).to(dtype)


def _above_nyquist(
    start: Tensor, end: Tensor, phase: Tensor, neighbours: Tensor, weights: Tensor, sample_rate: int
) -> Tensor:
    """Return the sound `(batch, frames, hop_length)` of harmonics while they are at or above half the sample rate.

    Those that are above in a whole hop have no amplitude. The others cross half the sample rate within the hop, and are
    so few that each is computed alone.
    """
    hop_length = weights.shape[-1]
    orders = torch.arange(1, neighbours.shape[-1] + 1, device=start.device, dtype=start.dtype)
    above = [ends[..., None] * orders >= sample_rate / 2 for ends in (start, end)]
    batch, frame, index = (above[0] ^ above[1]).nonzero(as_tuple=True)
    position = torch.arange(hop_length, device=start.device) / hop_length
    order = orders[index][:, None]
    first, last = start[batch, frame, None], end[batch, frame, None]
    silenced = (first + (last - first) * position) * order >= sample_rate / 2
    angle = _angle(phase[batch, frame], _powers(hop_length, start.device), torch.float64) * order
    amplitude = neighbours[batch, frame, :, index] @ weights
    sound = (amplitude * silenced) * torch.sin(angle).to(amplitude.dtype)
    result = sound.new_zeros(*start.shape, hop_length)
    return result.index_put((batch, frame), sound, accumulate=True)


class _HarmonicSum(torch.autograd.Function):
    """Hops of `sum_n weights_n(t) sum_h a_nh sin(h w(t))` from frames; everything per sample is made again backward.

    Takes phase coefficients (hops, 3) in float64, amplitudes (hops, neighbours, harmonics) and weights
    (neighbours, hop_length); gives audio (hops, hop_length).
    """

    @staticmethod
    def forward(ctx: Any, phase: Tensor, amplitudes: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(phase, amplitudes, weights)
        table = _table(amplitudes)
        audio = amplitudes.new_empty(len(phase), weights.shape[-1])
        for hops in _chunks(audio):
            fine, coarse = _sinusoids(phase[hops], table, weights)
            cosine, sine = _inner_sums(table[hops], fine)
            # Im(e^{iKjw} z) for each j, summed.
            sums = torch.mul(cosine, coarse[:, None, :, 1]).addcmul_(sine, coarse[:, None, :, 0]).sum(2)
            torch.sum(sums.mul_(weights), 1, out=audio[hops])
        return audio

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        phase, amplitudes, weights = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            return *_harmonic_gradients(gradient, phase, amplitudes, weights, *ctx.needs_input_grad[:2]), None


def _harmonic_gradients(
    gradient: Tensor, phase: Tensor, amplitudes: Tensor, weights: Tensor, for_phase: bool, for_amplitudes: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of phase coefficients and amplitudes, given that of the audio (hops, hop_length)."""
    table = _table(amplitudes)
    harmonics = amplitudes.shape[-1]
    orders = torch.arange(1, harmonics + 1, device=table.device, dtype=table.dtype)
    slopes = _table(amplitudes * orders) if for_phase else table
    phase_gradient, table_gradient = torch.empty_like(phase), torch.empty_like(table)
    powers = _powers(weights.shape[-1], phase.device)
    for hops in _chunks(gradient):
        fine, coarse = _sinusoids(phase[hops], table, weights)
        weighted = gradient[hops, None] * weights
        if for_phase:
            cosine, sine = _inner_sums(slopes[hops], fine)
            # Re(e^{iKjw} z): the derivative of a sine.
            sums = torch.mul(cosine, coarse[:, None, :, 0]).addcmul_(sine, coarse[:, None, :, 1], value=-1).sum(2)
            angle_gradient = (sums * weighted).sum(1).double()
            phase_gradient[hops] = angle_gradient @ powers.T * (2 * math.pi)
        if for_amplitudes:
            outer = coarse.flip(2)[:, None] * weighted[:, :, None, None]
            torch.bmm(outer.flatten(3).flatten(1, 2), fine.flatten(2).mT, out=table_gradient[hops].flatten(1, 2))
    flat = table_gradient.flatten(2)[..., :harmonics]
    return phase_gradient if for_phase else None, flat if for_amplitudes else None


def _chunks(audio: Tensor) -> list[slice]:
    """Cut the hops of audio (hops, hop_length) into runs that are worked on at once."""
    size = max(1, _SAMPLES_AT_ONCE.get(audio.device.type, 1 << 18) // audio.shape[1])
    return [slice(start, start + size) for start in range(0, len(audio), size)]


def _table(amplitudes: Tensor) -> Tensor:
    """Arrange amplitudes (..., harmonics), with zeros at the end, as (..., J, K): harmonic `K j + k`, k from 1."""
    harmonics = amplitudes.shape[-1]
    fine = math.ceil(math.sqrt(harmonics))
    return pad(amplitudes, (0, -harmonics % fine)).unflatten(-1, (-1, fine))


def _sinusoids(phase: Tensor, table: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return `e^{ikw}`, k from 1 to K, and `e^{iKjw}`, j from 0: (hops, K or J, 2, hop_length), cosine then sine."""
    outer, inner = table.shape[-2:]
    angle = _angle(phase, _powers(weights.shape[-1], phase.device), weights.dtype)
    fine = angle.new_empty(len(angle), inner, 2, angle.shape[-1])
    torch.cos(angle, out=fine[:, 0, 0])
    torch.sin(angle, out=fine[:, 0, 1])
    _double(fine)
    coarse = angle.new_empty(len(angle), outer, 2, angle.shape[-1])
    coarse[:, 0, 0], coarse[:, 0, 1] = 1, 0
    if outer > 1:
        coarse[:, 1] = fine[:, -1]
        _double(coarse[:, 1:])
    return fine, coarse


def _double(z: Tensor) -> None:
    """Fill (hops, count, 2, hop_length), whose first is z, with its powers: what there is times the last of it."""
    known = 1
    while known < z.shape[1]:
        new = min(known, z.shape[1] - known)
        factor, by, out = z[:, :new], z[:, known - 1 : known], z[:, known : known + new]
        torch.mul(factor[:, :, 0], by[:, :, 0], out=out[:, :, 0]).addcmul_(factor[:, :, 1], by[:, :, 1], value=-1)
        torch.mul(factor[:, :, 1], by[:, :, 0], out=out[:, :, 1]).addcmul_(factor[:, :, 0], by[:, :, 1])
        known += new


def _inner_sums(table: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
    """Return `sum_k a_jk e^{ikw}`, cosine and sine part, each (hops, neighbours, J, hop_length)."""
    sums = torch.bmm(table.flatten(1, 2), fine.flatten(2)).view(*table.shape[:3], 2, -1)
    return sums[:, :, :, 0], sums[:, :, :, 1]
