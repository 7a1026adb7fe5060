"""Pictures of audio: log-mel spectrograms on one colour scale, so that two of them can be compared by eye."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from framework.audio.mel import MelPreset, MelSpectrogram, mel_filters

RANGE = (-80.0, 20.0)
"""Limits of the colour scale (dB re a mel magnitude of 1): the same in every picture of every run."""

TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)


@torch.no_grad()
def log_mel_picture(clips: Mapping[str, Tensor], preset: MelPreset) -> Image.Image:
    """Draw the log-mels of several versions of a clip side by side.

    Args:
        clips: Mono audio `(1, time)` by title.
        preset: Mel convention whose bands are drawn; the colours are decibels whatever it compresses with.

    Returns:
        An RGB picture with a frequency axis (Hz) and a time axis (s) to each panel.
    """
    decibels = replace(preset, log="10", scale=20.0, shift=0.0, floor=1e-5, limits=None)
    front_end = MelSpectrogram(decibels)
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
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _frequency_ticks(preset: MelPreset) -> tuple[list[float], list[str]]:
    """Return where octaves lie on the axis of bands, and what they are called."""
    peaks = mel_filters(preset).argmax(dim=1).double().numpy() * preset.sample_rate / preset.n_fft
    within = [hertz for hertz in TICKS if peaks[0] <= hertz <= peaks[-1]]
    return [float(np.interp(hertz, peaks, np.arange(len(peaks)) + 0.5)) for hertz in within], [str(h) for h in within]
