"""Convolutional networks over signals of any length, piece by piece: the same output in bounded memory."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
from torch import Tensor, nn

from framework.generators.vocos import FourierHead, ShortTimeFourier
from framework.inference.incremental import Incremental


class SkipLSTM(nn.Module):
    """LSTM over time beside an identity (EnCodec: Défossez et al., 2023, section 3.1).

    Args:
        channels: Width.
        layers: Number of layers of the LSTM.
    """

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return self.step(hidden, None)[0]

    def incremental(self) -> Incremental:
        """Return the layer for input in pieces: its state is that behind the last one."""
        state: tuple[Tensor, Tensor] | None = None

        def transform(piece: Tensor, last: bool) -> Tensor:
            nonlocal state
            if piece.shape[-1]:
                piece, state = self.step(piece, state)
            return piece

        return transform

    def step(self, hidden: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Transform the next piece `(batch, channels, time)`; return it and the state behind it."""
        output, state = self.lstm(hidden.permute(2, 0, 1), state)
        return output.permute(1, 2, 0) + hidden, state


def stream(layers: nn.Sequential, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what layers make of a signal that comes in pieces `(batch, channels, time)`, as of the whole.

    Convolutions see the neighbourhood that they reach, recurrent layers carry their state. Nothing may normalise over
    time.
    """
    output: Iterator[Tensor] = iter(pieces)
    group: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, SkipLSTM):
            output, group = _recurrent(layer, _overlapped(nn.Sequential(*group), output)), []
        else:
            group.append(layer)
    return _overlapped(nn.Sequential(*group), output)


def reach(layers: nn.Module) -> tuple[int, Fraction, int]:
    """Return how many inputs to each side an output depends on, at most, and how many inputs it stands for.

    The third number is that of which pieces begin at multiples: there every layer inside begins one of its steps.
    """
    span, inputs, aligned = Fraction(0), Fraction(1), 1
    for layer in layers.modules():
        if isinstance(layer, FourierHead):
            span += inputs * math.ceil(layer.n_fft / layer.hop_length)
            inputs /= layer.hop_length
        elif isinstance(layer, ShortTimeFourier):
            span += inputs * layer.n_fft
            inputs *= layer.hop_length
        elif isinstance(layer, nn.ConvTranspose1d):
            span += inputs * math.ceil(layer.kernel_size[0] / layer.stride[0])
            inputs /= layer.stride[0]
        elif isinstance(layer, nn.Conv1d):
            span += inputs * (layer.kernel_size[0] - 1) * layer.dilation[0]
            inputs *= layer.stride[0]
        aligned = math.lcm(aligned, inputs.numerator)
    return math.ceil(span), inputs, aligned


def _recurrent(layer: SkipLSTM, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    state = None
    for piece in pieces:
        output, state = layer.step(piece, state)
        yield output


def _overlapped(layers: nn.Sequential, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield what layers without a state make of pieces, each with as much before and behind it as they reach."""
    span, inputs, aligned = reach(layers)
    kept, start, done = None, 0, 0
    for piece, last in _marked(pieces):
        kept = piece if kept is None else torch.cat([kept, piece], dim=-1)
        end = start + kept.shape[-1]
        ready = end if last else (end - span) // aligned * aligned
        if ready <= done:
            continue
        output = layers(kept)
        until = None if last else int((ready - start) / inputs)
        yield output[..., int((done - start) / inputs) : until]
        done = ready
        begin = max((done - span) // aligned * aligned, start)
        kept, start = kept[..., begin - start :], begin


def _marked(pieces: Iterator[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Yield each piece with whether it is the last one."""
    held = None
    for piece in pieces:
        if held is not None:
            yield held, False
        held = piece
    if held is not None:
        yield held, True
