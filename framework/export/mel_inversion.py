"""Mel inversion as a fixed graph in real arithmetic."""

import torch
from torch import Tensor, nn

from framework.audio.mel_consistency import magnitude_scale
from framework.audio.modified_stft import transform_of
from framework.audio.spsi import advance, in_frames, initial_state, sinusoids
from framework.export.fourier import RealFourier
from framework.generators.mel_inversion import MelInversionNetwork
from framework.generators.vocos import ShortTimeFourier
from framework.private_names.of_torch import scan


class RealMelInversion(nn.Module):
    """Mel inversion without complex numbers, its iterations unrolled.

    Args:
        network: The network to replace; outputs are equal up to rounding.
    """

    def __init__(self, network: MelInversionNetwork) -> None:
        super().__init__()
        preset = self.preset = network.preset
        self.magnitudes, self.bands = network.magnitudes, network.consistency.bands
        self.iterations, self.inertia = network.iterations, network.momentum / (1 + network.momentum)
        self.consistency_steps, self.initial_phase = network.consistency.steps, network.initial_phase
        self.hops = preset.hop_length / preset.n_fft
        self.scale = magnitude_scale(preset, network.consistency.window).item()
        transform = transform_of(preset, network.consistency.window)
        fourier = ShortTimeFourier(preset.n_fft, preset.hop_length, preset.padding)
        fourier.window = transform.window
        self.edge, self.fourier = transform.edge, RealFourier(fourier)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Generate audio `(batch, 1, time)` of a log-mel `(batch, mels, frames)`."""
        offset = self.preset.power_offset
        magnitude = (self.magnitudes(log_mel).mT.square() - offset).clamp(min=0).sqrt() * self.scale
        phase = self.phases(magnitude.mT).mT
        audio = self.fourier.invert(torch.stack([magnitude * phase.cos(), magnitude * phase.sin()], dim=1))
        mel = self.preset.bands(log_mel).mT

        def iterate(state: tuple[Tensor, Tensor], number: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
            audio, previous = state
            parts = self.batch_from_audio(audio - self.inertia * previous)
            factor = magnitude * (parts.square().sum(1) + 1e-30).rsqrt()
            return (self.fourier.invert(parts * factor.unsqueeze(1)), audio.clone()), number.clone()

        def project(audio: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
            parts = self.batch_from_audio(audio)
            present = (parts.square().sum(1) / self.scale**2 + offset).sqrt().mT
            return self.fourier.invert(parts * self.bands.gain(present, mel).mT.unsqueeze(1)), number.clone()

        (audio, _), _ = scan(iterate, (audio, torch.zeros_like(audio)), audio.new_zeros(self.iterations))
        return scan(project, audio, audio.new_zeros(self.consistency_steps))[0]

    def phases(self, magnitude: Tensor) -> Tensor:
        """Return the initial phases (radians) of Griffin-Lim for magnitudes `(batch, frames, bins)`."""
        if self.initial_phase == "zero":
            return torch.zeros_like(magnitude)

        def step(state: Tensor, frame: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            phase, state = advance(state, *frame)
            return state, phase.clone()

        peaks, frequencies = sinusoids(magnitude)
        frames = peaks.transpose(0, 1), (frequencies * (self.hops / 2)).transpose(0, 1)
        return in_frames(scan(step, initial_state(magnitude), frames)[1].transpose(0, 1))

    def batch_from_audio(self, audio: Tensor) -> Tensor:
        """Return real and imaginary parts `(batch, 2, bins, frames)` of the spectrum of reflection-padded audio."""
        before, behind = audio[..., 1 : self.edge + 1].flip(-1), audio[..., -self.edge - 1 : -1].flip(-1)
        return self.fourier.transform(torch.cat([before, audio, behind], dim=-1))
