"""Mel-cepstral distortion: distance between spectral envelopes after alignment in time."""

import math
from dataclasses import replace

import numpy as np
from scipy.fft import dct

from framework.audio.mel import MelSpectrogram
from framework.evaluation.metrics.metric import Clip, Metric

COEFFICIENTS = 13
"""Order of the cepstrum; the 0th coefficient, loudness, is left out."""


def mel_cepstral_distortion(generated: Clip, true: Clip) -> float:
    """Return the mel-cepstral distortion in dB after alignment in time (Kubichek, 1993).

        10 / ln 10 * sqrt(2 * sum over m = 1..13 of (c_m - c'_m)^2),

    the mean over the pairs of frames that dynamic time warping matches (see `aligned`), of coefficients c_m of the
    envelope, the natural log of its amplitude being sum of c_m cos(pi m (k + 1/2) / K) at mel band k of K. With all
    coefficients it is the root mean square difference of the envelopes in dB, their loudness apart. The bands are the
    system's mel, floored at 1e-5: numbers of other front ends, or of WORLD's envelope, cannot be compared.
    """
    cepstra, true_cepstra = generated.once(mel_cepstrum), true.once(mel_cepstrum)
    return 10 / math.log(10) * math.sqrt(2) * aligned(distances(cepstra, true_cepstra))


def mel_cepstrum(clip: Clip) -> np.ndarray:
    """Return the coefficients 1 to 13 of each frame `(frames, 13)`."""
    natural = replace(clip.preset, log="e", scale=1.0, shift=0.0, floor=1e-5, limits=None)
    mel = MelSpectrogram(natural).to(clip.audio.device)(clip.audio)[0]
    bands = mel.double().cpu().numpy()
    return dct(bands, axis=0)[1 : COEFFICIENTS + 1].T / len(bands)


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return Euclidean distances between all frames of one and of the other, `(frames, frames)`."""
    squares = np.square(left).sum(1)[:, None] + np.square(right).sum(1) - 2 * left @ right.T
    return np.sqrt(np.maximum(squares, 0))


def aligned(costs: np.ndarray) -> float:
    """Return the mean cost along the warping path of least total cost, from the first frames to the last.

    The path steps by one frame in either or in both (Sakoe & Chiba, 1978, without slope constraint), and is gone
    through antidiagonal by antidiagonal; of paths that cost the same the shortest counts.

    Args:
        costs: The costs of each pair of frames, `(frames, frames)`.
    """
    rows, columns = costs.shape
    # One antidiagonal, by row, beside a border that no path comes through.
    total, steps = np.full((3, rows + 1), np.inf), np.zeros((3, rows + 1), int)
    for diagonal in range(rows + columns - 1):
        now, last, before = diagonal % 3, (diagonal - 1) % 3, (diagonal - 2) % 3
        first, end = max(0, diagonal - columns + 1), min(rows, diagonal + 1)
        row = np.arange(first, end)
        ways = np.stack([total[before, row], total[last, row], total[last, row + 1]])
        lengths = np.stack([steps[before, row], steps[last, row], steps[last, row + 1]])
        best = np.lexsort((lengths, ways), axis=0)[0]
        pick = best, np.arange(len(row))
        came = 0.0 if diagonal == 0 else ways[pick]
        total[now] = np.inf
        total[now, row + 1] = came + costs[row, diagonal - row]
        steps[now, row + 1] = lengths[pick] + 1
    return float(total[now, rows] / steps[now, rows])


METRICS = (
    Metric(
        "mel_cepstral_distortion", "mel-cepstral distortion", "dB", "lower",
        "Kubichek (1993), of 13 coefficients of the system's mel, aligned", mel_cepstral_distortion, perfect=0.0,
    ),
)  # fmt: skip
