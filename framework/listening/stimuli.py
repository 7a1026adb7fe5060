"""The sounds of a listening test: anchors, one length and format for all of a trial, no two files alike."""

import base64
import io

import numpy as np
import soundfile
from scipy.signal import fftconvolve, firwin, kaiserord

ANCHORS = {"3.5 kHz anchor": 3500.0, "7 kHz anchor": 7000.0}
"""Pass band (Hz) of the low-passed references: the low and the mid anchor of ITU-R BS.1534-3."""

TRANSITION = 8 / 7
"""Stop band over pass band: 4 kHz for the low anchor, where BS.1534-3 asks for 25 dB (and for 50 dB at 4.5 kHz)."""

STOP = 60.0
"""Attenuation of the stop band (dB); the ripple of the pass band is as far below its level, under 0.01 dB."""


def anchors_at(sample_rate: int) -> dict[str, float]:
    """Return those anchors whose stop band begins below half the sample rate (Hz): others would take nothing away."""
    return {name: band for name, band in ANCHORS.items() if band * TRANSITION < sample_rate / 2}


def low_passed(audio: np.ndarray, band: float, sample_rate: int) -> np.ndarray:
    """Return audio `(time,)` without what lies above a pass band (Hz), undelayed: a linear-phase Kaiser filter."""
    stop = band * TRANSITION
    taps, beta = kaiserord(STOP, (stop - band) / (sample_rate / 2))
    kernel = firwin(taps | 1, (band + stop) / 2, window=("kaiser", beta), fs=sample_rate)
    return fftconvolve(audio, kernel)[len(kernel) // 2 :][: len(audio)]


def level_matched(audio: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return audio at the root mean square of another; silence stays silence."""
    own, wanted = (float(np.sqrt(np.mean(np.square(samples)))) for samples in (audio, like))
    return audio * (wanted / own) if own else audio


def together(sounds: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Return sounds of a length (samples), by silence appended, and all of them quieter where one would clip."""
    loudest = max(float(np.abs(samples).max(initial=0)) for samples in sounds.values())
    return {name: np.pad(s, (0, length - len(s))) / max(loudest, 1.0) for name, s in sounds.items()}


def encoded(audio: np.ndarray, sample_rate: int, name: str) -> str:
    """Return a 16-bit wav file in base 64.

    Dithered by triangular noise of a least significant bit, another one for each opaque name: the hidden reference is
    not the same file as the open one, nor does a file show what was low-passed or matched in level.
    """
    noise = np.random.default_rng(int(name, 16)).uniform(-0.5, 0.5, (2, len(audio))).sum(0)
    samples = np.clip(np.round(audio * 32768 + noise), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, "PCM_16", format="WAV")
    return base64.b64encode(file.getvalue()).decode()
