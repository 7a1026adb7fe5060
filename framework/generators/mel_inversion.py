"""Mel inversion: a vocoder that learns magnitudes and finds their phase by Griffin-Lim.

A mel spectrogram says little about single bins of the spectrum, and nothing above its highest band. What it lacks is
predicted by a network at the frame rate, which is trained on spectra alone: without an inverse transform, a waveform
or a discriminator, so that a training step is cheap.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from framework.annotations import NonNegativeFloat, NonNegativeInt, PositiveInt
from framework.audio.griffin_lim import griffin_lim_stages
from framework.audio.mel import MelPreset
from framework.audio.mel_consistency import MelBands, MelConsistency, magnitude_scale
from framework.audio.modified_stft import Estimate, Queue, Synthesis, transform_of
from framework.audio.spsi import SinglePassInversion
from framework.errors import InvalidValueError
from framework.generators.vocos import VocosBackbone
from framework.inference.channels_last import Vocoder
from framework.inference.incremental import Incremental, incremental, run
from framework.losses.magnitude import LogMagnitudeLoss, SpectralConvergence
from framework.paradigms.system import Losses, System

InitialPhase = Literal["spsi", "zero"]
BLOCK = 64
"""Frames that the generator works on at a time."""
QUIETEST = 1e-6
"""Smallest magnitude that the network's residual is added to the logarithm of."""
OUTSIDE = -6.0
"""Log magnitude that the residual is added to in bins that are in no band."""


