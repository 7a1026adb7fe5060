"""Estimation of spectra, and projection of audio, which are consistent with a given mel spectrogram.

A mel spectrogram contains the energy of a spectrum in each band. Multiplicative updates scale the bins of a spectrum
until its bands have these values (Lee & Seung, 2001, equation 5, with a fixed filter bank; Richardson, 1972). For
audio, the STFT is scaled and inverted; this is repeated, because the spectra of neighbouring frames overlap.
"""

import torch
from torch import Tensor, nn

from framework.audio.mel import MelPreset, mel_filters
from framework.audio.modified_stft import Estimate, ModifiedSTFT, Transform, transform_of


class MelBands(nn.Module):
    """The mel bands of a convention and the bins of the spectrum that they sum.

    Magnitudes are `(batch, frames, bins)` and mels `(batch, frames, mels)`, neither of them logarithmic, in the units
    of the convention (see `MelPreset`).

    Args:
        preset: The mel convention.
    """

    filters: Tensor
    shares: Tensor
    outside: Tensor

    def __init__(self, preset: MelPreset) -> None:
        super().__init__()
        self.range = preset.range
        filters = mel_filters(preset)
        coverage = filters.sum(0)
        self.register_buffer("filters", filters, persistent=False)
        # The bands of a bin are weighted by their filters at the bin.
        self.register_buffer("shares", filters / coverage.clamp(min=torch.finfo().tiny), persistent=False)
        self.register_buffer("outside", (coverage == 0).float(), persistent=False)

    def gain(self, magnitude: Tensor, mel: Tensor) -> Tensor:
        """Return the factor of each bin in one multiplicative update of magnitudes towards a mel.

        It is the mean, over the bands that a bin is in, of the band's wanted to its present value. A band that is
        clipped in both has a factor of 1, and so has a bin in no band. No update increases the Kullback-Leibler
        divergence of the bands from the mel, as long as nothing is clipped.
        """
        present = (magnitude @ self.filters.T).clamp(*self.range)
        return (mel / present) @ self.shares + self.outside

    def fit(self, magnitude: Tensor, mel: Tensor, updates: int) -> Tensor:
        """Return magnitudes after `updates` updates towards a mel; differentiable."""
        for _ in range(updates):
            magnitude = magnitude * self.gain(magnitude, mel)
        return magnitude

    def smooth(self, mel: Tensor, updates: int = 10) -> Tensor:
        """Return smooth magnitudes with approximately this mel; bins outside of all bands are 0."""
        return self.fit((mel / self.filters.sum(1)) @ self.shares, mel, updates)


class MelConsistency(nn.Module):
    """Projection of audio towards a mel: scale its short-time spectrum, invert it, repeat.

    The phases stay those of the audio. Audio that has the mel already stays as it is, and what the convention clipped
    is left alone.

    Args:
        preset: The mel convention.
        steps: Projections.
    """

    window: Tensor

    def __init__(self, preset: MelPreset, steps: int) -> None:
        super().__init__()
        self.preset, self.steps = preset, steps
        self.bands = MelBands(preset)
        self.register_buffer("window", torch.hann_window(preset.win_length), persistent=False)

    @torch.no_grad()
    def forward(self, audio: Tensor, log_mel: Tensor) -> Tensor:
        """Project audio `(batch, 1, time)`, as long as the mel says, towards log-mels `(batch, mels, frames)`.

        Raises:
            ValueError: when the audio is too short for the reflected edges.
        """
        with torch.autocast(audio.device.type, enabled=False):
            mel = self.preset.bands(log_mel.to(self.window.dtype)).mT
            estimate = Estimate(audio[:, 0].to(mel), mel=mel)
            for stage in self.stages(transform_of(self.preset, self.window)):
                estimate = stage(estimate, last=True)
        return estimate.audio[:, None]

    def stages(self, transform: Transform) -> list[ModifiedSTFT]:
        """Return the projections for audio in pieces."""
        return [ModifiedSTFT(transform, self.scale) for _ in range(self.steps)]

    def scale(self, spectrum: Tensor, frames: Estimate) -> Tensor:
        """Scale spectra `(batch, frames, bins)` of audio in place towards the mel of these frames."""
        assert frames.mel is not None
        parts = torch.view_as_real(spectrum).square()
        power = (parts[..., 0] + parts[..., 1]) / magnitude_scale(self.preset, self.window) ** 2
        return spectrum.mul_(self.bands.gain((power + self.preset.power_offset).sqrt(), frames.mel))


def magnitude_scale(preset: MelPreset, window: Tensor) -> Tensor:
    """Return the magnitude of a short-time spectrum for one of 1 in the convention."""
    return window.square().sum().sqrt() if preset.normalized else window.new_ones(())
