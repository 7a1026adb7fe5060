"""Pitch and voicing of generated beside true audio, of one voice or instrument at a time.

As CARGAN measures them (Morrison et al., 2022; later Vocos and others), on frames of 10 ms, tracked by
`framework.audio.pitch`: CREPE's small network, decoded for 50 to 2000 Hz and so for instruments too, with 0.5 as the
confidence from which a frame is voiced. Their own numbers, of the large network, 50 to 550 Hz and another threshold,
cannot be compared with these. Of a chord the tracker follows one voice or another: of polyphony these say little.
"""

import numpy as np

from framework.audio.pitch import pitch_and_periodicity
from framework.evaluation.metrics.metric import Clip, Metric, NotMeasurableError

PACKAGES = (("torchcrepe", "torchcrepe"),)


def f0_rmse(generated: Clip, true: Clip) -> float:
    """Return the root mean square error of the pitch in cents, over frames that are voiced in both.

    Raises:
        NotMeasurableError: there is no such frame.
    """
    (f0, _), (true_f0, _) = generated.once(track), true.once(track)
    both = (f0 > 0) & (true_f0 > 0)
    if not both.any():
        raise NotMeasurableError("no frame is voiced in both")
    cents = 1200 * np.log2(f0[both] / true_f0[both])
    return float(np.sqrt(np.square(cents).mean()))


def voicing_f1(generated: Clip, true: Clip) -> float:
    """Return the F1 score of which frames are voiced: twice those in both, over those in one plus those in the other.

    Raises:
        NotMeasurableError: no frame is voiced in either.
    """
    voiced, true_voiced = generated.once(track)[0] > 0, true.once(track)[0] > 0
    total = voiced.sum() + true_voiced.sum()
    if not total:
        raise NotMeasurableError("no frame is voiced")
    return float(2 * (voiced & true_voiced).sum() / total)


def periodicity_rmse(generated: Clip, true: Clip) -> float:
    """Return the root mean square error of the periodicity, from 0 to 1, over all frames; it is 0 in silent ones."""
    difference = generated.once(track)[1] - true.once(track)[1]
    return float(np.sqrt(np.square(difference).mean()))


def track(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return pitch (Hz, 0 where there is none) and periodicity of a clip, 100 frames a second."""
    return pitch_and_periodicity(clip.audio[0, 0], clip.sample_rate)


METRICS = (
    Metric(
        "f0_rmse", "F0 RMSE", "cents", "lower",
        "Morrison et al. (2022), by torchcrepe", f0_rmse, perfect=0.0, packages=PACKAGES,
    ),
    Metric(
        "voicing_f1", "voicing F1", "", "higher",
        "Morrison et al. (2022), by torchcrepe", voicing_f1, perfect=1.0, packages=PACKAGES,
    ),
    Metric(
        "periodicity_rmse", "periodicity RMSE", "", "lower",
        "Morrison et al. (2022), by torchcrepe", periodicity_rmse, perfect=0.0, packages=PACKAGES,
    ),
)  # fmt: skip
