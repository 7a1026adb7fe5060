"""Graded degradations of recordings, for the evaluation of metrics: each is nothing at grade 0 and strong at grade 1.

All work on audio alone. A bar is a piece of half a second, as the true bars of a recording are not known.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torchaudio
from scipy import signal
from torch import Tensor

BAR = 0.5
"""Length of a bar (seconds)."""

FADE = 0.005
"""Fade at both ends of a bar that was moved (seconds), against clicks."""

Apply = Callable[[Tensor, int, float, np.random.Generator], Tensor]
"""`(audio (time,), sample rate in Hz, grade, random numbers) -> audio (time,)`."""


@dataclass(frozen=True)
class Degradation:
    """A way to make a recording worse.

    Args:
        name: Its name.
        title: The same for a reader, with its range.
        apply: The function; the grade is above 0 and at most 1.
    """

    name: str
    title: str
    apply: Apply

    def __call__(self, audio: Tensor, sample_rate: int, grade: float, seed: int = 0) -> Tensor:
        """Return audio `(time,)`, degraded; the same seed makes the same random choices at every grade."""
        if grade == 0:
            return audio
        return self.apply(audio, sample_rate, grade, np.random.default_rng(seed))


def between(low: float, high: float, grade: float) -> float:
    """Return the value at a grade between two values, evenly spaced in their logarithm."""
    return low * (high / low) ** grade


def noise(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Add white noise, from 50 dB below the audio to the level of the audio."""
    level = audio.square().mean().sqrt() * 10 ** (-50 * (1 - grade) / 20)
    return audio + level * torch.from_numpy(random.standard_normal(len(audio))).to(audio)


def low_pass(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Remove high frequencies, above 0.8 of the band to above 500 Hz (Butterworth, order 8, forwards and backwards)."""
    cutoff = between(0.8 * sample_rate / 2, 500.0, grade)
    sections = signal.butter(4, cutoff, fs=sample_rate, output="sos")
    return torch.from_numpy(signal.sosfiltfilt(sections, audio.double().numpy()).copy()).to(audio)


def detuning(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Raise the pitch, by up to 100 cents."""
    return shifted(audio, 100 * grade)


def time_stretch(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Slow down at the same pitch, by a factor of up to 1.5; as long as before."""
    return stretched(audio, 1.5**-grade)[: len(audio)]


def shuffled_bars(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Move a part of the bars to the places of others of them."""
    bars = bars_of(audio, sample_rate)
    chosen = random.permutation(len(bars))[: max(2, round(grade * len(bars)))]
    found = list(bars)
    for place, source in zip(chosen, np.roll(chosen, 1), strict=True):
        found[place] = faded(bars[source], sample_rate)
    return joined(found, audio)


def wrong_chords(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Transpose a part of the bars, each by 1 to 6 semitones up or down."""
    bars = bars_of(audio, sample_rate)
    order, steps = random.permutation(len(bars)), random.integers(1, 7, len(bars)) * random.choice([-1, 1], len(bars))
    for place in order[: max(1, round(grade * len(bars)))]:
        bars[place] = faded(shifted(bars[place], 100.0 * steps[place]), sample_rate)
    return joined(bars, audio)


def repeated_bars(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Replace a part of the bars by the one before, which may be a repetition itself."""
    bars = bars_of(audio, sample_rate)
    for place in sorted(1 + random.permutation(len(bars) - 1)[: max(1, round(grade * (len(bars) - 1)))]):
        bars[place] = faded(bars[place - 1], sample_rate)
    return joined(bars, audio)


def clipping(audio: Tensor, sample_rate: int, grade: float, random: np.random.Generator) -> Tensor:
    """Clip at a part of the peak, from 0.8 to 0.02 of it, and restore the level."""
    clipped = audio.clamp(*(sign * between(0.8, 0.02, grade) * audio.abs().max() for sign in (-1, 1)))
    return clipped * (audio.square().mean() / clipped.square().mean().clamp_min(1e-12)).sqrt()


DEGRADATIONS = (
    Degradation("noise", "white noise, -50 to 0 dB", noise),
    Degradation("low_pass", "low-pass, to 500 Hz", low_pass),
    Degradation("detuning", "detuning, to 100 cents", detuning),
    Degradation("time_stretch", "time stretch, to 1.5", time_stretch),
    Degradation("shuffled_bars", "shuffled bars", shuffled_bars),
    Degradation("wrong_chords", "wrong chords", wrong_chords),
    Degradation("repeated_bars", "repeated bars", repeated_bars),
    Degradation("clipping", "clipping, to 2 % of the peak", clipping),
)


def stretched(audio: Tensor, rate: float) -> Tensor:
    """Return audio `(time,)` played at a speed, at the same pitch (phase vocoder)."""
    n_fft, hop = 1024, 256
    window = torch.hann_window(n_fft)
    padded = torch.nn.functional.pad(audio, (0, max(n_fft - len(audio), 0)))
    spectrum = torch.stft(padded, n_fft, hop, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, n_fft // 2 + 1)[:, None]
    slower = torchaudio.functional.phase_vocoder(spectrum, rate, advance)
    return torch.istft(slower, n_fft, hop, window=window, length=round(len(padded) / rate))


def shifted(audio: Tensor, cents: float) -> Tensor:
    """Return audio `(time,)` of the same length at a higher pitch (100 cents are a semitone)."""
    ratio = 2 ** (cents / 1200)
    longer = stretched(audio, 1 / ratio)
    found = torch.from_numpy(signal.resample(longer.double().numpy(), round(len(longer) / ratio))).to(audio)
    return torch.nn.functional.pad(found, (0, max(len(audio) - len(found), 0)))[: len(audio)]


def bars_of(audio: Tensor, sample_rate: int) -> list[Tensor]:
    """Return the whole bars of audio `(time,)`, two or more."""
    length = min(round(BAR * sample_rate), len(audio) // 2)
    return list(audio[: len(audio) // length * length].split(length))


def joined(bars: list[Tensor], audio: Tensor) -> Tensor:
    """Return bars one after the other, with the rest of the audio that is no whole bar."""
    whole = torch.cat(bars)
    return torch.cat([whole, audio[len(whole) :]])


def faded(bar: Tensor, sample_rate: int) -> Tensor:
    """Return a bar faded in and out."""
    fade = min(round(FADE * sample_rate), len(bar) // 2)
    ramp = torch.ones_like(bar)
    ramp[:fade] = torch.linspace(0, 1, fade)
    ramp[-fade:] = torch.linspace(1, 0, fade)
    return bar * ramp
