"""Pictures of audio: log-mel spectrograms on a fixed colour scale, so that they can be compared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from framework.audio.files import resample
from framework.audio.mel import PRESETS, MelPreset, MelSpectrogram, mel_filters
from framework.writing import replacing

RANGE = (-80.0, 20.0)
"""Limits of the colour scale (dB re a mel magnitude of 1): the same in every picture of every run."""

TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)


def save_picture(path: Path, picture: Image.Image) -> None:
    """Write a picture as a PNG file atomically.

    Raises:
        WriteError: the file cannot be written.
    """
    with replacing(path, durable=False) as part:
        picture.save(part, format="png")


@torch.no_grad()
def log_mel_picture(clips: Mapping[str, Tensor], preset: MelPreset) -> Image.Image:
    """Draw the log-mels of several versions of a clip side by side.

    Args:
        clips: Mono audio `(1, time)` by title.
        preset: Mel convention whose bands are drawn; the colours are decibels whatever it compresses with.

    Returns:
        An RGB picture with a frequency axis (Hz) and a time axis (s) to each panel.
    """
    front_end = _decibels(preset)
    figure = Figure(figsize=(5 * len(clips), 3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(clips), squeeze=False, sharey=True)[0]
    for panel, (title, audio) in zip(panels, clips.items(), strict=True):
        mel = front_end(audio.detach().float().cpu()[None])[0].numpy()
        extent = (0, audio.shape[-1] / preset.sample_rate, 0, preset.n_mels)
        image = panel.imshow(mel, "magma", origin="lower", aspect="auto", extent=extent, vmin=RANGE[0], vmax=RANGE[1])
        panel.set(title=title, xlabel="time (s)")
    positions, labels = _frequency_ticks(preset)
    panels[0].set_yticks(positions, labels)
    panels[0].set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=panels, label="dB", pad=0.01)
    return drawn(canvas)


@torch.no_grad()
def contact_sheet(clips: Sequence[tuple[str, np.ndarray, int]], seconds: float = 5.0, columns: int = 4) -> Image.Image:
    """Draw log-mels of the beginnings of many clips on a grid with the same scales; the colour range
    is from the maximum to 80 dB below it.

    Args:
        clips: Name, mono audio `(time,)` and sample rate (Hz) of each.
        seconds: Maximum duration drawn (s).
        columns: Panels in a row.

    Returns:
        An RGB picture; over each panel stand the clip's name and its RMS level (dB).
    """
    seconds = min(seconds, max(len(audio) / rate for _, audio, rate in clips))
    columns = min(columns, len(clips))
    rows = math.ceil(len(clips) / columns)
    highest = max(rate for _, _, rate in clips)
    # 1024 samples at 22.05 kHz, and as long in time at any other rate.
    n_fft = 1 << max(round(math.log2(1024 / 22050 * highest)), 8)
    preset = replace(
        PRESETS["hifigan_22k"],
        name=f"sheet_{highest}",
        sample_rate=highest,
        n_fft=n_fft,
        hop_length=n_fft // 4,
        win_length=n_fft,
        f_max=None,
    )
    front_end = _decibels(preset)
    figure = Figure(figsize=(3.4 * columns + 1, 1.9 * rows + 0.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for panel in panels.flat[len(clips) :]:
        panel.set_axis_off()
    positions, labels = _frequency_ticks(preset)
    mels = [_mel(front_end, audio[: round(seconds * rate)], rate) for _, audio, rate in clips]
    loudest = max(float(mel.max()) for mel in mels)
    for panel, (name, audio, _), mel in zip(panels.flat, clips, mels, strict=False):
        extent = (0, mel.shape[1] / preset.frame_rate, 0, preset.n_mels)
        image = panel.imshow(
            mel, "magma", origin="lower", aspect="auto", extent=extent, vmin=loudest - 80, vmax=loudest
        )
        level = 10 * math.log10(max(float(np.mean(np.square(audio, dtype=np.float64))), 1e-10))
        panel.set_title(f"{name if len(name) <= 32 else '…' + name[-31:]}  {level:.0f} dB", fontsize=8)
        panel.set_xlim(0, seconds)
        panel.set_yticks(positions, labels, fontsize=7)
        panel.set_facecolor("0.85")
    figure.supxlabel("time (s)", fontsize=9)
    figure.supylabel("frequency (Hz)", fontsize=9)
    figure.colorbar(image, ax=panels, label="dB", pad=0.01)
    return drawn(canvas)


def _mel(front_end: MelSpectrogram, audio: np.ndarray, rate: int) -> np.ndarray:
    """Return the mel (mels, frames) of audio (time,) of any rate and length."""
    p = front_end.preset
    part = resample(torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None], rate, p.sample_rate)
    # A clip shorter than the reflected edges is drawn with silence behind it.
    padded = torch.nn.functional.pad(part, (0, max(p.n_fft - part.shape[-1], 0)))
    return front_end(padded[None])[0].numpy()


def _decibels(preset: MelPreset) -> MelSpectrogram:
    """Return a convention's front end that gives decibels, whatever it compresses with."""
    return MelSpectrogram(replace(preset, log="10", scale=20.0, shift=0.0, floor=1e-5, limits=None))


def drawn(canvas: FigureCanvasAgg) -> Image.Image:
    """Return a canvas as an RGB picture."""
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _frequency_ticks(preset: MelPreset) -> tuple[list[float], list[str]]:
    """Return where octaves lie on the axis of bands, and what they are called."""
    peaks = mel_filters(preset).argmax(dim=1).double().numpy() * preset.sample_rate / preset.n_fft
    within = [hertz for hertz in TICKS if peaks[0] <= hertz <= peaks[-1]]
    return [float(np.interp(hertz, peaks, np.arange(len(peaks)) + 0.5)) for hertz in within], [str(h) for h in within]
