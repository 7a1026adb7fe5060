"""Inference of convolutional vocoders on a CPU: compiled if possible, else with channels innermost in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from framework.inference.compiled import compiled
from framework.inference.incremental import Incremental, StreamedNetwork, computes_as, incremental, run, too_short
from framework.private_names.of_torch import with_children


class Vocoder(StreamedNetwork):
    """A network of convolutions over time, log-mel `(batch, mels, frames)` -> audio `(batch, 1, time)`."""

    _channels_last: "ChannelsLast | None" = None

    def prepared(self) -> Callable[[Tensor], Tensor]:
        """Return the fastest network for synthesis on a CPU, with the current weights."""
        return compiled(self) or self.channels_last()

    def eager(self) -> Callable[[Tensor], Tensor]:
        """Return the network for synthesis on a CPU with PyTorch operations only, with its current weights."""
        return self.channels_last()

    def channels_last(self) -> "ChannelsLast":
        """Return the channels-last network for synthesis on a CPU, with the current weights."""
        # Tensors created in inference mode could not be updated outside of it.
        with torch.inference_mode(False):
            made = self._channels_last
            if made is None or made.made_for != kind_of(self):
                made = ChannelsLast(self)
                # Stored outside of the registered modules, because it is not part of the network.
                object.__setattr__(self, "_channels_last", made)
            # At every call, because fused optimisers change weights without increasing their version.
            made.refresh()
        return made

    def stream(self, mels: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield audio `(batch, 1, time)` for pieces of a log-mel `(batch, mels, frames)`; together they equal one pass.

        A network with layers that do not support input in pieces is run once on the whole input, at the end.
        """
        if (fused := compiled(self)) is not None:
            yield from run(fused.begin(), mels)
            return
        plain = self.channels_last()
        try:
            layer = incremental(plain.network)
        except TypeError:
            yield plain(torch.cat(list(mels), dim=-1))
            return
        for audio in run(layer, map(as_image, mels)):
            yield audio.squeeze(2)


def can_stream(network: nn.Module) -> bool:
    """Return whether a network generates the audio of a log-mel in pieces, by `stream`."""
    return isinstance(network, Vocoder)


def generate_fast(network: nn.Module, otherwise: nn.Module, condition: Any) -> Tensor:
    """Return the output of a network in the fastest form that is known for its device.

    Args:
        network: The network.
        otherwise: The module that is called where no faster form is known, such as a wrapper of the network.
        condition: Its input.
    """
    if isinstance(network, Vocoder) and condition.device.type == "cpu":
        return network.prepared()(condition)
    return otherwise(condition)


class ChannelsLast(nn.Module):
    """A network over time with folded weight norms, computed on channels-last images of height 1.

    The output equals that of the network up to rounding (about -130 dB). Convolution libraries for CPUs work on blocks
    of channels, so this layout saves the reordering of memory between layers.

    Args:
        network: Convolutions, transposed convolutions, reflection padding, and layers for any number of dimensions.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.made_for = kind_of(network)
        self.pairs: list[tuple[nn.Module, nn.Module]] = []
        self.network = self.over_images(network)

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the current weights of the network."""
        for layer, image in self.pairs:
            image.weight.copy_(layer.weight.unsqueeze(2))  # type: ignore[operator, union-attr]
            if layer.bias is not None:
                image.bias.copy_(layer.bias)  # type: ignore[operator, union-attr, arg-type]

    def over_images(self, layer: nn.Module) -> nn.Module:
        """Convert a layer over time, or a network of such layers, to images of height 1; `refresh` sets the weights."""
        if isinstance(layer, nn.ReflectionPad1d) and computes_as(layer, nn.ReflectionPad1d):
            return ReflectedImage((*layer.padding, 0, 0))
        if isinstance(layer, OVER_TIME) and not computes_as(layer, *OVER_TIME):
            return OverTime(layer)
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            made = with_children(layer, {name: self.over_images(child) for name, child in layer.named_children()})
            made.training = False
            return made
        sizes: dict[str, Any] = {name: (1, getattr(layer, name)[0]) for name in ("kernel_size", "stride", "dilation")}
        sizes |= {"groups": layer.groups, "bias": layer.bias is not None, "padding_mode": layer.padding_mode}
        sizes["padding"] = layer.padding if isinstance(layer.padding, str) else (0, layer.padding[0])
        if isinstance(layer, nn.ConvTranspose1d):
            sizes |= {"output_padding": (0, layer.output_padding[0])}
        kind, weight = nn.ConvTranspose2d if isinstance(layer, nn.ConvTranspose1d) else nn.Conv2d, layer.weight
        image = kind(layer.in_channels, layer.out_channels, **sizes, device=weight.device, dtype=weight.dtype)
        image = image.to(memory_format=torch.channels_last)
        self.pairs.append((layer, image.requires_grad_(False)))
        return image

    def forward(self, signal: Tensor) -> Tensor:
        """Return the network's output `(batch, channels, time)` for a signal `(batch, channels, time)`."""
        return self.network(as_image(signal)).squeeze(2)


class ReflectedImage(nn.ReflectionPad2d):
    """Reflection padding along the width of images of height 1."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the padded image.

        Raises:
            ValueError: the image is not longer than the padding.
        """
        if image.shape[-1] <= (length := max(self.padding)):
            raise too_short(length + 1, image.shape[-1])
        return super().forward(image)

    def incremental(self) -> Incremental:
        """Return this layer for input in pieces."""
        return incremental(nn.ReflectionPad2d(self.padding))


class OverTime(nn.Module):
    """Wraps a layer that has no counterpart for images: converts its input to a signal and its output to an image."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        """Apply the layer to an image of height 1 and return an image of height 1."""
        return as_image(self.layer(image.squeeze(2)))

    def incremental(self) -> Incremental:
        """Return this layer for input in pieces."""
        layer = incremental(self.layer)
        return lambda piece, last: as_image(layer(piece.squeeze(2), last))


OVER_TIME = nn.Conv1d, nn.ConvTranspose1d, nn.ReflectionPad1d
"""Layers over time that have a counterpart for images."""


def kind_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the type of a network's weights."""
    first = next(network.parameters())
    return first.device, first.dtype


def as_image(signal: Tensor) -> Tensor:
    """Return a signal `(batch, channels, time)` as `(batch, channels, 1, time)` with channels innermost in memory."""
    return signal.unsqueeze(2).to(memory_format=torch.channels_last)
