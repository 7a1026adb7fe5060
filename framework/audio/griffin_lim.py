"""Griffin-Lim vocoder: audio from a log-mel spectrogram without learned weights, the baseline of all vocoders.

The magnitude spectrogram is estimated by non-negative inversion of the mel filter bank, and the phase by the fast
Griffin-Lim algorithm.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import NonNegativeFloat, NonNegativeInt
from framework.audio.checks import check_real, check_shape
from framework.audio.envelopes import full_precision
from framework.audio.mel import MelPreset, mel_filters
from framework.audio.mel_consistency import MelConsistency
from framework.audio.modified_stft import Estimate, ModifiedSTFT, Transform
from framework.checks import checked
from framework.errors import InvalidValueError


class GriffinLim(nn.Module):
    """Fast Griffin-Lim vocoder for one mel convention (Griffin & Lim, 1984; Perraudin, Balazs & Sondergaard, 2013).

    Args:
        preset: Convention of the spectrograms.
        iterations: Projections between the consistent spectrograms and those of the given magnitude.
        momentum: The acceleration alpha of Perraudin et al. (2013), algorithm 2; 0 is the algorithm of 1984.
        random_phase: Start from phases drawn with torch's generator rather than from zero, with which the same
            spectrogram always gives the same audio.
        mel_consistency_steps: Projections of the audio towards the mel afterwards.
    """

    window: Tensor
    filters: Tensor

    @checked
    def __init__(
        self,
        preset: MelPreset,
        iterations: NonNegativeInt = 32,
        momentum: NonNegativeFloat = 0.99,
        random_phase: bool = False,
        mel_consistency_steps: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.preset, self.iterations, self.momentum = preset, iterations, momentum
        self.random_phase = random_phase
        self.consistency = MelConsistency(preset, mel_consistency_steps) if mel_consistency_steps else None
        self.register_buffer("window", torch.hann_window(preset.win_length), persistent=False)
        self.register_buffer("filters", mel_filters(preset), persistent=False)

    @torch.no_grad()
    def forward(self, log_mel: Tensor) -> Tensor:
        """Invert log-mels `(batch, mels, frames)` of the preset to audio `(batch, 1, frames * hop_length)`.

        Raises:
            InvalidValueError: the log-mels have another shape; none are no audio.
        """
        if log_mel.shape[1:] == (self.preset.n_mels, 0):
            return log_mel.new_zeros(len(log_mel), 1, 0, dtype=torch.float)
        check_shape("log-mels", log_mel, "batch", self.preset.n_mels, "frames")
        check_real("log-mels", log_mel)
        with torch.autocast(log_mel.device.type, enabled=False):
            audio = self.audio(self.magnitude(log_mel.float()))
        if self.consistency is None or not log_mel.shape[-1]:
            return audio
        # Of frames that are centred on their first sample, the last one has no samples of its own.
        time = (log_mel.shape[-1] - (self.preset.padding == "center")) * self.preset.hop_length
        return torch.cat([self.consistency(audio[..., :time], log_mel), audio[..., time:]], dim=-1)

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Return the magnitude spectrogram `(batch, n_fft / 2 + 1, frames)` behind log-mels `(batch, mels, frames)`.

        Bins outside of all bands are 0; clipped magnitudes are not restored.
        """
        return invert_mel(self.preset.bands(log_mel), self.filters)

    def audio(self, magnitude: Tensor) -> Tensor:
        """Find a phase for the preset's magnitudes `(batch, bins, frames)`: audio `(batch, 1, frames * hop_length)`."""
        p = self.preset
        frames = magnitude.shape[-1]
        magnitude = (magnitude.square() - p.power_offset).clamp(min=0).sqrt()
        if p.normalized:
            magnitude = magnitude * self.window.square().sum().sqrt()
        # The phase is sought with frames centred on multiples of the hop, the first on sample 0. With "same" padding
        # the first frame is centred later: one more frame before it, its mirror image, restores the grid.
        centre = 0 if p.padding == "center" else p.n_fft // 2 - (p.n_fft - p.hop_length) // 2
        before = 1 if centre else 0
        enough = p.n_fft // 2 // p.hop_length + 2
        magnitude = pad(magnitude, (before, max(1, enough - frames)), mode="replicate")
        phase = 2 * torch.pi * torch.rand_like(magnitude) if self.random_phase else None
        audio = fast_griffin_lim(
            magnitude, self.window, p.n_fft, p.hop_length, self.iterations, self.momentum, phase=phase
        )
        start = before * p.hop_length - centre
        return audio[:, None, start : start + frames * p.hop_length]


