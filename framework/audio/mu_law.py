"""Mu-law companding and quantisation (ITU-T G.711; WaveNet: van den Oord et al., 2016, section 2.2)."""

import math

import torch
from torch import Tensor

from framework.audio.checks import check_at_least
from framework.audio.envelopes import full_precision
from framework.errors import InvalidTypeError, InvalidValueError


def compress(audio: Tensor, levels: int = 256) -> Tensor:
    """Return f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu) of audio in [-1, 1], with mu = levels - 1.

    Raises:
        InvalidValueError: there are fewer than two levels.
    """
    audio, mu = full_precision(audio), _mu(levels)
    return audio.sign() * torch.log1p(mu * audio.abs()) / math.log1p(mu)


def expand(compressed: Tensor, levels: int = 256) -> Tensor:
    """Return the inverse of `compress`.

    Raises:
        InvalidValueError: there are fewer than two levels.
    """
    compressed, mu = full_precision(compressed), _mu(levels)
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu


def encode(audio: Tensor, levels: int = 256) -> Tensor:
    """Return the nearest level, int64 in [0, levels), of audio of any shape; what is beyond [-1, 1] is clipped.

    Silence is level 128 of 256, as in torchaudio and ibab/tensorflow-wavenet; r9y9/wavenet_vocoder truncates instead
    of rounding, and has 127.

    Raises:
        InvalidValueError: the audio holds NaN, which is no level, or there are fewer than two levels.
    """
    mu = _mu(levels)
    compressed = compress(full_precision(audio).float().clamp(-1, 1), levels)
    if compressed.isnan().any():
        raise InvalidValueError(
            f"audio holds NaN in {int(compressed.isnan().sum())} of {compressed.numel()} samples, which has no mu-law "
            "level: repair the data, or lower the learning rate if a network made it"
        )
    return ((compressed + 1) / 2 * mu + 0.5).long()


def decode(level: Tensor, levels: int = 256) -> Tensor:
    """Return the float32 audio in the middle (in loudness) of each level.

    Raises:
        InvalidTypeError: levels are whole numbers.
        InvalidValueError: there are fewer than two levels.
    """
    return expand(2 * _whole(level).float() / _mu(levels) - 1, levels)


def boundaries(level: Tensor, levels: int = 256) -> tuple[Tensor, Tensor]:
    """Return the float64 ends of the range of audio that `encode` gives each level; the outermost are infinite.

    Raises:
        InvalidTypeError: levels are whole numbers.
        InvalidValueError: there are fewer than two levels.
    """
    middle, mu = _whole(level).double(), _mu(levels)
    lower = expand((2 * middle - 1) / mu - 1, levels)
    upper = expand((2 * middle + 1) / mu - 1, levels)
    return lower.masked_fill(level == 0, -torch.inf), upper.masked_fill(level == levels - 1, torch.inf)


def _mu(levels: int) -> int:
    check_at_least("levels", levels, 2)
    return levels - 1


def _whole(level: Tensor) -> Tensor:
    if level.is_floating_point() or level.is_complex() or level.dtype == torch.bool:
        raise InvalidTypeError(f"levels of type {level.dtype}: give whole numbers, as `encode` returns them")
    return level
