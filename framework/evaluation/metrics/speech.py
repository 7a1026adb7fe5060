"""Perceptual quality and intelligibility metrics, each computed by a separate package.

They are designed for speech and not validated for music, except for ViSQOL's audio mode.
"""

import functools
import warnings
from typing import Any

import numpy as np

from framework.evaluation.metrics.metric import Clip, Metric, NotMeasurableError

RATE = 16_000  # Hz of PESQ and DNSMOS


def pesq(generated: Clip, true: Clip) -> float:
    """Return wide-band PESQ as MOS-LQO between 1.04 and 4.64 (ITU-T P.862.2), by the package `pesq` of ludlows.

    Both are resampled to 16 kHz: what is above 8 kHz does not count.

    Raises:
        NotMeasurableError: the generated clip is silent, it finds no utterance, or the clip is shorter than a quarter
            of a second.
    """
    from pesq import PesqError
    from pesq import pesq as measure

    if not generated.audio.any():
        raise NotMeasurableError("the generated clip is silent")
    try:
        return float(measure(RATE, true.samples(RATE), generated.samples(RATE), "wb"))
    except PesqError as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise NotMeasurableError(f"PESQ: {reason}") from None


def stoi(generated: Clip, true: Clip, extended: bool = False) -> float:
    """Return the short-time objective intelligibility (Taal et al., 2011), 1 at best, by the package `pystoi`.

    It resamples to 10 kHz itself, and leaves frames out that are 40 dB under the loudest.

    Raises:
        NotMeasurableError: the true clip is silent, or has less than 30 frames (0.4 s) that are loud enough.
    """
    from pystoi import stoi as measure

    if not true.audio.any():
        raise NotMeasurableError("the true clip is silent")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            audio = [clip.samples(clip.sample_rate).astype(np.float64) for clip in (true, generated)]
            return float(measure(*audio, true.sample_rate, extended))
        except (RuntimeWarning, ValueError):
            raise NotMeasurableError("less than 0.4 s that is loud enough") from None


def estoi(generated: Clip, true: Clip) -> float:
    """Return the extended short-time objective intelligibility (Jensen & Taal, 2016), 1 at best; as `stoi`."""
    return stoi(generated, true, extended=True)


def visqol(generated: Clip, true: Clip) -> float:
    """Return ViSQOL's MOS-LQO between 1 and 5 in audio mode (Chinen et al., 2020), by the package `visqol-python`.

    Both are resampled to 48 kHz: of audio at 22.05 kHz the upper bands are empty in both.

    Raises:
        NotMeasurableError: either clip is silent, or it refuses them, as it does short ones.
    """
    # Of anything beside silence it says that nothing could be better.
    if not true.audio.any() or not generated.audio.any():
        raise NotMeasurableError("a clip is silent")
    try:
        found = _visqol().measure_from_arrays(
            *(c.samples(48_000).astype(np.float64) for c in (true, generated)), 48_000
        )
    except (ValueError, RuntimeError) as error:
        raise NotMeasurableError(f"ViSQOL: {error}") from None
    return float(found.moslqo)


def dnsmos(generated: Clip, true: Clip) -> float:
    """Return DNSMOS P.835's overall quality between 1 and 5 (Reddy et al., 2022), by the package `speechmos`.

    A network's guess of what listeners would say of the clip alone. At 16 kHz, clipped to [-1, 1]; clips under 9 s are
    repeated to that length, as its authors do.
    """
    from speechmos import dnsmos

    return float(dnsmos.run(generated.samples(RATE).clip(-1, 1), RATE)["ovrl_mos"])


@functools.cache
def _visqol() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="audio")
    return api


METRICS = (
    Metric(
        "pesq", "PESQ wide-band", "MOS", "higher", "ITU-T P.862.2, by pesq", pesq,
        perfect=4.643888473510742, packages=(("pesq", "pesq"),),
    ),
    Metric(
        "stoi", "STOI", "", "higher", "Taal et al. (2011), by pystoi", stoi,
        perfect=1.0, packages=(("pystoi", "pystoi"),),
    ),
    Metric(
        "estoi", "ESTOI", "", "higher", "Jensen & Taal (2016), by pystoi", estoi,
        perfect=1.0, packages=(("pystoi", "pystoi"),),
    ),
    Metric(
        "visqol", "ViSQOL", "MOS", "higher", "Chinen et al. (2020), audio mode, by visqol-python", visqol,
        packages=(("visqol", "visqol-python"),),
    ),
    Metric(
        "dnsmos", "DNSMOS", "MOS", "higher", "Reddy et al. (2022), P.835 overall, by speechmos", dnsmos, compares=False,
        packages=(("speechmos", "speechmos"), ("onnxruntime", "onnxruntime"), ("librosa", "librosa")),
    ),
)  # fmt: skip
