"""Pictures of the page: log-mels of all columns on one colour scale, waveforms on one scale of amplitude."""

import itertools
import math
from dataclasses import replace

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from framework.audio.mel import PRESETS, MelPreset, MelSpectrogram, mel_filters

RANGE = (-80.0, 20.0)
"""Limits of the colours (dB re a mel magnitude of 1), the same in every picture."""

TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)
POINTS = 500
"""Columns of a waveform."""


def picture_preset(sample_rate: int) -> MelPreset:
    """Return the mel convention of the pictures: 80 bands up to half the sample rate (Hz), in decibels.

    Windows are as long in time as 1024 samples at 22.05 kHz.
    """
    n_fft = 1 << max(round(math.log2(1024 / 22050 * sample_rate)), 9)
    return replace(
        PRESETS["hifigan_22k"],
        name=f"picture_{sample_rate}",
        sample_rate=sample_rate,
        n_fft=n_fft,
        hop_length=n_fft // 4,
        win_length=n_fft,
        f_max=None,
        log="10",
        scale=20.0,
    )


@torch.no_grad()
def log_mel_image(audio: Tensor, preset: MelPreset, length: int) -> Image.Image:
    """Return the log-mel of audio `(1, time)` as a picture, a pixel a frame and band; silence up to a length (samples).

    The picture has no axes: pages lay them around it, and several of one length stand exactly under each other.
    """
    length = max(length, preset.n_fft)
    padded = torch.nn.functional.pad(audio, (0, max(0, length - audio.shape[-1])))
    mel = MelSpectrogram(preset)(padded[None])[0].flip(0).numpy()
    low, high = RANGE
    levels = np.clip((mel - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    image = Image.fromarray(levels, "L").convert("P")
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).round().astype(np.uint8).tobytes())
    return image


def waveform_path(audio: Tensor, peak: float, length: int) -> str:
    """Return the outline of audio `(1, time)` as an SVG path in a box of 500 by 100, the peak at its edges."""
    samples = audio[0].numpy() / peak
    edges = np.linspace(0, length, POINTS + 1).astype(int)
    upper, lower = [], []
    for column, (begin, end) in enumerate(itertools.pairwise(edges)):
        part = samples[begin : max(end, begin + 1)]
        if not len(part):
            break
        upper.append(f"{column},{50 - 50 * part.max():.1f}")
        lower.append(f"{column},{50 - 50 * part.min():.1f}")
    return f"M{'L'.join(upper + lower[::-1])}Z" if upper else ""


def frequency_ticks(preset: MelPreset) -> list[list[float]]:
    """Return octaves (Hz) with how high each lies in a picture, 0 at the bottom and 1 at the top."""
    peaks = mel_filters(preset).argmax(dim=1).double().numpy() * preset.sample_rate / preset.n_fft
    within = [hertz for hertz in TICKS if peaks[0] <= hertz <= peaks[-1]]
    places = np.interp(within, peaks, (np.arange(len(peaks)) + 0.5) / len(peaks))
    return [[hertz, float(place)] for hertz, place in zip(within, places, strict=True)]
