"""Distances between the distributions of embeddings of generated and of true audio.

They have no values for single clips and need no paired true clips. They depend on the embedding as much as on the
distance: values with different embeddings or amounts of audio cannot be compared, so the title of each names its
embedding. The Fréchet audio distance (FAD) of papers uses VGGish or another trained network; the values with the
built-in log-mel statistics are not comparable with it.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.audio.mel import MelSpectrogram
from framework.evaluation.metrics.metric import Clip, SetMetric

Embedder = Callable[[Tensor, int], Tensor]
"""`(audio (1, 1, time), sample rate in Hz) -> (windows, dimensions)`, as one's own embedding is given."""

FORMER_NAMES = {"frechet_audio_distance": "frechet_distance", "kernel_audio_distance": "kernel_distance"}
"""Former names, which suggested another embedding than the built-in one, by today's names; still accepted."""

TITLES = {"frechet_distance": "Frechet distance", "kernel_distance": "kernel distance"}

KERNEL_SCALE = 100.0
"""Factor of the kernel audio distance in the official code."""

_SECONDS = 1.0  # of a window of the built-in embedding


def log_mel_statistics(clip: Clip) -> Tensor:
    """Return mean and standard deviation of each natural-log mel band in windows of a second, every half of one.

    What a clip is made of, loudness and timbre and how much they move, with nothing learnt; a clip under a second is
    one window. It stands in for a network's embedding where none can be had: distances are in its own units (nepers).

    Returns:
        `(windows, 2 mels)`.
    """
    natural = replace(clip.preset, log="e", scale=1.0, shift=0.0, floor=1e-5, limits=None)
    mel = MelSpectrogram(natural).to(clip.audio.device)(clip.audio)[0]
    length = min(round(_SECONDS * clip.preset.frame_rate), mel.shape[-1])
    windows = mel.unfold(1, length, max(length // 2, 1))
    return torch.cat([windows.mean(-1), windows.std(-1, correction=0)]).T


def frechet_distance(generated: Tensor, true: Tensor) -> float:
    """Return the Frechet distance of Gaussians of the embeddings (Kilgour et al., 2019; Dowson & Landau, 1982).

        |m - n|^2 + tr(C + D - 2 (C D)^(1/2))

    with the means and covariances (n - 1) of two sets `(windows, dimensions)`. The trace of the root is the sum of the
    singular values of A B^T where C = A^T A and D = B^T B: exact for any number of windows, and without the root of a
    singular product. It is too large of few windows, the more so the fewer (Gui et al., 2024). NaN of a single window.
    """
    if min(len(generated), len(true)) < 2:
        return math.nan
    a, b = _root_of_covariance(generated), _root_of_covariance(true)
    shift = (generated.double().mean(0) - true.double().mean(0)).square().sum()
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    return float(shift + a.square().sum() + b.square().sum() - 2 * overlap)


def kernel_distance(generated: Tensor, true: Tensor) -> float:
    """Return the kernel audio distance: 100 times the unbiased MMD^2 of the embeddings (Chung et al., 2025).

    The kernel is a Gaussian as wide as the median distance between two true embeddings. Sets of equal size are taken
    for windows of the same clips, of which each pair of one place is left out (Gretton et al., 2012, equation 4): by
    their authors' estimate, which is for sets of different clips and is used for sets of different size, a good copy
    would be far under 0. Around 0 for sets that are alike, of any number of windows.
    """
    x, y = generated.double(), true.double()
    width = torch.pdist(y).median()
    of_pairs = [torch.cdist(left, right).square() for left, right in ((x, x), (y, y), (x, y))]
    xx, yy, xy = (torch.exp(-squares / (2 * width.square() + 1e-8)) for squares in of_pairs)
    across = _mean_of_unlike(xy) if len(x) == len(y) else xy.mean()
    return float(KERNEL_SCALE * (_mean_of_unlike(xx) + _mean_of_unlike(yy) - 2 * across))


def set_metrics(embedder: Embedder | None = None, name: str = "log-mel statistics") -> tuple[SetMetric, ...]:
    """Return the distances over an embedding: one's own, of this name, or the built-in one."""

    def embed(clip: Clip) -> Tensor:
        return log_mel_statistics(clip) if embedder is None else embedder(clip.audio, clip.sample_rate)

    sources = {"frechet_distance": "Kilgour et al. (2019)", "kernel_distance": "Chung et al. (2025)"}
    distances = {"frechet_distance": frechet_distance, "kernel_distance": kernel_distance}
    return tuple(
        SetMetric(key, f"{TITLES[key]} ({name})", "", "lower", f"{sources[key]} over {name}", embed, distance)
        for key, distance in distances.items()
    )


def with_present_names(distributions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the stored distances of an evaluation under the names and titles that they have now."""
    found = {}
    for former, entry in distributions.items():
        name, embedding = FORMER_NAMES.get(former, former), entry["source"].partition(" over ")[2]
        title = {"title": f"{TITLES[name]} ({embedding})"} if former in FORMER_NAMES and embedding else {}
        found[name] = entry | title
    return found


def _mean_of_unlike(kernel: Tensor) -> Tensor:
    """Return the mean beside the diagonal."""
    count = len(kernel)
    return (kernel.sum() - kernel.trace()) / (count * (count - 1))


def _root_of_covariance(embeddings: Tensor) -> Tensor:
    """Return A with A^T A the covariance; no more rows than there are windows or dimensions."""
    count = len(embeddings)
    centred = (embeddings.double() - embeddings.double().mean(0)) / (count - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if count > centred.shape[1] else centred