class LinearGriffinLim(GriffinLim):
    """Fast Griffin-Lim from linear magnitudes, with the transform of a mel preset: only the phase is estimated."""

    @torch.no_grad()
    def forward(self, magnitude: Tensor) -> Tensor:
        """Find a phase for magnitudes `(batch, n_fft / 2 + 1, frames)`: audio `(batch, 1, frames * hop_length)`.

        Raises:
            InvalidValueError: the magnitudes have another shape.
        """
        check_shape("magnitudes", magnitude, "batch", self.preset.n_fft // 2 + 1, "frames")
        check_real("magnitudes", magnitude)
        with torch.autocast(magnitude.device.type, enabled=False):
            return self.audio(magnitude.float())


class FramedFourier:
    """The short-time Fourier transform and its least-squares inverse, on frames that are a view of the signal.

    A signal here is what lies under `frames` frames of n_fft samples: audio from sample n_fft / 2 on, so that frames
    are centred on multiples of the hop, and its reflections around it. Spectra are `(batch, frames, bins)`.

    Args:
        window: Analysis window; a shorter one than n_fft is centred.
        n_fft: Length of the Fourier transform (samples).
        hop_length: Samples between two frames.
        frames: Number of frames.
        length: Length of the audio (samples); None for up to the centre of the last frame.

    Raises:
        ValueError: when the audio is too short to be reflected, or reaches beyond the frames.
    """

    def __init__(self, window: Tensor, n_fft: int, hop_length: int, frames: int, length: int | None = None) -> None:
        self.n_fft, self.hop_length, self.frames = n_fft, hop_length, frames
        self.edge = n_fft // 2
        self.total = n_fft + (frames - 1) * hop_length
        self.length = (frames - 1) * hop_length if length is None else length
        # What is reflected behind the end is audio too.
        least = max(self.edge + 1, (self.total - 2 * self.edge) // 2 + 1)
        if not least <= self.length <= self.total - self.edge:
            raise InvalidValueError(
                f"{frames} frames of {n_fft} samples, {hop_length} apart, give from {least} to "
                f"{self.total - self.edge} samples of audio, not {self.length}"
            )
        before = (n_fft - len(window)) // 2
        self.window = pad(window, (before, n_fft - len(window) - before))
        # A frame as whole hops: overlapping and adding frames is then one shifted addition for each.
        self.blocks = -(-n_fft // hop_length)
        self.block_window = pad(self.window, (0, self.blocks * hop_length - n_fft)).view(self.blocks, hop_length)
        self.scale = self._overlap(self.block_window.expand(1, frames, -1, -1)).clamp(min=1e-11).reciprocal()

    def batch_from_audio(self, signal: Tensor) -> Tensor:
        """Return the spectra `(batch, frames, bins)` of a signal."""
        return torch.fft.rfft(signal.unfold(-1, self.n_fft, self.hop_length) * self.window)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Return the signal whose spectra are nearest to those given (Griffin & Lim, 1984, equation 6)."""
        frames = torch.fft.irfft(spectrum, n=self.n_fft)
        if self.n_fft % self.hop_length:
            frames = pad(frames, (0, self.blocks * self.hop_length - self.n_fft))
        blocks = frames.view(len(frames), self.frames, self.blocks, self.hop_length)
        signal = self._overlap(blocks).mul_(self.scale).flatten(1)[:, : self.total]
        end, after = self.edge + self.length, self.total - self.edge - self.length
        signal[:, : self.edge] = signal[:, self.edge + 1 : 2 * self.edge + 1].flip(-1)
        signal[:, end:] = signal[:, end - 1 - after : end - 1].flip(-1)
        return signal

    def audio(self, signal: Tensor) -> Tensor:
        """Return the audio `(batch, length)` of a signal."""
        return signal[:, self.edge : self.edge + self.length]

    def _overlap(self, blocks: Tensor) -> Tensor:
        """Window and add up frames `(batch, frames, blocks, hop)`: hops `(batch, frames + blocks - 1, hop)`."""
        signal = blocks.new_zeros(len(blocks), self.frames + self.blocks - 1, self.hop_length)
        for index, window in enumerate(self.block_window):
            signal[:, index : index + self.frames].addcmul_(blocks[:, :, index], window)
        return signal


@torch.no_grad()
def fast_griffin_lim(
    magnitude: Tensor,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
    phase: Tensor | None = None,
) -> Tensor:
    """Find audio `(batch, length)` whose STFT has about the given magnitude `(batch, n_fft / 2 + 1, frames)`.

    Frames are centred on multiples of the hop (samples), the edges reflected. `momentum` is alpha of Perraudin et al.
    (2013), algorithm 2: `c <- c + alpha (c - previous c)`. Without a length the audio ends at the centre of the last
    frame; without a phase (radians, of the magnitude's shape) the search starts from zero.

    Raises:
        InvalidValueError: the magnitude has another shape, too few frames, or the length is not within them.
    """
    check_shape("magnitude", magnitude, "batch", n_fft // 2 + 1, "frames")
    magnitude = full_precision(magnitude)
    fourier = FramedFourier(window, n_fft, hop_length, magnitude.shape[-1], length)
    start = torch.polar(magnitude, torch.zeros_like(magnitude) if phase is None else phase)
    spectrum, magnitude = start.mT.contiguous(), magnitude.mT.contiguous()
    # A spectrum's scale does not matter, only its phase: c + alpha (c - previous) is c - alpha / (1 + alpha) previous.
    inertia = momentum / (1 + momentum)
    signal = fourier.synthesise(spectrum)
    previous = torch.zeros_like(signal)
    for _ in range(iterations):
        # The transform is linear: accelerating signals accelerates their spectra, which are several times as large.
        spectrum = fourier.batch_from_audio(signal - inertia * previous if inertia else signal)
        previous, signal = signal, fourier.synthesise(with_magnitude(spectrum, magnitude))
    return fourier.audio(signal)


def with_magnitude(spectrum: Tensor, magnitude: Tensor) -> Tensor:
    """Replace the magnitude of a complex spectrum in place, and return the spectrum."""
    parts = torch.view_as_real(spectrum).square()
    power = parts[..., 0] + parts[..., 1]
    return spectrum.mul_(power.add_(1e-30).rsqrt_().mul_(magnitude))


def griffin_lim_stages(transform: Transform, iterations: int, momentum: float) -> list[ModifiedSTFT]:
    """Return the iterations of fast Griffin-Lim for audio in pieces: see `fast_griffin_lim`.

    The first one is given audio with any phase, and the magnitudes that are wanted.
    """

    def modify(spectrum: Tensor, frames: Estimate) -> Tensor:
        assert frames.magnitude is not None
        return with_magnitude(spectrum, frames.magnitude)

    return [ModifiedSTFT(transform, modify, momentum / (1 + momentum)) for _ in range(iterations)]


def invert_mel(mel: Tensor, filters: Tensor, tolerance: float = 1e-4, iterations: int = 200) -> Tensor:
    """Return non-negative magnitudes `x` `(batch, bins, frames)` such that `filters @ x` approximates the mel.

    Expectation-maximisation (Richardson, 1972; the multiplicative updates of Lee & Seung, 2001, eq. 5, with the filter
    bank fixed): `x <- x * filters^T (mel / filters x) / filters^T 1`. Where a non-negative solution exists, as for
    every mel that was measured, it is one of least squares too: within 0.2 % of the mel's norm of the exact solver's
    residual, and several times nearer to the true spectrum than that solver's sparse solution. Unlike a projected
    gradient it needs no step size and weighs each band by its own size, as the logarithm does through which the result
    is compared.

    Args:
        mel: Mel magnitudes `(batch, mels, frames)`, not logarithmic; negative ones count as 0.
        filters: Filter bank `(mels, bins)`.
        tolerance: Mean relative error over all bands at which to stop.
        iterations: Updates at most.

    Raises:
        InvalidValueError: the mel has not as many bands as the filter bank.
    """
    check_shape("mel", mel, "...", len(filters), "frames")
    check_real("mel", mel)
    mel = mel.to(filters.dtype).clamp(min=0)
    tiny = torch.finfo(mel.dtype).tiny
    coverage = filters.sum(0)[:, None]
    # Each bin is initialised with the mean of its bands, so that the result is smooth within a band.
    flat = mel / filters.sum(1, keepdim=True)
    x = filters.T @ flat / coverage.clamp(min=tiny)
    spread = filters.T / coverage.clamp(min=tiny)
    for _ in range(iterations):
        ratio = mel / (filters @ x).clamp(min=tiny)
        if (ratio - 1).abs().mean() < tolerance:
            break
        x = x * (spread @ ratio)
    return x
