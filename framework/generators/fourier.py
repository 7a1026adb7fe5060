"""Networks that work on the spectrum of audio, at the frame rate: fast where a WaveNet or a U-Net is slow.

The opposite of Vocos' head (Siuzdak, 2024), in front of its backbone; diffusion in this domain is that of RFWave (Liu
et al., 2024).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import PositiveInt
from framework.audio.mel import MelPreset
from framework.audio.spectral_envelope import SpectralEnvelope
from framework.checks import checked
from framework.generators.diffwave import HIDDEN, TimestepEmbedding
from framework.generators.vocos import ShortTimeFourier, VocosBackbone
from framework.paradigms.noise_schedules import NoiseSchedule, linear_guess

QUIETEST = 1e-3
"""Least magnitude of a coefficient of which the logarithm is taken; noise of variance 1 has magnitudes about 1."""
LOUDEST = 5.0
"""Greatest logarithm of a coefficient's deviation."""


class Spectrum(ShortTimeFourier):
    """The spectrum of which noise of variance 1 has coefficients of variance 1, and audio of it again.

    The arguments are those of the transform.
    """

    @property
    def bins(self) -> int:
        """Coefficients of a frame."""
        return self.n_fft // 2 + 1

    @property
    def scale(self) -> Tensor:
        """The deviation of the coefficients of noise of variance 1, not normalised."""
        return self.window.square().sum().sqrt()

    def forward(self, audio: Tensor) -> Tensor:
        """Return the spectrum's real and imaginary parts `(batch, 2, bins, frames)` of audio `(batch, 1, time)`."""
        return torch.view_as_real(self.batch_from_audio(audio.float().squeeze(1))).movedim(-1, 1) / self.scale

    def inverse(self, parts: Tensor) -> Tensor:
        """Return the audio `(batch, 1, time)` of a spectrum's parts `(batch, 2, bins, frames)`."""
        return self.invert(torch.complex(*(parts * self.scale).unbind(1))).unsqueeze(1)


class SpectrumFeatures(nn.Module):
    """What a network is shown of a spectrum: real and imaginary parts, and log magnitudes.

    Args:
        spectrum: The transform.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        super().__init__()
        self.spectrum = spectrum

    def forward(self, audio: Tensor) -> Tensor:
        """Return the features `(batch, 3 * bins, frames)` of audio `(batch, 1, time)`."""
        return features(self.spectrum(audio))


def features(parts: Tensor) -> Tensor:
    """Return the features of a spectrum's parts `(batch, 2, bins, frames)`."""
    log_magnitude = parts.square().sum(1).clamp(min=QUIETEST**2).log() / 2
    return torch.cat([parts.flatten(1, 2), log_magnitude / 2], dim=1)


class FrameProjection(nn.Linear):
    """Hidden states `(batch, frames, channels)` of a backbone -> `(batch, outputs, frames)`."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Project hidden states."""
        return super().forward(hidden).transpose(1, 2)


class SpectrumEncoder(nn.Module):
    """Audio `(batch, 1, time)` of whole frames -> latents `(batch, outputs, frames)`, at the frame rate.

    Args:
        outputs: Channels of the latents.
        hop_length: Samples that a frame stands for; the transform is four times as long.
        channels: Width of the backbone.
        hidden: Width inside its blocks.
        layers: Blocks.
    """

    @checked
    def __init__(
        self,
        outputs: PositiveInt,
        hop_length: PositiveInt,
        channels: PositiveInt,
        hidden: PositiveInt,
        layers: PositiveInt,
    ) -> None:
        super().__init__()
        spectrum = Spectrum(4 * hop_length, hop_length, "same")
        backbone = VocosBackbone(3 * spectrum.bins, channels, hidden, layers)
        self.block = nn.Sequential(SpectrumFeatures(spectrum), backbone, FrameProjection(channels, outputs))

    def forward(self, audio: Tensor) -> Tensor:
        """Encode audio."""
        return self.block(audio)


class SpectrumDenoiser(nn.Module):
    """Denoising network of audio: `(batch, 1, time)` and levels `(batch,)` -> the clean `(batch, 1, time)`.

    Of each coefficient of the spectrum it predicts the variance that it has in clean audio, from which the Wiener
    filter follows, and how far the clean one is from what that leaves, in units of the deviation that it should have:
    the preconditioning of Karras et al. (2022, section 5) with a variance for each coefficient in place of one for all
    data. So tones are let through, and the silence between them is silent. The first guess of the variances is the
    mel's envelope, from which SpecGrad's noise is made (Koizumi et al., 2022).

    Args:
        schedule: The levels of noise.
        preset: The mel's convention, whose frames are the transform's.
        channels: Width of the backbone.
        hidden: Width inside its blocks.
        layers: Blocks.
    """

    signal: Tensor

    @checked
    def __init__(
        self,
        schedule: NoiseSchedule,
        preset: MelPreset,
        channels: PositiveInt,
        hidden: PositiveInt,
        layers: PositiveInt,
    ) -> None:
        super().__init__()
        self.hop_length = preset.hop_length
        self.register_buffer("signal", schedule.signal.clone(), persistent=False)
        self.spectrum = Spectrum(preset.n_fft, preset.hop_length, "center")
        self.envelope = SpectralEnvelope(preset)
        self.level_embedding = TimestepEmbedding(len(schedule))
        self.level_projection = nn.Linear(HIDDEN, channels)
        self.backbone = VocosBackbone(4 * self.spectrum.bins + channels, channels, hidden, layers)
        self.out = FrameProjection(channels, 3 * self.spectrum.bins)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, noisy: Tensor, levels: Tensor, mel: Tensor) -> Tensor:
        """Predict clean audio, given levels, fractional ones too, and `mel` `(batch, mels, frames)`."""
        spectrum = self.spectrum(noisy)
        # The mel of whole frames lacks the one that is centred on the end.
        guess = pad(self.envelope(mel).log(), (0, spectrum.shape[-1] - mel.shape[-1]), mode="replicate")
        level = self.level_projection(self.level_embedding(levels)).unsqueeze(-1).expand(-1, -1, spectrum.shape[-1])
        hidden = self.backbone(torch.cat([features(spectrum), guess / 2, level], dim=1))
        correction, *residual = self.out(hidden).float().chunk(3, dim=1)
        below, above = self.signal[levels.floor().long()], self.signal[levels.ceil().long()]
        signal = torch.lerp(below, above, (levels - levels.floor()).to(below)).view(-1, 1, 1)
        deviation = (guess + correction).clamp(max=LOUDEST).exp()
        kept, left = linear_guess(deviation, signal, (1 - signal.square()).sqrt())
        return self.spectrum.inverse(kept.unsqueeze(1) * spectrum + left.unsqueeze(1) * torch.stack(residual, dim=1))
