"""A WaveNet's weights as sampling needs them: the taps of its convolutions apart, layers stacked, widths padded."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.generators.wavenet.network import WaveNetNetwork

MULTIPLE = 16
"""Widths are padded with zeros to multiples of this: a vector of the widest processors."""


def padded(width: int) -> int:
    """Return a width rounded up to a multiple of `MULTIPLE`."""
    return -(-width // MULTIPLE) * MULTIPLE


def widened(weight: Tensor, *widths: int) -> Tensor:
    """Return a tensor with zeros behind its last dimensions, up to these widths."""
    missing = [width - size for width, size in zip(widths, weight.shape[-len(widths) :], strict=True)]
    return pad(weight, [side for amount in reversed(missing) for side in (0, amount)]).contiguous()


@dataclass(frozen=True)
class SamplingWeights:
    """Weights of a `WaveNetNetwork`: float32 on the CPU, contiguous, matrices as `(in, out)`.

    `gates` is the width of a convolution's output (filter, then gate, each padded), `units` that of its activation.

    Args:
        dilations: int32 `(layers,)`.
        first: `(in, residual)`: a row for each level, or one for the sample itself.
        first_bias: `(residual,)`.
        past: `(layers, kernel - 1, residual, gates)`, the oldest tap first.
        current: `(layers, residual, gates)`: the tap of the present sample.
        bias: `(layers, gates)`.
        condition: `(mels, layers * gates)`, or None.
        label: `(label, layers * gates)`, or None.
        residual: `(layers, units, residual)`.
        residual_bias: `(layers, residual)`.
        skip: `(layers, units, skip)`; skip is 0 where there are no skip paths.
        skip_bias: `(skip,)`, summed over layers.
        last: The last two matrices, `(width, width)` and `(width, out)`.
        last_bias: Their biases, `(width,)` and `(out,)`.
        gated: Gated units, or ReLU.
        residual_scale: Factor of the hidden state from layer to layer; the residual path's is in its weights.
        skip_scale: Factor of the sum of the skip paths.
        outputs: Output channels without padding.
    """

    dilations: Tensor
    first: Tensor
    first_bias: Tensor
    past: Tensor
    current: Tensor
    bias: Tensor
    condition: Tensor | None
    label: Tensor | None
    residual: Tensor
    residual_bias: Tensor
    skip: Tensor
    skip_bias: Tensor
    last: tuple[Tensor, Tensor]
    last_bias: tuple[Tensor, Tensor]
    gated: bool
    residual_scale: float
    skip_scale: float
    outputs: int

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.dilations)

    @classmethod
    def of(cls, network: WaveNetNetwork) -> "SamplingWeights":
        """Read the weights of a network, weight normalisation folded in."""
        halves = 2 if network.layers[0].gated else 1
        residual = padded(network.first_conv.out_channels)
        units = padded(network.layers[0].residual.in_channels)
        skips = [layer.skip for layer in network.layers if layer.skip is not None]
        skip = padded(skips[0].out_channels) if skips else 0
        width = skip or residual
        outputs = padded(network.out_channels)

        def plain(weight: Tensor) -> Tensor:
            return weight.detach().float().cpu()

        def gates(weight: Tensor) -> Tensor:
            """Pad filter and gate `(..., gates)` each on its own."""
            return torch.cat([widened(half, units) for half in weight.chunk(halves, dim=-1)], dim=-1)

        def across(name: str) -> Tensor | None:
            """Return the 1x1 convolutions of a condition, all layers' beside each other."""
            convs = [getattr(layer, name) for layer in network.layers]
            if any(conv is None for conv in convs):
                return None
            return torch.cat([gates(plain(conv.weight)[:, :, 0].T) for conv in convs], dim=-1).contiguous()

        # (layers, kernel, residual, gates)
        taps = torch.stack([plain(layer.conv.weight).permute(2, 1, 0) for layer in network.layers])
        taps = gates(widened(taps, residual, taps.shape[-1]))
        paths = [plain(layer.residual.weight)[:, :, 0].T for layer in network.layers]
        skip_paths = [plain(conv.weight)[:, :, 0].T for conv in skips]
        last, last_out = network.last_convs
        scale = network.residual_scale
        return cls(
            dilations=torch.tensor(network.dilations, dtype=torch.int32),
            first=widened(plain(network.first_conv.weight)[:, :, 0].T, residual),
            first_bias=widened(plain(network.first_conv.bias), residual),
            past=taps[:, :-1].contiguous(),
            current=taps[:, -1].contiguous(),
            bias=torch.stack([gates(plain(layer.conv.bias)) for layer in network.layers]),
            condition=across("condition"),
            label=across("label"),
            residual=scale * torch.stack([widened(path, units, residual) for path in paths]),
            residual_bias=scale * torch.stack([widened(plain(y.residual.bias), residual) for y in network.layers]),
            skip=torch.stack([widened(path, units, skip) for path in skip_paths])
            if skips
            else torch.zeros(len(paths), units, 0),
            skip_bias=widened(torch.stack([plain(conv.bias) for conv in skips]).sum(0), skip)
            if skips
            else torch.zeros(0),
            last=(
                widened(plain(last.weight)[:, :, 0].T, width, width),
                widened(plain(last_out.weight)[:, :, 0].T, width, outputs),
            ),
            last_bias=(widened(plain(last.bias), width), widened(plain(last_out.bias), outputs)),
            gated=halves == 2,
            residual_scale=scale,
            skip_scale=network.skip_scale,
            outputs=network.out_channels,
        )

    def bias_of(self, label: Tensor | None, batch: int) -> Tensor:
        """Return the biases `(batch, layers, gates)` of streams, with their embedded labels `(batch, label, 1)`."""
        bias = self.bias.expand(batch, -1, -1)
        if self.label is not None and label is not None:
            bias = bias + (label.detach().float().cpu()[:, :, 0] @ self.label).view(batch, *self.bias.shape)
        return bias.contiguous()
