"""Metrics of unconditional systems: quality, variety, and distance from the training data.

Two metrics use a classifier of instruments that is trained on the embedded notes (see `note_classifier`), in the role
of Inception for images: they are for single notes, and values with other classifiers cannot be compared. Two are
distances to the nearest neighbour in log-mels, relative to those of the held-out clips, as in WaveGAN's paper.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from framework.audio.mel import MelSpectrogram
from framework.errors import InvalidValueError
from framework.evaluation.metrics.distribution import frechet_distance
from framework.evaluation.metrics.metric import Clip, SetMetric
from framework.evaluation.note_classifier import trained

Training = Callable[[], Iterable[Tensor]]
"""What gives the training clips `(1, 1, time)`."""

_SECONDS = 1.024  # of a clip that are compared, from its beginning


def probabilities(clip: Clip) -> Tensor:
    """Return what the classifier takes a clip for: natural log probabilities `(windows, instruments)`."""
    classifier = trained()
    logits = classifier.system.generator(classifier.windows(clip.audio, clip.sample_rate))
    return logits.log_softmax(1)


def embedding(clip: Clip) -> Tensor:
    """Return what the classifier's last layer sees of a clip, `(windows, dimensions)`."""
    classifier = trained()
    network: Any = classifier.system.generator
    return network.embed(classifier.windows(clip.audio, clip.sample_rate))


def inception_score(generated: Tensor, true: Tensor) -> float:
    """Return exp E KL(p(y|x) || p(y)) of log probabilities `(windows, classes)` (Salimans et al., 2016, section 4).

    From 1, where all windows are taken for the same, to the number of classes, where each is taken for one surely and
    all come equally often.
    """
    logs = generated.double()
    marginal = logs.logsumexp(0) - torch.tensor(float(len(logs))).log()
    divergence = torch.where(logs.isneginf(), 0.0, logs.exp() * (logs - marginal))
    return float(divergence.sum(1).mean().exp())


def start(clip: Clip) -> Tensor:
    """Return the natural log-mel of a clip's beginning, `(1, mels * frames)`; shorter clips end in silence."""
    natural = replace(clip.preset, log="e", scale=1.0, shift=0.0, floor=1e-5, limits=None)
    length = round(_SECONDS * clip.sample_rate)
    audio = torch.nn.functional.pad(clip.audio, (0, max(0, length - clip.audio.shape[-1])))[..., :length]
    return MelSpectrogram(natural).to(audio.device)(audio).flatten(1).cpu()


def variety(generated: Tensor, true: Tensor) -> float:
    """Return the mean distance of a clip to its nearest neighbour in its own set, over that of the true set.

    It is nan where all clips of the true set are the same.
    """
    apart = _among(true)
    return _among(generated) / apart if apart else math.nan


def novelty(generated: Tensor, true: Tensor) -> float:
    """Return the mean distance to the nearest training clip, `(clips, 1)`, over that of the true clips."""
    return float(generated.mean() / true.mean())


def own_audio_metrics(training: Training) -> tuple[SetMetric, ...]:
    """Return the metrics of systems that make audio of their own, with what gives the clips they were trained on."""

    @functools.cache
    def known(preset: object) -> Tensor:
        starts = [start(Clip(audio, preset)) for audio in training()]  # type: ignore[arg-type]
        if not starts:
            raise InvalidValueError("there are no training clips that what is generated could be near to")
        return torch.cat(starts)

    def to_nearest(clip: Clip) -> Tensor:
        return torch.cdist(start(clip), known(clip.preset)).amin(1, keepdim=True)

    donahue = "Donahue et al. (2019), section 5.2, relative to held-out clips, in log-mels"
    return (
        SetMetric(
            "note_inception_score", "instrument inception score", "", "higher",
            "Salimans et al. (2016), over note_classifier", probabilities, inception_score, own=True, alone=True,
        ),
        SetMetric(
            "note_frechet_distance", "instrument Frechet distance", "", "lower",
            "Heusel et al. (2017), over note_classifier", embedding, frechet_distance, own=True,
        ),
        SetMetric(
            "variety", "variety (1: as held-out clips)", "", "higher", donahue, start, variety, own=True,
        ),
        SetMetric(
            "novelty", "distance to training clips (under 1: nearer than held-out ones)", "", "higher",
            donahue, to_nearest, novelty, own=True,
        ),
    )  # fmt: skip


def _among(starts: Tensor) -> float:
    """Return the mean distance of clips `(clips, dimensions)` to the nearest of the others."""
    distances = torch.cdist(starts, starts)
    distances.fill_diagonal_(torch.inf)
    return float(distances.amin(1).mean())
