"""Sounds of a listening test: anchors, and a common length and format for all stimuli of a trial."""

import base64
import io

import numpy as np
import soundfile
from scipy.signal import fftconvolve, firwin, kaiserord

ANCHORS = {"3.5 kHz anchor": 3500.0, "7 kHz anchor": 7000.0}
"""Cut-off frequencies (Hz) of the low-passed references: the low and the mid anchor of ITU-R BS.1534-3."""

TRANSITION = 8 / 7
"""Ratio of stop band to pass band: 4 kHz for the low anchor, where BS.1534-3 requires 25 dB (50 dB at 4.5 kHz)."""

STOP = 60.0
"""Attenuation of the stop band (dB); the ripple of the pass band is below 0.01 dB."""


def anchors_at(sample_rate: int) -> dict[str, float]:
    """Return the anchors whose stop band starts below the Nyquist frequency; others would remove nothing."""
    return {name: band for name, band in ANCHORS.items() if band * TRANSITION < sample_rate / 2}


def low_passed(audio: np.ndarray, band: float, sample_rate: int) -> np.ndarray:
    """Low-pass audio `(time,)` without delay, with a linear-phase Kaiser filter; `band` is the pass band (Hz)."""
    stop = band * TRANSITION
    taps, beta = kaiserord(STOP, (stop - band) / (sample_rate / 2))
    kernel = firwin(taps | 1, (band + stop) / 2, window=("kaiser", beta), fs=sample_rate)
    return fftconvolve(audio, kernel)[len(kernel) // 2 :][: len(audio)]


def level_matched(audio: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Scale audio to the root mean square of another signal; silence is not changed."""
    own, wanted = (float(np.sqrt(np.mean(np.square(samples)))) for samples in (audio, like))
    return audio * (wanted / own) if own else audio


def together(sounds: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Pad sounds with silence to a length (samples), and attenuate all of them if one would clip."""
    loudest = max(float(np.abs(samples).max(initial=0)) for samples in sounds.values())
    return {name: np.pad(s, (0, length - len(s))) / max(loudest, 1.0) for name, s in sounds.items()}


def encoded(audio: np.ndarray, sample_rate: int, name: str) -> str:
    """Encode audio as a 16-bit wav file in base 64.

    The dither is triangular noise of one least significant bit, seeded by the opaque name. The files of the hidden and
    the open reference therefore differ, and no file reveals whether it was low-passed or matched in level.
    """
    noise = np.random.default_rng(int(name, 16)).uniform(-0.5, 0.5, (2, len(audio))).sum(0)
    samples = np.clip(np.round(audio * 32768 + noise), -32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, "PCM_16", format="WAV")
    return base64.b64encode(file.getvalue()).decode()
