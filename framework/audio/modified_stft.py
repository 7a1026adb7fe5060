"""Audio from modified short-time spectra (Griffin & Lim, 1984), computed piece by piece in bounded memory.

An iterative method is a chain of stages. Each stage analyses the audio of the stage before it, modifies the spectra and
inverts them. Its output is delayed by `n_fft - hop_length` samples; it stores the samples that the next pieces overlap
with, and computes nothing twice. The output is the same if the whole input is given at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.audio.mel import MelPreset
from framework.errors import InvalidValueError


class Transform(NamedTuple):
    """A short-time Fourier transform with reflected edges.

    Args:
        window: `(n_fft,)`.
        hop_length: Samples between two frames.
        edge: Samples reflected at each end.
    """

    window: Tensor
    hop_length: int
    edge: int


def transform_of(preset: MelPreset, window: Tensor) -> Transform:
    """Return the transform of a mel convention with its window `(win_length,)`, centred in `n_fft` samples."""
    before = (preset.n_fft - len(window)) // 2
    edge = (preset.n_fft - preset.hop_length if preset.padding == "same" else preset.n_fft) // 2
    return Transform(pad(window, (before, preset.n_fft - len(window) - before)), preset.hop_length, edge)


@dataclass(frozen=True)
class Estimate:
    """A piece of the audio that a stage has made, and the frames that it has made it from.

    Args:
        audio: `(batch, time)`.
        previous: The same samples of the stage before, or None.
        magnitude: `(batch, frames, bins)`, the magnitudes that are wanted, or None.
        mel: `(batch, frames, mels)`, the mel that is wanted, not logarithmic, or None.
    """

    audio: Tensor
    previous: Tensor | None = None
    magnitude: Tensor | None = None
    mel: Tensor | None = None


Modify = Callable[[Tensor, Estimate], Tensor]
"""Spectra `(batch, frames, bins)`, which may be overwritten, and what is wanted of these frames -> other spectra."""


class ModifiedSTFT:
    """A stage: audio -> spectra -> modified spectra -> audio, in pieces.

    Args:
        transform: The transform, and its least-squares inverse.
        modify: What is done to spectra.
        inertia: Factor of the previous stage's audio that is subtracted from the audio before it is analysed.
    """

    def __init__(self, transform: Transform, modify: Modify, inertia: float = 0.0) -> None:
        self.modify, self.inertia = modify, inertia
        self.analysis, self.synthesis = Analysis(transform), Synthesis(transform)
        self.audio, self.magnitude, self.mel = Queue(), Queue(), Queue()

    def __call__(self, piece: Estimate, last: bool) -> Estimate:
        """Return the output that can be computed after the next piece; all the rest if it is the last.

        Raises:
            ValueError: when the audio ends and is too short for the reflected edges.
        """
        audio = piece.audio
        if self.inertia and piece.previous is not None:
            audio = torch.sub(audio, piece.previous, alpha=self.inertia)
        spectrum = self.analysis(audio, last)
        count = spectrum.shape[1]
        wanted = replace(piece, magnitude=self.magnitude(piece.magnitude, count), mel=self.mel(piece.mel, count))
        made = self.synthesis(self.modify(spectrum, wanted) if count else spectrum, last)
        return replace(wanted, audio=made, previous=self.audio(piece.audio, made.shape[1]))


class Analysis:
    """The short-time Fourier transform of audio that comes in pieces, reflected at its ends.

    Args:
        transform: The transform.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self.begun = False
        self.kept: Tensor | None = None
        self.passed = 0
        """How many of the samples that are kept lie before the next frame."""

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        """Return the spectra `(batch, frames, bins)` of the frames that the next piece `(batch, time)` completes.

        Raises:
            ValueError: when the audio ends and is too short to be reflected.
        """
        window, hop, edge = self.transform
        signal = piece if self.kept is None else torch.cat([self.kept, piece], dim=1)
        if not self.begun and signal.shape[1] > edge:
            signal, self.begun = torch.cat([signal[:, 1 : edge + 1].flip(-1), signal], dim=1), True
        if last:
            if not self.begun:
                raise InvalidValueError(
                    f"too few frames: the {edge} samples at each edge are reflected, and there are {signal.shape[1]}"
                )
            signal = torch.cat([signal, signal[:, -edge - 1 : -1].flip(-1)], dim=1)
        count = max((signal.shape[1] - self.passed - len(window)) // hop + 1, 0) if self.begun else 0
        covered = signal[:, self.passed : self.passed + (count - 1) * hop + len(window)] if count else signal[:, :0]
        # What is reflected at the end has to be at hand, too.
        begin = max(min(self.passed + count * hop, signal.shape[1] - edge - 1), 0)
        self.kept, self.passed = signal[:, begin:], self.passed + count * hop - begin
        if not count:
            return torch.complex(*signal.new_zeros(2, len(signal), 0, len(window) // 2 + 1))
        return torch.fft.rfft(covered.unfold(1, len(window), hop) * window)


class Synthesis:
    """The audio whose spectra are nearest to those given (Griffin & Lim, 1984, equation 6), in pieces.

    Args:
        transform: The transform that is inverted; what it reflects is cut off.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        n_fft, hop = len(transform.window), transform.hop_length
        # A frame as whole hops: overlapping and adding frames is then one shifted addition for each.
        self.blocks = -(-n_fft // hop)
        self.window = pad(transform.window, (0, self.blocks * hop - n_fft)).view(self.blocks, hop)
        self.kept: Tensor | None = None
        self.frames = 0

    def __call__(self, spectrum: Tensor, last: bool) -> Tensor:
        """Return the audio `(batch, time)` that the next spectra `(batch, frames, bins)` complete."""
        _, hop, edge = self.transform
        blocks = self.inverse(spectrum)
        if self.kept is not None:
            blocks = torch.cat([self.kept, blocks], dim=1)
        before = blocks.shape[1] - spectrum.shape[1]
        self.kept = blocks[:, max(blocks.shape[1] - self.blocks + 1, 0) :]
        start, self.frames = self.frames * hop, self.frames + spectrum.shape[1]
        end = (self.frames - 1) * hop + len(self.transform.window) - edge if last else self.frames * hop
        hops = slice(before, blocks.shape[1] + self.blocks - 1 if last else blocks.shape[1])
        weights = self.overlap(self.window.expand(1, blocks.shape[1], -1, -1))[:, hops].clamp(min=1e-11)
        signal = (self.overlap(blocks)[:, hops] / weights).flatten(1)
        return signal[:, max(edge - start, 0) : max(end - start, 0)]

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Return the frames of spectra as hops `(batch, frames, blocks, hop)`."""
        if not spectrum.shape[1]:
            return spectrum.real.new_zeros(len(spectrum), 0, *self.window.shape)
        frames = torch.fft.irfft(spectrum, n=len(self.transform.window))
        if missing := self.window.numel() - frames.shape[-1]:
            frames = pad(frames, (0, missing))
        return frames.unflatten(-1, self.window.shape)

    def overlap(self, blocks: Tensor) -> Tensor:
        """Window and add up frames `(batch, frames, blocks, hop)`: hops `(batch, frames + blocks - 1, hop)`."""
        frames = blocks.shape[1]
        signal = blocks.new_zeros(len(blocks), frames + self.blocks - 1, blocks.shape[-1])
        for index, window in enumerate(self.window):
            signal[:, index : index + frames].addcmul_(blocks[:, :, index], window)
        return signal


class Queue:
    """Pieces `(batch, length, ...)` that wait until they are needed."""

    def __init__(self) -> None:
        self.waiting: Tensor | None = None

    def __call__(self, piece: Tensor | None, count: int) -> Any:
        """Take in the next piece and give the first `count` of those that wait; None if there is nothing at all."""
        if piece is None:
            return None
        waiting = piece if self.waiting is None else torch.cat([self.waiting, piece], dim=1)
        self.waiting = waiting[:, count:]
        return waiting[:, :count]