class MagnitudeNetwork(nn.Module):
    """Log-mel `(batch, mels, frames)` -> magnitudes of its spectrum `(batch, frames, bins)`.

    The network predicts a residual on the logarithm of the smooth spectrum that has the mel. The sum is brought
    towards the mel by multiplicative updates, through which the network is trained.

    Args:
        preset: Convention of the mel.
        backbone: The network that keeps the frame rate.
        channels: Its width.
        updates: Multiplicative updates of the predicted magnitudes.
    """

    def __init__(self, preset: MelPreset, backbone: VocosBackbone, channels: int, updates: int) -> None:
        super().__init__()
        self.preset, self.updates = preset, updates
        self.bands = MelBands(preset)
        self.backbone = backbone
        self.out = nn.Linear(channels, preset.n_fft // 2 + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        window = torch.hann_window(preset.win_length)
        # Of audio between -1 and 1.
        self.loudest = math.log(window.sum().item() / magnitude_scale(preset, window).item())

    def forward(self, log_mel: Tensor) -> Tensor:
        """Predict magnitudes, in the units of the convention."""
        mel = self.preset.bands(log_mel)
        return self.head(self.backbone(self.features(mel)), mel.mT)

    def features(self, mel: Tensor) -> Tensor:
        """Return what the backbone is given of a mel `(batch, mels, frames)`: logarithms of about unit variance."""
        return (mel.clamp(min=QUIETEST).log() + 5) / 3

    def head(self, hidden: Tensor, mel: Tensor) -> Tensor:
        """Return the magnitudes of hidden states `(batch, frames, channels)` and a mel `(batch, frames, mels)`."""
        residual = self.out(hidden).to(mel)
        with torch.autocast(mel.device.type, enabled=False):
            smooth = self.bands.smooth(mel).clamp(min=QUIETEST).log()
            start = torch.where(self.bands.outside > 0, OUTSIDE, smooth)
            return self.bands.fit((start + residual).clamp(max=self.loudest).exp(), mel, self.updates)

    def incremental(self) -> Incremental:
        """Return the network for log-mels in pieces; the magnitudes come with their mel, as an `Estimate`."""
        backbone, waiting = incremental(self.backbone), Queue()

        def predict(piece: Tensor, last: bool) -> Any:
            mel = self.preset.bands(piece)
            hidden = backbone(self.features(mel), last)
            wanted = waiting(mel.mT, hidden.shape[1])
            return self.head(hidden, wanted), wanted

        return predict


class MelInversionNetwork(Vocoder):
    """Log-mel `(batch, mels, frames)` -> audio `(batch, 1, time)`.

    The audio has `frames * hop` samples, or `(frames - 1) * hop` with frames that are centred on their first sample.
    The whole is computed as its pieces are, block by block, so that both give the same samples to the bit: Griffin-Lim
    amplifies rounding errors by about a thousand.

    Args:
        preset: Convention of the mel.
        magnitudes: The network that predicts magnitudes.
        initial_phase: What Griffin-Lim starts from: `spsi` (see `SinglePassInversion`) or `zero`.
        iterations: Iterations of fast Griffin-Lim.
        momentum: Its acceleration.
        consistency_steps: Projections towards the mel after them.
    """

    def __init__(
        self,
        preset: MelPreset,
        magnitudes: MagnitudeNetwork,
        initial_phase: InitialPhase,
        iterations: int,
        momentum: float,
        consistency_steps: int,
    ) -> None:
        super().__init__()
        self.preset, self.hop_length = preset, preset.hop_length
        self.initial_phase, self.iterations, self.momentum = initial_phase, iterations, momentum
        self.magnitudes = magnitudes
        self.consistency = MelConsistency(preset, consistency_steps)

    @torch.compiler.disable
    def forward(self, log_mel: Tensor) -> Tensor:
        """Generate audio.

        Raises:
            ValueError: when there are too few frames for the reflected edges.
        """
        audio = list(self.stream([log_mel]))
        return torch.cat(audio, dim=-1) if audio else log_mel.new_zeros(len(log_mel), 1, 0)

    def prepared(self) -> Callable[[Tensor], Tensor]:
        return self

    def eager(self) -> Callable[[Tensor], Tensor]:
        return self

    def stream(self, mels: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of a log-mel in pieces `(batch, mels, frames)`: that of the whole.

        Raises:
            ValueError: when there are too few frames for the reflected edges.
        """
        return run(self.incremental(), blocks(mels, BLOCK))

    def incremental(self) -> Incremental:
        """Return the network for log-mels in pieces."""
        predict, transform = self.magnitudes.incremental(), transform_of(self.preset, self.consistency.window)
        synthesis = Synthesis(transform)
        single_pass = SinglePassInversion(self.preset.n_fft, self.preset.hop_length)
        phases = single_pass if self.initial_phase == "spsi" else torch.zeros_like
        stages = griffin_lim_stages(transform, self.iterations, self.momentum) + self.consistency.stages(transform)

        def generate(piece: Tensor, last: bool) -> Tensor:
            magnitude, mel = predict(piece, last)
            with torch.autocast(piece.device.type, enabled=False):
                magnitude = self.unscaled(magnitude)
                audio = synthesis(torch.polar(magnitude, phases(magnitude)), last)
                estimate = Estimate(audio, magnitude=magnitude, mel=mel)
                for stage in stages:
                    estimate = stage(estimate, last)
            return estimate.audio[:, None]

        return generate

    def unscaled(self, magnitude: Tensor) -> Tensor:
        """Return the magnitudes of a short-time spectrum that are these in the convention."""
        power = (magnitude.square() - self.preset.power_offset).clamp(min=0)
        return power.sqrt() * magnitude_scale(self.preset, self.consistency.window)


def blocks(pieces: Iterable[Tensor], frames: int) -> Iterator[Tensor]:
    """Yield pieces `(batch, channels, time)` cut anew into blocks of so many frames, of which the last has the rest."""
    waiting: Tensor | None = None
    for piece in pieces:
        waiting = piece if waiting is None else torch.cat([waiting, piece], dim=-1)
        while waiting.shape[-1] >= frames:
            # A copy: equal blocks lie alike in memory, whatever they were cut from.
            yield waiting[..., :frames].clone(memory_format=torch.contiguous_format)
            waiting = waiting[..., frames:]
    if waiting is not None and waiting.shape[-1]:
        yield waiting.clone(memory_format=torch.contiguous_format)


class MelInversion(System):
    """Vocoder that learns magnitudes and finds their phase by fast Griffin-Lim.

    The network is a ConvNeXt at the frame rate (Siuzdak, 2024, section 3.2), the losses those of the STFT loss
    (Yamamoto et al., 2020, equations 4 and 5) between magnitudes of the mel's own transform.

    Args:
        channels: Width of the network.
        hidden: Width inside its blocks.
        layers: Blocks.
        magnitude_updates: Multiplicative updates that bring the predicted magnitudes towards the mel, in training too.
        initial_phase: What Griffin-Lim starts from: `spsi`, single-pass spectrogram inversion (Beauregard et al.,
            2015), or `zero`.
        iterations: Iterations of fast Griffin-Lim (Perraudin et al., 2013).
        momentum: Its acceleration alpha.
        mel_consistency_steps: Projections of the audio towards the mel after Griffin-Lim.
        log_magnitude_weight: Weight of the L1 distance of log magnitudes.
        spectral_convergence_weight: Weight of the spectral convergence.
    """

    learning_rate = 5e-4
    betas = (0.9, 0.98)
    weight_decay = 0.01
    schedule = "cosine"
    gradient_clip = 5.0
    channels: PositiveInt = 512
    hidden: PositiveInt = 1536
    layers: PositiveInt = 8
    magnitude_updates: NonNegativeInt = 2
    initial_phase: InitialPhase = "spsi"
    iterations: NonNegativeInt = 32
    momentum: NonNegativeFloat = 0.99
    mel_consistency_steps: NonNegativeInt = 8
    log_magnitude_weight: NonNegativeFloat = 1.0
    spectral_convergence_weight: NonNegativeFloat = 0.5

    def build_generator(self) -> MelInversionNetwork:
        backbone = VocosBackbone(self.preset.n_mels, self.channels, self.hidden, self.layers)
        magnitudes = MagnitudeNetwork(self.preset, backbone, self.channels, self.magnitude_updates)
        sampling = self.initial_phase, self.iterations, self.momentum, self.mel_consistency_steps
        return MelInversionNetwork(self.preset, magnitudes, *sampling)

    def build_losses(self) -> dict[str, nn.Module]:
        return {"log_magnitude": LogMagnitudeLoss(), "spectral_convergence": SpectralConvergence()}

    @property
    def trained(self) -> MagnitudeNetwork:
        """The network inside the generator that is trained."""
        generator: Any = self.generator
        return generator.magnitudes

    def setup(self, stage: str) -> None:
        """Check data and precision; compile what is trained."""
        super().setup(stage)
        if self.compile_networks and stage == "fit":
            self.trained.compile()

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the losses of the frames that lie within the audio: others show its reflection at the ends.

        Raises:
            ValueError: there is no such frame.
        """
        real, log_mel = self.front_end.magnitude(batch["audio"]).mT, self.condition(batch)
        margin = -(-transform_of(self.preset, self.front_end.window).edge // self.preset.hop_length)
        inside = slice(margin, real.shape[1] - margin)
        if real.shape[1] <= 2 * margin:
            raise InvalidValueError(
                f"a segment of {batch['audio'].shape[-1]} samples is too short: set --data.segment to at least "
                f"{(2 * margin + 1) * self.preset.hop_length}"
            )
        fake = self.trained(log_mel[..., inside]).float()
        return {name: loss(fake, real[:, inside]) for name, loss in self.losses.items() if self.loss_weight(name)}
