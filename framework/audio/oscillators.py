"""A bank of harmonic oscillators (DDSP: Engel et al., 2020, sections 3.1 and B.5) that neither drifts nor fills memory.

The sum over harmonics h of `a_h sin(h w)` written out is a tensor of (batch, samples, harmonics), several times over
with its gradients. No such tensor is made here:

* The phase is accumulated over frames only, in float64 and modulo one cycle; within a frame it is a polynomial of the
  sample. So it is as exact after hours as at the start: to the rounding of one float32 number.
* With `h = K j + k`, where `K = 2 m + 1` and `|k| <= m`, the sum is the imaginary part of `sum_j (e^{iKw})^j (p_j + i
  q_j)` with `p_j = sum_k a_{jk} cos(kw)` and `q_j = sum_k a_{jk} sin(kw)`: matrix products of a frame's amplitudes with
  m cosines and m sines, since the one is even in k and the other odd. The outer sum is a polynomial by Horner's rule.
  The sinusoids are found by doubling, `e^{i(n+k)w} = e^{inw} e^{ikw}`, so that errors hardly add up. Complex numbers
  have their real and imaginary parts apart, as tensors `(2, ...)`.
* Interpolated amplitudes are a blend of two frames with weights that every hop shares: both frames' sums are made,
  then blended.
* Samples are made some thousand at a time, and again in the backward pass, which keeps the frames alone.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from framework.audio.checks import check_at_least, check_shape
from framework.audio.envelopes import Interpolation, blend_weights, full_precision, harmonic_frequencies
from framework.errors import InvalidValueError

_SAMPLES_AT_ONCE = {"cpu": 1 << 15}
"""Block size that fits into the cache of one core; on GPUs, larger blocks need fewer kernel launches."""

_FRAMES_AT_ONCE = 128
"""Frames whose phases are summed before the sum is taken modulo one turn."""


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

    Frames with an f0 of 0 Hz or less are unvoiced: their harmonics are silent, and f0 does not glide to or from 0 Hz.
    (Both official codes hold the phase there, which leaves a constant offset in the audio.)

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
        InvalidValueError: f0 and amplitudes differ in batch or frames, are empty, or there is no such interpolation.
    """
    if f0.shape != amplitudes.shape[:2]:
        raise InvalidValueError(
            f"f0 {tuple(f0.shape)} and amplitudes {tuple(amplitudes.shape)} differ in batch or frames"
        )
    check_shape("amplitudes", amplitudes, "batch", "frames", "harmonics")
    check_at_least("hop_length", hop_length, 1)
    if f0_interpolation not in ("nearest", "linear"):
        raise InvalidValueError(f"f0_interpolation {f0_interpolation!r}: give nearest or linear")
    f0, amplitudes = full_precision(f0), full_precision(amplitudes)
    with torch.autocast(f0.device.type, enabled=False):
        start, end = _hop_ends(f0, f0_interpolation)
        phase = _frame_phase(start.double() / sample_rate, end.double() / sample_rate, hop_length)
        position = torch.arange(hop_length, device=f0.device) / hop_length
        weights, offset = blend_weights(interpolation, position, amplitudes.dtype)
        neighbours = _neighbours(amplitudes * ~(f0 <= 0)[..., None], len(weights), offset)
        if not band_limited:
            return _sum(phase, neighbours, weights)
        above = [harmonic_frequencies(ends, amplitudes.shape[-1]) >= sample_rate / 2 for ends in (start, end)]
        audio = _sum(phase, neighbours * ~(above[0] & above[1])[:, :, None], weights)
        if f0_interpolation == "nearest":
            return audio
        return audio - _above_nyquist(above[0] ^ above[1], start, end, phase, neighbours, weights, sample_rate)


def _sum(phase: Tensor, neighbours: Tensor, weights: Tensor) -> Tensor:
    audio = _HarmonicSum.apply(phase.flatten(0, 1), neighbours.flatten(0, 1), weights)
    return audio.view(len(phase), 1, -1)


