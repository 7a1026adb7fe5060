"""Mel-frequency cepstral coefficients as in TensorFlow, the input of DDSP's encoder (Engel et al., 2020)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.audio.checks import check_real, check_shape


class MFCC(nn.Module):
    """Cepstral coefficients of audio: `(batch, 1, time)` -> `(batch, ceil(time / hop_length), coefficients)`.

    Windows start at the first sample, and the last ones reach into silence after the end. The logarithm has no floor:
    mels of exactly zero count as 1e-5.

    Args:
        sample_rate: Hz.
        n_fft: Length of the Hann window (samples).
        hop_length: Samples between two frames.
        n_mels: Mel bands.
        coefficients: How many of as many cepstral coefficients are kept.
        f_min: Lower edge of the lowest band (Hz).
        f_max: Upper edge of the highest band (Hz).
    """

    window: Tensor
    filters: Tensor
    cosines: Tensor

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 512,
        n_mels: int = 128,
        coefficients: int = 30,
        f_min: float = 20.0,
        f_max: float = 8000.0,
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", _filters(sample_rate, n_fft, n_mels, f_min, f_max), persistent=False)
        place = (torch.arange(n_mels, dtype=torch.float64) + 0.5)[:, None] * torch.arange(coefficients)
        cosines = math.sqrt(2 / n_mels) * torch.cos(torch.pi / n_mels * place)
        self.register_buffer("cosines", cosines.float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Transform audio `(batch, 1, time)` to `(batch, frames, coefficients)`, in float32.

        Raises:
            InvalidValueError: the audio is not mono, or empty.
        """
        check_shape("audio", audio, "batch", 1, "time")
        check_real("audio", audio)
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float()[:, 0]
            frames = -(-audio.shape[-1] // self.hop_length)
            padded = pad(audio, (0, (frames - 1) * self.hop_length + self.n_fft - audio.shape[-1]))
            spectrum = torch.stft(
                padded, self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True
            )
            mel = spectrum.abs().mT @ self.filters
            return torch.where(mel <= 0, 1e-5, mel).log() @ self.cosines


def _filters(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Return filters `(n_fft / 2 + 1, mels)` that are triangles on the mel scale (HTK's), not on that of Hz."""

    def mels(hertz: Tensor) -> Tensor:
        return 1127 * torch.log1p(hertz.double() / 700)

    bins = mels(torch.arange(n_fft // 2 + 1) * sample_rate / n_fft)[:, None]
    low, high = mels(torch.tensor([f_min, f_max])).tolist()
    edges = torch.linspace(low, high, n_mels + 2, dtype=torch.float64)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)).clamp(min=0)
    return (triangles * (bins > 0)).float()
