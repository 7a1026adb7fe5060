"""A filter that changes with time and has the spectral envelope of a mel, and its inverse."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from framework.audio.checks import check_real, check_shape
from framework.audio.griffin_lim import invert_mel
from framework.audio.mel import MelPreset, mel_filters
from framework.errors import InvalidValueError

WIDTH = 5
"""Bins over which the logarithm of the envelope is averaged: rougher ones cannot be undone, being no filters any more
but changes of the spectrogram that no signal has."""


class SpectralEnvelope(nn.Module):
    """White noise to audio of a mel's envelope, and audio to a signal that is about white.

    The short-time Fourier transform is multiplied by the envelope, or divided by it. Audio that was whitened and
    coloured again is the audio but for some -30 dB, as neighbouring frames share samples.

    Args:
        preset: Mel convention, one whose frames are centred on multiples of the hop.
        floor: Least root mean square of a bin that the envelope tells from silence (full scale is 1).

    Raises:
        ValueError: a convention whose frames lie elsewhere.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, preset: MelPreset, floor: float = 1e-5) -> None:
        super().__init__()
        if preset.padding != "center":
            raise InvalidValueError(
                f"a spectral envelope needs frames centred on multiples of the hop, not those of {preset}"
            )
        self.preset, self.floor = preset, floor
        self.register_buffer("window", torch.hann_window(preset.win_length), persistent=False)
        self.register_buffer("filters", mel_filters(preset), persistent=False)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return the envelope `(batch, n_fft / 2 + 1, frames)` of log-mels `(batch, mels, frames)`.

        Raises:
            InvalidValueError: the log-mels have another shape.
        """
        check_shape("log-mels", log_mel, "batch", self.preset.n_mels, "frames")
        energy = self.window.square().sum().sqrt()
        magnitude = invert_mel(self.preset.bands(log_mel), self.filters, iterations=0)
        rms = magnitude if self.preset.normalized else magnitude / energy
        smooth = avg_pool1d(rms.clamp(min=self.floor).log().mT, WIDTH, 1, WIDTH // 2, count_include_pad=False)
        return smooth.mT.exp()

    def whiten(self, audio: Tensor, envelope: Tensor) -> Tensor:
        """Divide audio `(batch, 1, time)` of as many frames as the envelope by it."""
        return self._filter(audio, envelope.reciprocal())

    def colour(self, noise: Tensor, envelope: Tensor) -> Tensor:
        """Multiply a signal `(batch, 1, time)` of as many frames as the envelope with it."""
        return self._filter(noise, envelope)

    def _filter(self, signal: Tensor, gains: Tensor) -> Tensor:
        check_shape("signal", signal, "batch", 1, "time")
        check_real("signal", signal)
        p, time = self.preset, signal.shape[-1]
        check_shape("envelope", gains, len(signal), p.n_fft // 2 + 1, time // p.hop_length + 1)
        if time <= p.n_fft // 2:
            raise InvalidValueError(f"a signal of {time} samples: {p.n_fft // 2} are reflected at each end; give more")
        sizes = p.n_fft, p.hop_length, p.win_length, self.window
        spectrum = torch.stft(signal.float().squeeze(1), *sizes, return_complex=True)
        return torch.istft(spectrum * gains, *sizes, length=time).unsqueeze(1)
