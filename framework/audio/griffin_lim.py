"""Audio from a log-mel spectrogram without a learned weight: the baseline every vocoder has to beat.

Mel bands are spread over the bins of the spectrum by non-negative inversion of the filter bank, and the phase is found
by the fast Griffin-Lim algorithm.
"""

import math

import torch
import torchaudio.functional
from torch import Tensor, nn

from framework.audio.mel import MelPreset, mel_filters


class GriffinLim(nn.Module):
    """Fast Griffin-Lim vocoder for one mel convention (Griffin & Lim, 1984; Perraudin, Balazs & Sondergaard, 2013).

    The same spectrogram always gives the same audio: the phase starts at zero.

    Args:
        preset: Convention of the spectrograms.
        iterations: Projections between the consistent spectrograms and those of the given magnitude.
        momentum: The acceleration alpha of Perraudin et al. (2013), algorithm 2; 0 is the algorithm of 1984.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, preset: MelPreset, iterations: int = 32, momentum: float = 0.99) -> None:
        super().__init__()
        self.preset, self.iterations, self.momentum = preset, iterations, momentum
        self.register_buffer("window", torch.hann_window(preset.win_length), persistent=False)
        self.register_buffer("filters", mel_filters(preset), persistent=False)

    @torch.no_grad()
    def forward(self, log_mel: Tensor) -> Tensor:
        """Invert log-mels `(batch, mels, frames)` of the preset to audio `(batch, 1, frames * hop_length)`."""
        with torch.autocast(log_mel.device.type, enabled=False):
            return self.audio(self.magnitude(log_mel.float()))

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Return the magnitude spectrogram `(batch, n_fft / 2 + 1, frames)` behind log-mels `(batch, mels, frames)`.

        Bins outside every band are silent; what the convention clipped stays clipped.
        """
        p = self.preset
        base = math.e if p.log == "e" else 10.0
        mel = base ** ((log_mel - p.shift) / p.scale)
        magnitude = invert_mel(mel, self.filters)
        magnitude = (magnitude.square() - p.power_offset).clamp(min=0).sqrt()
        return magnitude * self.window.square().sum().sqrt() if p.normalized else magnitude

    def audio(self, magnitude: Tensor) -> Tensor:
        """Find a phase for magnitudes `(batch, bins, frames)`; return audio `(batch, 1, frames * hop_length)`."""
        p = self.preset
        frames = magnitude.shape[-1]
        # The phase is sought with frames centred on multiples of the hop, the first on sample 0. With "same" padding
        # the first frame is centred later: one more frame before it, its mirror image, restores the grid.
        centre = 0 if p.padding == "center" else p.n_fft // 2 - (p.n_fft - p.hop_length) // 2
        before = 1 if centre else 0
        enough = p.n_fft // 2 // p.hop_length + 2
        magnitude = nn.functional.pad(magnitude, (before, max(1, enough - frames)), mode="replicate")
        audio = fast_griffin_lim(magnitude, self.window, p.n_fft, p.hop_length, self.iterations, self.momentum)
        start = before * p.hop_length - centre
        return audio[:, None, start : start + frames * p.hop_length]


def fast_griffin_lim(
    magnitude: Tensor,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    iterations: int = 32,
    momentum: float = 0.99,
    length: int | None = None,
) -> Tensor:
    """Find audio `(batch, length)` whose STFT has about the given magnitude `(batch, n_fft / 2 + 1, frames)`.

    Frames are centred on multiples of the hop (samples), the edges reflected, the phase starts at zero. `momentum` is
    alpha of Perraudin et al. (2013), algorithm 2: `c <- c + alpha (c - previous c)`. Without a length the audio ends at
    the centre of the last frame.
    """
    return torchaudio.functional.griffinlim(
        magnitude, window, n_fft, hop_length, len(window), 1.0, iterations, momentum, length, rand_init=False
    )


def invert_mel(mel: Tensor, filters: Tensor, tolerance: float = 1e-4, iterations: int = 200) -> Tensor:
    """Return non-negative magnitudes `x` `(batch, bins, frames)` with `filters @ x` as near as can be to the mel.

    Expectation-maximisation (Richardson, 1972; the multiplicative updates of Lee & Seung, 2001, eq. 5, with the filter
    bank fixed): `x <- x * filters^T (mel / filters x) / filters^T 1`. Where a non-negative solution exists, as for
    every mel that was measured, it is one of least squares too. Unlike a projected gradient it needs no step size and
    weighs each band by its own size, as the logarithm does through which the result is compared.

    Args:
        mel: Mel magnitudes `(batch, mels, frames)`, not logarithmic.
        filters: Filter bank `(mels, bins)`.
        tolerance: Mean relative error over all bands at which to stop.
        iterations: Updates at most.
    """
    tiny = torch.finfo(mel.dtype).tiny
    coverage = filters.sum(0)[:, None]
    # Each bin starts at the mean of the bands it is in, so that the result is as smooth as the mel within a band.
    flat = mel / filters.sum(1, keepdim=True)
    x = filters.T @ flat / coverage.clamp(min=tiny)
    spread = filters.T / coverage.clamp(min=tiny)
    for _ in range(iterations):
        ratio = mel / (filters @ x).clamp(min=tiny)
        if (ratio - 1).abs().mean() < tolerance:
            break
        x = x * (spread @ ratio)
    return x
