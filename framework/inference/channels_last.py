"""Convolutional vocoders where no gradient is wanted, fastest first: compiled, or with channels innermost in memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from framework.inference.compiled import compiled
from framework.inference.incremental import Incremental, computes_as, incremental, run, too_short
from framework.private_names.of_torch import with_children


class Vocoder(nn.Module):
    """A network of convolutions over time, log-mel `(batch, mels, frames)` -> audio `(batch, 1, time)`."""

    _channels_last: "ChannelsLast | None" = None

    def prepared(self) -> Callable[[Tensor], Tensor]:
        """Return the network for synthesis on a CPU, with the weights that it has now."""
        return compiled(self) or self.channels_last()

    def eager(self) -> Callable[[Tensor], Tensor]:
        """Return the network for synthesis on a CPU by PyTorch alone, with the weights that it has now."""
        return self.channels_last()

    def channels_last(self) -> "ChannelsLast":
        """Return the network in PyTorch for synthesis on a CPU, with the weights that it has now."""
        # Tensors made in inference mode could not be refreshed outside of it.
        with torch.inference_mode(False):
            made = self._channels_last
            if made is None or made.made_for != kind_of(self):
                made = ChannelsLast(self)
                # Beside the modules, being no part of the network.
                object.__setattr__(self, "_channels_last", made)
            # Each time: fused optimisers change weights without leaving a sign of it.
            made.refresh()
        return made

    def stream(self, mels: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of a log-mel in pieces `(batch, mels, frames)`: that of the whole.

        A network with layers that cannot be given their input in pieces is given the whole, at the end.
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


class ChannelsLast(nn.Module):
    """A network over time with its weight norms folded, whose layers see images of height 1 with channels innermost.

    The output is that of the network but for rounding (some -130 dB). Convolution libraries for CPUs work on blocks of
    channels: so nothing has to be moved between one layer and the next.

    Args:
        network: Convolutions, transposed ones, reflections, and what works on tensors of any number of dimensions.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.made_for = kind_of(network)
        self.pairs: list[tuple[nn.Module, nn.Module]] = []
        self.network = self.over_images(network)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the weights that the network has now."""
        for layer, image in self.pairs:
            image.weight.copy_(layer.weight.unsqueeze(2))  # type: ignore[operator, union-attr]
            if layer.bias is not None:
                image.bias.copy_(layer.bias)  # type: ignore[operator, union-attr, arg-type]

    def over_images(self, layer: nn.Module) -> nn.Module:
        """Return a layer over time, or a network of such, as one over images of height 1; its weights come later."""
        if isinstance(layer, nn.ReflectionPad1d) and computes_as(layer, nn.ReflectionPad1d):
            return ReflectedImage((*layer.padding, 0, 0))
        if isinstance(layer, OVER_TIME) and not computes_as(layer, *OVER_TIME):
            return OverTime(layer)
        if not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            return with_children(layer, {name: self.over_images(child) for name, child in layer.named_children()})
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
        """Return the network's output `(batch, channels, time)` for a signal of the same form."""
        return self.network(as_image(signal)).squeeze(2)


class ReflectedImage(nn.ReflectionPad2d):
    """An image of height 1 whose beginning and end are reflected."""

    def forward(self, image: Tensor) -> Tensor:
        """Return it with what is reflected.

        Raises:
            ValueError: it is no longer than what is reflected.
        """
        if image.shape[-1] <= (length := max(self.padding)):
            raise too_short(length + 1, image.shape[-1])
        return super().forward(image)

    def incremental(self) -> Incremental:
        """Return the layer for input in pieces."""
        return incremental(nn.ReflectionPad2d(self.padding))


class OverTime(nn.Module):
    """A layer that computes something of its own, which only signals have: it is given those."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, image: Tensor) -> Tensor:
        """Return what the layer makes of an image of height 1, as one."""
        return as_image(self.layer(image.squeeze(2)))

    def incremental(self) -> Incremental:
        """Return the layer for input in pieces."""
        layer = incremental(self.layer)
        return lambda piece, last: as_image(layer(piece.squeeze(2), last))


OVER_TIME = nn.Conv1d, nn.ConvTranspose1d, nn.ReflectionPad1d
"""What is over time and has a counterpart over images."""


def kind_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a network's weights are, and their type."""
    first = next(network.parameters())
    return first.device, first.dtype


def as_image(signal: Tensor) -> Tensor:
    """Return a signal `(batch, channels, time)` as `(batch, channels, 1, time)`, channels innermost in memory."""
    return signal.unsqueeze(2).to(memory_format=torch.channels_last)
