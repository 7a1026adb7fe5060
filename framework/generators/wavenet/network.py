"""WaveNet's network: stacks of dilated causal convolutions (van den Oord et al., 2016)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, interpolate, pad, relu
from torch.nn.utils.parametrizations import weight_norm

from framework.annotations import NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.errors import InvalidValueError


class Layer(nn.Module):
    """One dilated causal convolution with a gated unit, and its residual and skip paths (section 2.3, figure 4).

    The first half of what the convolution and the conditions add up to goes through tanh, the second, the gate, through
    the sigmoid. Conditions have no bias of their own (equations 2 and 3).
    """

    def __init__(
        self,
        dilation: int,
        kernel: int,
        residual_channels: int,
        gate_channels: int,
        skip_channels: int,
        n_mels: int,
        label_channels: int,
        gated: bool,
    ) -> None:
        super().__init__()
        self.dilation, self.kernel, self.gated = dilation, kernel, gated
        # The samples before the present one that the convolution sees.
        self.reach = (kernel - 1) * dilation
        half = gate_channels // 2
        width = gate_channels if gated else half
        self.conv = nn.Conv1d(residual_channels, width, kernel, dilation=dilation)
        self.condition = nn.Conv1d(n_mels, width, 1, bias=False) if n_mels else None
        self.label = nn.Conv1d(label_channels, width, 1, bias=False) if label_channels else None
        self.residual = nn.Conv1d(half, residual_channels, 1)
        self.skip = nn.Conv1d(half, skip_channels, 1) if skip_channels else None

    def activate(self, hidden: Tensor) -> Tensor:
        """Return the gated unit `(batch, gate / 2, time)` of `(batch, gate, time)`; without gating, a ReLU."""
        if not self.gated:
            return relu(hidden)
        filtered, gate = hidden.chunk(2, dim=1)
        return filtered.tanh() * gate.sigmoid()

    def forward(self, hidden: Tensor, condition: Tensor | None, label: Tensor | None) -> Tensor:
        """Return the unit's activation `(batch, gate / 2, time)`, which both paths go on from.

        Args:
            hidden: `(batch, residual, time)`.
            condition: Upsampled mel `(batch, mels, time)`.
            label: Embedded label `(batch, label, 1)`.
        """
        gates = self.conv(pad(hidden, (self.reach, 0)))
        if self.condition is not None:
            gates = gates + self.condition(condition)
        if self.label is not None:
            gates = gates + self.label(label)
        return self.activate(gates)


class MelUpsampling(nn.Module):
    """Learned upsampling of a mel spectrogram to the sample rate (section 2.5, in the form of r9y9/wavenet_vocoder).

    A convolution over `2 * context + 1` frames, then for each scale: repetition, smoothed by one learned filter that
    all bands share and that begins as a moving average.
    """

    def __init__(self, n_mels: int, scales: Sequence[int], context: int, normed: bool) -> None:
        super().__init__()
        self.scales, self.context = tuple(scales), context
        self.conv_in = nn.Conv1d(n_mels, n_mels, 2 * context + 1, bias=False)
        self.convs: Any = nn.ModuleList()
        for scale in scales:
            smoothing = nn.Conv2d(1, 1, (1, 2 * scale + 1), padding=(0, scale), bias=False)
            nn.init.constant_(smoothing.weight, 1 / smoothing.weight.numel())
            self.convs.append(weight_norm(smoothing) if normed else smoothing)

    def forward(self, mel: Tensor) -> Tensor:
        """Upsample `(batch, mels, frames + 2 * context)` to `(batch, mels, frames * hop)`."""
        hidden = self.conv_in(mel).unsqueeze(1)
        for scale, conv in zip(self.scales, self.convs, strict=True):
            hidden = conv(interpolate(hidden, scale_factor=(1.0, float(scale)), mode="nearest"))
        return hidden.squeeze(1)


class WaveNetNetwork(nn.Module):
    """WaveNet: the audio up to each sample -> parameters of the distribution of the next one.

    Output `t` depends on the inputs up to and with `t`, of which it sees `receptive_field`. The defaults are the
    paper's form at the sizes of common implementations (the paper gives none); `scaled` and `normed` are the two
    things that r9y9/wavenet_vocoder adds, whose checkpoints load.

    Args:
        in_channels: Channels of the input: the levels of one-hot audio, or 1 for the samples themselves.
        out_channels: Channels of the output: as many as the distribution has parameters.
        dilations: Dilation of each layer.
        kernel: Kernel size of the dilated convolutions.
        residual_channels: Width of the path from layer to layer.
        gate_channels: Width of the dilated convolutions' output, filter and gate together.
        skip_channels: Width of the skip paths; 0 for none, so that the last layer alone leads to the output.
        n_mels: Mel bands of the local condition; 0 for none.
        upsample_scales: Factors of the mel's upsampling; their product is the hop length.
        context: Frames beyond each end that the mel comes with.
        num_classes: Number of classes of the global condition; 0 for none.
        label_channels: Width of a label's embedding.
        scaled: Keep the variance: the residual sum by sqrt(1/2), that of the n skip paths by sqrt(1/n).
        normed: Weight normalisation of all convolutions.
        gated: Gated units; without, ReLU of the filter alone.

    Raises:
        ValueError: when there is no layer, or the gates cannot be halved.
    """

    @checked
    def __init__(
        self,
        in_channels: PositiveInt,
        out_channels: PositiveInt,
        dilations: Sequence[PositiveInt] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) * 3,
        kernel: PositiveInt = 2,
        residual_channels: PositiveInt = 64,
        gate_channels: PositiveInt = 128,
        skip_channels: NonNegativeInt = 256,
        n_mels: NonNegativeInt = 0,
        upsample_scales: Sequence[PositiveInt] = (4, 4, 4, 4),
        context: NonNegativeInt = 2,
        num_classes: NonNegativeInt = 0,
        label_channels: NonNegativeInt = 16,
        scaled: bool = False,
        normed: bool = False,
        gated: bool = True,
    ) -> None:
        super().__init__()
        if not dilations or gate_channels % 2:
            raise InvalidValueError(
                f"WaveNet needs layers and gates to halve, not {len(dilations)} and {gate_channels}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.dilations, self.kernel = tuple(dilations), kernel
        self.residual_scale = math.sqrt(0.5) if scaled else 1.0
        self.skip_scale = math.sqrt(1 / len(dilations)) if scaled and skip_channels else 1.0
        # Samples that one output depends on.
        self.receptive_field = (kernel - 1) * sum(dilations) + 1

        self.first_conv: Any = nn.Conv1d(in_channels, residual_channels, 1)
        self.layers: Any = nn.ModuleList(
            Layer(
                dilation,
                kernel,
                residual_channels,
                gate_channels,
                skip_channels,
                n_mels,
                label_channels if num_classes else 0,
                gated,
            )
            for dilation in dilations
        )
        width = skip_channels or residual_channels
        self.last_convs: Any = nn.ModuleList([nn.Conv1d(width, width, 1), nn.Conv1d(width, out_channels, 1)])
        for conv in [module for module in self.modules() if isinstance(module, nn.Conv1d)]:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv is self.first_conv and in_channels > 1:
                # Levels are ordered: those that sound alike begin alike. By the usual rule each would begin at random,
                # and small, as one of many channels.
                conv.weight.data = torch.randn(residual_channels, 1, 1) * torch.linspace(-1, 1, in_channels)[:, None]
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            if normed:
                weight_norm(conv)
        self.upsampling = None
        if n_mels:
            self.upsampling = MelUpsampling(n_mels, upsample_scales, context, normed)
            self.hop_length = math.prod(upsample_scales)
        self.embedding = nn.Embedding(num_classes, label_channels) if num_classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.1)

    def upsample(self, mel: Tensor | None) -> Tensor | None:
        """Upsample `(batch, mels, frames + 2 * context)` to `(batch, mels, frames * hop)`; None stays None."""
        return None if self.upsampling is None or mel is None else self.upsampling(mel)

    def embed(self, labels: Tensor | None) -> Tensor | None:
        """Embed labels, int64 `(batch,)`, to `(batch, label, 1)`; None stays None."""
        return None if self.embedding is None or labels is None else self.embedding(labels).unsqueeze(-1)

    def first(self, inputs: Tensor) -> Tensor:
        """Return the first layer's input `(batch, residual, time)`.

        Levels, int64 `(batch, time)`, stand for one-hot channels: each picks a column of the first convolution.
        """
        if inputs.is_floating_point():
            return self.first_conv(inputs)
        columns = embedding(inputs, self.first_conv.weight[:, :, 0].T).transpose(1, 2)
        return columns + self.first_conv.bias[:, None]

    def last(self, hidden: Tensor) -> Tensor:
        """Return the output `(batch, out, time)` of summed skip paths (figure 4: ReLU, 1x1, ReLU, 1x1)."""
        for conv in self.last_convs:
            hidden = conv(relu(hidden))
        return hidden

    def forward(self, inputs: Tensor, mel: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Return parameters `(batch, out, time)` of the distribution of the sample that follows each input.

        Args:
            inputs: Audio `(batch, 1, time)`, levels int64 `(batch, time)` or one-hot levels `(batch, levels, time)`.
            mel: `(batch, mels, frames + 2 * context)`, in which frames * hop is the time or more.
            labels: int64 `(batch,)`.
        """
        return self.predict(inputs, *self.prepare(inputs.shape[-1], mel, labels))

    def prepare(
        self, time: int, mel: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the upsampled mel, cut to `(batch, mels, time)`, and the embedded labels `(batch, label, 1)`."""
        condition = self.upsample(mel)
        return None if condition is None else condition[..., :time], self.embed(labels)

    def predict(self, inputs: Tensor, condition: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """Do what `forward` does with what `prepare` returns in hand."""
        hidden = self.first(inputs)
        skips: Tensor | float = 0.0
        for layer in self.layers:
            activation = layer(hidden, condition, label)
            if layer.skip is not None:
                skips = skips + layer.skip(activation)
            hidden = (hidden + layer.residual(activation)) * self.residual_scale
        return self.last(skips * self.skip_scale if isinstance(skips, Tensor) else hidden)

    @staticmethod
    def official_names(name: str) -> str:
        """Return our name of a parameter of r9y9/wavenet_vocoder."""
        names = {
            "conv_layers": "layers",
            "conv1x1c": "condition",
            "conv1x1g": "label",
            "conv1x1_out": "residual",
            "conv1x1_skip": "skip",
            "embed_speakers": "embedding",
        }
        parts = [names.get(part, part) for part in name.split(".")]
        # Modules without weights (ReLU, repetition) are counted there.
        if parts[0] == "last_conv_layers":
            parts[:2] = ["last_convs", str(int(parts[1]) // 2)]
        elif parts[:2] == ["upsample_net", "upsample"]:
            parts[:4] = ["upsampling", "convs", str(int(parts[3]) // 2)]
        elif parts[0] == "upsample_net":
            parts[0] = "upsampling"
        return ".".join(parts)
