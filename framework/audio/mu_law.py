"""Mu-law companding: audio in few levels, spaced by the logarithm of loudness (ITU-T G.711; WaveNet section 2.2)."""

import math

import torch
from torch import Tensor


def compress(audio: Tensor, levels: int = 256) -> Tensor:
    """Return f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu) of audio in [-1, 1], with mu = levels - 1."""
    mu = levels - 1
    return audio.sign() * torch.log1p(mu * audio.abs()) / math.log1p(mu)


def expand(compressed: Tensor, levels: int = 256) -> Tensor:
    """Return the inverse of `compress`."""
    mu = levels - 1
    return compressed.sign() * torch.expm1(compressed.abs() * math.log1p(mu)) / mu


def encode(audio: Tensor, levels: int = 256) -> Tensor:
    """Return the nearest level, int64 in [0, levels), of audio of any shape; what is beyond [-1, 1] is clipped.

    Silence is level 128 of 256, as in torchaudio and ibab/tensorflow-wavenet; r9y9/wavenet_vocoder truncates instead
    of rounding, and has 127.
    """
    mu = levels - 1
    compressed = compress(audio.float().clamp(-1, 1), levels)
    return ((compressed + 1) / 2 * mu + 0.5).long()


def decode(level: Tensor, levels: int = 256) -> Tensor:
    """Return the float32 audio in the middle (in loudness) of each level."""
    return expand(2 * level.float() / (levels - 1) - 1, levels)


def boundaries(level: Tensor, levels: int = 256) -> tuple[Tensor, Tensor]:
    """Return the float64 ends of the range of audio that `encode` gives each level; the outermost are infinite."""
    middle = level.double()
    lower = expand((2 * middle - 1) / (levels - 1) - 1, levels)
    upper = expand((2 * middle + 1) / (levels - 1) - 1, levels)
    return lower.masked_fill(level == 0, -torch.inf), upper.masked_fill(level == levels - 1, torch.inf)
