"""DiffWave: a bidirectional WaveNet that removes noise from audio (Kong et al., 2021)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, silu

from framework.annotations import Depth, NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.data_module import DataModule, FromData, data_module_of
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.paradigms.diffusion import Diffusion
from framework.paradigms.labels import classes_from_data, labels_of

EMBEDDING, HIDDEN = 128, 512
"""Widths of the timestep's sinusoidal embedding and of the layers behind it (section 3.1)."""


def conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution that keeps the length, its weights drawn as in the official code."""
    layer = nn.Conv1d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.kaiming_normal_(layer.weight)
    return layer


class TimestepEmbedding(nn.Module):
    """Embedding of the timestep (section 3.1): sines and cosines, then two layers; interpolated between integers.

    Args:
        timesteps: How many there are.
    """

    embedding: Tensor

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        rates = 10.0 ** (torch.arange(EMBEDDING // 2) * 4.0 / (EMBEDDING // 2 - 1))
        angles = torch.arange(timesteps).unsqueeze(1) * rates
        self.register_buffer("embedding", torch.cat([angles.sin(), angles.cos()], dim=1), persistent=False)
        self.projection1 = nn.Linear(EMBEDDING, HIDDEN)
        self.projection2 = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, timesteps: Tensor) -> Tensor:
        """Embed timesteps `(batch,)`, fractional ones too, as `(batch, 512)`."""
        below = timesteps.floor().long()
        above = timesteps.ceil().long()
        table = self.embedding
        embedded = torch.lerp(table[below], table[above], (timesteps - below).unsqueeze(1).to(table))
        return silu(self.projection2(silu(self.projection1(embedded))))


class MelUpsampler(nn.Module):
    """Two transposed convolutions over time and frequency that bring a mel to the sample rate (section 3.2).

    Args:
        scales: Factors, whose product is the hop length.
    """

    def __init__(self, scales: tuple[int, int]) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.ConvTranspose2d(1, 1, (3, 2 * s), (1, s), padding=(1, (s + 1) // 2), output_padding=(0, s % 2))
            for s in scales
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Upsample `(batch, mels, frames)` to `(batch, mels, frames * hop)`."""
        hidden = leaky_relu(self.conv1(mel.unsqueeze(1)), 0.4)
        return leaky_relu(self.conv2(hidden), 0.4).squeeze(1)