def _hop_ends(f0: Tensor, interpolation: str) -> tuple[Tensor, Tensor]:
    """Return f0 (Hz) `(batch, frames)` at the start of each hop and at the start of the next."""
    if interpolation == "nearest":
        return f0, f0
    following = torch.cat([f0[:, 1:], f0[:, -1:]], 1)
    # NaN is not unvoiced: it is heard as NaN.
    return torch.where(f0 <= 0, following, f0), torch.where(following <= 0, f0, following)


def _frame_phase(start: Tensor, end: Tensor, hop_length: int) -> Tensor:
    """Return the coefficients of each hop's phase (cycles) `(batch, frames, 3)`, in float64.

    With frequencies (cycles per sample) that go from start to end along a line, the sum of those up to sample i is
    `c0 + c1 (i + 1) + c2 i (i + 1) / 2`.
    """
    slope = (end - start) / hop_length
    advance = start * hop_length + slope * (hop_length * (hop_length - 1) / 2)
    return torch.stack([_sum_before(_within_a_turn(advance)), start, slope], -1)


def _sum_before(advance: Tensor) -> Tensor:
    """Return the sum of all frames before each `(batch, frames)`, modulo one turn.

    Frames are summed in blocks, and so are the sums of the blocks, each modulo one turn: an hour has some million
    cycles, and a running sum of so many loses digits with every frame that it adds.
    """
    frames = advance.shape[1]
    if frames <= _FRAMES_AT_ONCE:
        return _within_a_turn(advance.cumsum(1) - advance)
    blocks = pad(advance, (0, -frames % _FRAMES_AT_ONCE)).unflatten(1, (-1, _FRAMES_AT_ONCE))
    sums = blocks.cumsum(2)
    before = _sum_before(_within_a_turn(sums[..., -1]))
    return _within_a_turn((sums - blocks + before[..., None]).flatten(1)[:, :frames])


def _within_a_turn(cycles: Tensor) -> Tensor:
    """Return phases (cycles) between -1/2 and 1/2; gradients pass through."""
    return cycles - cycles.detach().round()


def _neighbours(frames: Tensor, count: int, offset: int) -> Tensor:
    """Return for each frame those blended in its hop: `(batch, frames, count, channels)`, the outermost ones held."""
    number = frames.shape[1]
    before, after = [frames[:, :1]] * -offset, [frames[:, -1:]] * (count - 1 + offset)
    held = torch.cat([*before, frames, *after], 1)
    return torch.stack([held[:, start : start + number] for start in range(count)], 2)


def _powers(hop_length: int, device: torch.device) -> Tensor:
    """Return what the coefficients of a hop's phase multiply, `(3, hop_length)`."""
    i = torch.arange(hop_length, device=device, dtype=torch.float64)
    return torch.stack([torch.ones_like(i), i + 1, i * (i + 1) / 2])


def _angle(phase: Tensor, powers: Tensor) -> Tensor:
    """Return the angles (radians) `(hops, hop_length)`, in -pi ... pi, of phase coefficients `(hops, 3)`; float64."""
    cycles = phase @ powers
    return cycles.sub_(cycles.round()).mul_(2 * math.pi)


def _above_nyquist(
    crossing: Tensor,
    start: Tensor,
    end: Tensor,
    phase: Tensor,
    neighbours: Tensor,
    weights: Tensor,
    sample_rate: int,
) -> Tensor:
    """Return the sound `(batch, 1, time)` of harmonics while above half the sample rate, in hops where they cross it.

    Such hops (batch, frames, harmonics) are so few that each is computed alone.
    """
    hop_length = weights.shape[-1]
    batch, frame, index = crossing.nonzero(as_tuple=True)
    position = torch.arange(hop_length, device=start.device) / hop_length
    order = (index + 1)[:, None]
    first, last = start[batch, frame, None], end[batch, frame, None]
    silenced = (first + (last - first) * position) * order >= sample_rate / 2
    angle = _angle(phase[batch, frame], _powers(hop_length, start.device)) * order
    amplitude = neighbours[batch, frame, :, index] @ weights
    sound = (amplitude * silenced) * torch.sin(angle).to(amplitude.dtype)
    result = sound.new_zeros(*start.shape, hop_length)
    return result.index_put((batch, frame), sound, accumulate=True).view(len(start), 1, -1)