class ResidualLayer(nn.Module):
    """Gated dilated convolution with the timestep's embedding and a conditioner added (figure 2a).

    Args:
        channels: Residual channels.
        dilation: The dilation of the convolution, which sees both sides.
        n_mels: Mel bands of the conditioner; 0 for none.
        label_channels: Width of the label's embedding; 0 for none.
    """

    def __init__(self, channels: int, dilation: int, n_mels: int, label_channels: int) -> None:
        super().__init__()
        self.dilated_conv = conv(channels, 2 * channels, 3, dilation)
        self.diffusion_projection = nn.Linear(HIDDEN, channels)
        self.conditioner_projection = conv(n_mels, 2 * channels) if n_mels else None
        self.label_projection = nn.Linear(label_channels, 2 * channels) if label_channels else None
        self.output_projection = conv(channels, 2 * channels)

    def forward(self, x: Tensor, timestep: Tensor, mel: Tensor | None, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Transform `(batch, channels, time)`; return it and the skip path of the same shape."""
        hidden = self.dilated_conv(x + self.diffusion_projection(timestep).unsqueeze(-1))
        if self.conditioner_projection is not None and mel is not None:
            hidden = hidden + self.conditioner_projection(mel)
        if self.label_projection is not None and label is not None:
            hidden = hidden + self.label_projection(label).unsqueeze(-1)
        gate, filtered = hidden.chunk(2, dim=1)
        residual, skip = self.output_projection(gate.sigmoid() * filtered.tanh()).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skip


class DiffWaveNetwork(nn.Module):
    """The denoising network (section 3): noisy audio `(batch, 1, time)` and timesteps `(batch,)` -> `(batch, 1, time)`.

    Args:
        timesteps: Timesteps of noise.
        channels: Residual channels.
        layers: Residual layers.
        cycle: Layers after which the dilation, doubled from each to the next, begins at 1 again.
        n_mels: Mel bands of the conditioner; 0 for an unconditional model.
        upsample_scales: Factors by which the mel is brought to the sample rate.
        num_classes: Number of classes of a class-conditional model; 0 for none.
    """

    @checked
    def __init__(
        self,
        timesteps: PositiveInt,
        channels: PositiveInt = 64,
        layers: PositiveInt = 30,
        cycle: PositiveInt = 10,
        n_mels: NonNegativeInt = 80,
        upsample_scales: tuple[PositiveInt, PositiveInt] = (16, 16),
        num_classes: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.input_projection = conv(1, channels)
        self.diffusion_embedding = TimestepEmbedding(timesteps)
        self.spectrogram_upsampler: nn.Module | None = MelUpsampler(upsample_scales) if n_mels else None
        self.label_embedding = nn.Embedding(num_classes, EMBEDDING) if num_classes else None
        width = EMBEDDING if num_classes else 0
        self.residual_layers = nn.ModuleList(
            ResidualLayer(channels, 2 ** (layer % cycle), n_mels, width) for layer in range(layers)
        )
        if n_mels:
            self.hop_length = math.prod(upsample_scales)
        self.skip_projection = conv(channels, channels)
        self.output_projection = conv(channels, 1)
        nn.init.zeros_(self.output_projection.weight)
        # Samples on which one output sample depends (section 3.3).
        self.receptive_samples = 1 + 2 * sum(2 ** (layer % cycle) for layer in range(layers))

    def forward(
        self, noisy: Tensor, timesteps: Tensor, mel: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Predict of noisy audio, given timesteps and `mel` `(batch, mels, frames)` or `labels` `(batch,)`.

        Raises:
            ValueError: a mel for a network that takes none, or none for one that does.
        """
        if (mel is None) != (self.spectrogram_upsampler is None):
            raise InvalidValueError("an unconditional DiffWave takes no mel, and a conditional one needs it")
        hidden = self.input_projection(noisy).relu()
        timestep = self.diffusion_embedding(timesteps)
        if self.spectrogram_upsampler is not None:
            mel = self.spectrogram_upsampler(mel)
        label = self.label_embedding(labels) if self.label_embedding is not None else None
        total = torch.zeros_like(hidden)
        for layer in self.residual_layers:
            hidden, skip = layer(hidden, timestep, mel, label)
            total = total + skip
        hidden = self.skip_projection(total / math.sqrt(len(self.residual_layers))).relu()
        return self.output_projection(hidden)


class DiffWave(Diffusion):
    """DiffWave vocoder (Kong et al., 2021), by the recipe of lmnt-com/diffwave; the defaults are BASE.

    The paper's loss is the squared error, the official code's in effect the L1 distance.

    Args:
        channels: Residual channels.
        layers: Residual layers.
        cycle: Layers after which the dilation, doubled from each to the next, begins at 1 again.
        upsample_scales: Factors by which the mel is brought to the sample rate.
    """

    mel = "diffwave_22k"
    learning_rate = 2e-4
    channels: PositiveInt = 64
    layers: Depth = 30
    cycle: PositiveInt = 10
    upsample_scales: tuple[PositiveInt, PositiveInt] = (16, 16)

    def build_generator(self) -> nn.Module:
        mels = self.preset.n_mels
        return DiffWaveNetwork(self.timesteps, self.channels, self.layers, self.cycle, mels, self.upsample_scales)

    def setup(self, stage: str) -> None:
        """Refuse segments that are no whole number of frames.

        Raises:
            ValueError: naming the next one that is.
        """
        super().setup(stage)
        data, hop = data_module_of(self.trainer), self.preset.hop_length
        if data is not None and self.reconstructs_input and data.segment % hop:
            raise InvalidValueError(
                f"a segment of {data.segment} samples is no multiple of the mel's hop, {hop}: "
                f"set --data.segment {data.segment // hop * hop or hop}"
            )

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the log-mel, a frame for each hop of the audio."""
        frames = batch["audio"].shape[-1] // self.preset.hop_length
        return {"mel": self.front_end(batch["audio"])[..., :frames]}


class UnconditionalDiffWave(DiffWave):
    """DiffWave without a mel (Kong et al., 2021, section 5.2): audio of its own, or of the class that a label names.

    Args:
        label: Name in the batch of the label that conditions, as `instrument`; empty for none.
        num_classes: Number of classes of the label.
        synthesized_label: The label of what is generated without a recording.
    """

    reconstructs_input: ClassVar[bool] = False

    label: str = ""
    num_classes: NonNegativeInt = 0
    synthesized_label: NonNegativeInt = runtime(0)

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the number of classes of the label."""
        return super().values_from_data(data, values) | classes_from_data(data, values)

    def build_generator(self) -> DiffWaveNetwork:
        classes = self.num_classes if self.label else 0
        return DiffWaveNetwork(self.timesteps, self.channels, self.layers, self.cycle, n_mels=0, num_classes=classes)

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the labels, if the network takes some.

        Raises:
            ValueError: a label that the network does not have.
        """
        return {"labels": labels_of(batch, self.label, self.num_classes)} if self.label else {}

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch, with the label `synthesized_label`."""
        label = {self.label: torch.tensor([self.synthesized_label], device=audio.device)} if self.label else {}
        return super().batch_from_audio(audio) | label