class _HarmonicSum(torch.autograd.Function):
    """Hops of `sum_n weights_n(t) sum_h a_nh sin(h w(t))` from frames; what is per sample is made again backward.

    Takes phase coefficients (hops, 3) in float64, amplitudes (hops, neighbours, harmonics) and weights
    (neighbours, hop_length); gives audio (hops, hop_length).
    """

    @staticmethod
    def forward(ctx: Any, phase: Tensor, amplitudes: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(phase, amplitudes, weights)
        table = _table(amplitudes)
        audio = amplitudes.new_empty(len(phase), weights.shape[-1])
        powers = _powers(weights.shape[-1], phase.device)
        for hops in _chunks(audio):
            sinusoids = _sinusoids(_angle(phase[hops], powers).to(audio.dtype), table.shape[-1] // 2)
            torch.sum(_harmonic_sums(table[hops], sinusoids)[1] * weights, 1, out=audio[hops])
        return audio

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        phase, amplitudes, weights = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            return *_gradients(gradient, phase, amplitudes, weights, ctx.needs_input_grad[:2]), None


def _gradients(
    gradient: Tensor, phase: Tensor, amplitudes: Tensor, weights: Tensor, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of phase coefficients and amplitudes where needed; that of the audio is (hops, hop_length).

    The derivative of `a sin(h w)` is `sin(h w)` by `a` and `h a cos(h w)` by `w`.
    """
    orders = torch.arange(1, amplitudes.shape[-1] + 1, device=amplitudes.device, dtype=amplitudes.dtype)
    table, slopes = _table(amplitudes), _table(amplitudes * orders) if needed[0] else None
    phase_gradient, table_gradient = torch.empty_like(phase), torch.empty_like(table)
    powers = _powers(weights.shape[-1], phase.device)
    for hops in _chunks(gradient):
        weighted = gradient[hops, None] * weights
        sinusoids = _sinusoids(_angle(phase[hops], powers).to(table.dtype), table.shape[-1] // 2)
        if slopes is not None:
            by_angle = (_harmonic_sums(slopes[hops], sinusoids)[0] * weighted).sum(1).double() * (2 * math.pi)
            torch.matmul(by_angle, powers.T, out=phase_gradient[hops])
        if needed[1]:
            _amplitude_gradient(weighted, sinusoids, table_gradient[hops])
    first = table.shape[-1] // 2 + 1
    flat = table_gradient.flatten(2)[..., first : first + len(orders)]
    return phase_gradient if needed[0] else None, flat if needed[1] else None


def _chunks(audio: Tensor) -> list[slice]:
    """Cut the hops of audio (hops, hop_length) into runs that are worked on at once."""
    cores = torch.get_num_threads() if audio.device.type == "cpu" else 1
    size = max(1, cores * _SAMPLES_AT_ONCE.get(audio.device.type, 1 << 18) // audio.shape[1])
    return [slice(start, start + size) for start in range(0, len(audio), size)]


def _table(amplitudes: Tensor) -> Tensor:
    """Arrange amplitudes (hops, neighbours, harmonics) as (..., J, K) between zeros: harmonic `K j + k` with |k| <= m.

    A sinusoid more costs about a third of a row more, of which there are J for each neighbour.
    """
    _, neighbours, harmonics = amplitudes.shape
    m = max(1, round(math.sqrt(3 * harmonics * neighbours) / 2))
    return pad(amplitudes, (m + 1, -(harmonics + m + 1) % (2 * m + 1))).unflatten(-1, (-1, 2 * m + 1))


def _sinusoids(angle: Tensor, count: int) -> Tensor:
    """Return `e^{ikw}`, k from 1 to count, as (2, count, hops, hop_length)."""
    z = angle.new_empty(2, count, *angle.shape)
    torch.cos(angle, out=z[0, 0])
    torch.sin(angle, out=z[1, 0])
    known = 1
    while known < count:
        new = min(known, count - known)
        torch.mul(z[:, :new], z[0, known - 1], out=z[:, known : known + new])
        _turn(z[:, known : known + new], z[:, :new], z[1, known - 1])
        known += new
    return z


def _turn(product: Tensor, z: Tensor, sine: Tensor) -> None:
    """Add `i sine z` to a product `(2, ...)` that is `cosine z`, or more."""
    product[0].addcmul_(z[1], sine, value=-1)
    product[1].addcmul_(z[0], sine)


def _step(sinusoids: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (hops, 1, hop_length) of `K w`, from row to row of a table."""
    half = sinusoids[:, -1]
    following = half * sinusoids[0, 0]
    _turn(following, half, sinusoids[1, 0])
    whole = half * following[0]
    _turn(whole, half, following[1])
    return whole[0, :, None], whole[1, :, None]


def _harmonic_sums(table: Tensor, sinusoids: Tensor) -> Tensor:
    """Return `sum_h a_h e^{ihw}` (2, hops, neighbours, hop_length) of a table (hops, neighbours, J, K)."""
    m, (hops, neighbours, outer, _) = sinusoids.shape[1], table.shape
    middle, above, below = table[..., m : m + 1], table[..., m + 1 :], table[..., :m].flip(-1)
    cosines, sines = sinusoids.transpose(1, 2)
    inner = table.new_empty(2, hops, neighbours * outer, cosines.shape[-1])
    torch.baddbmm(middle.flatten(1, 2), (above + below).flatten(1, 2), cosines, out=inner[0])
    torch.bmm((above - below).flatten(1, 2), sines, out=inner[1])
    inner = inner.unflatten(2, (neighbours, outer))
    total, (cosine, sine) = inner[:, :, :, -1], _step(sinusoids)
    for j in range(outer - 2, -1, -1):
        following = torch.addcmul(inner[:, :, :, j], total, cosine)
        _turn(following, total, sine)
        total = following
    return total


def _amplitude_gradient(weighted: Tensor, sinusoids: Tensor, out: Tensor) -> None:
    """Write `sum_t g(t) sin(h w(t))` into a table (hops, neighbours, J, K), with g (hops, neighbours, hop_length).

    By `sin((Kj + k) w) = sin(Kjw) cos(kw) + cos(Kjw) sin(kw)` two matrix products give all k of either sign.
    """
    m, (hops, neighbours, outer, _) = sinusoids.shape[1], out.shape
    rows = weighted.new_empty(2, hops, neighbours, outer, weighted.shape[-1])
    rows[0, :, :, 0], rows[1, :, :, 0] = weighted, 0
    cosine, sine = _step(sinusoids)
    for j in range(1, outer):
        torch.mul(rows[:, :, :, j - 1], cosine, out=rows[:, :, :, j])
        _turn(rows[:, :, :, j], rows[:, :, :, j - 1], sine)
    with_cosine, with_sine = rows.flatten(2, 3)
    cosines, sines = sinusoids.permute(0, 2, 3, 1)
    even, odd = (torch.bmm(with_sine, cosines).view(hops, neighbours, outer, m), torch.bmm(with_cosine, sines))
    odd = odd.view_as(even)
    torch.sum(rows[1], -1, out=out[..., m])
    torch.add(even, odd, out=out[..., m + 1 :])
    out[..., :m] = (even - odd).flip(-1)
