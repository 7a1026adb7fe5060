"""Registry of metrics: built-in ones by name, user-defined ones by import path."""

import importlib
from collections.abc import Sequence
from typing import Any

from framework.errors import OstinatoError
from framework.evaluation.metrics import cepstral, pitch, signal, spectral, speech
from framework.evaluation.metrics.distribution import FORMER_NAMES, Embedder, set_metrics
from framework.evaluation.metrics.embeddings import EMBEDDINGS
from framework.evaluation.metrics.metric import Metric, RegenerationMetric, SetMetric
from framework.evaluation.metrics.novelty import Training, own_audio_metrics
from framework.evaluation.metrics.regeneration import regeneration_metrics
from framework.hyperparameters import nearest
from framework.traits import Trait

FAMILIES = (spectral, cepstral, pitch, speech, signal)

AnyMetric = Metric | RegenerationMetric | SetMetric | Trait


class UnknownMetricError(OstinatoError, ValueError):
    """No metric has this name; the message names the nearest."""


def metrics_named(
    names: Sequence[str] = (),
    embedder: str | None = None,
    training: Training = tuple,
    traits: Sequence[Trait] = (),
    segment: int = 0,
) -> list[AnyMetric]:
    """Return the metrics of these names, each once, in the order given; without a name all, in that of tables.

    The metrics of a system whose examples have traits are those traits; metrics of audio have to be named. Metrics of
    regeneration, which take as long as generating the clips again, always have to be named.

    Args:
        names: The names of metrics, former ones too; one with a dot is the import path of a `Metric` or `SetMetric` of
            one's own.
        embedder: The embedding of the distances between distributions: a name in `EMBEDDINGS`, or the import path of an
            `Embedder`; None for log-mel statistics.
        training: What gives the clips that a system was trained on, for the distance to them.
        traits: The traits of the examples of the system that is measured.
        segment: Samples of an example that it was trained on.

    Raises:
        UnknownMetricError: naming the nearest, or what could not be imported.
        MissingPackageError: the package of the embedding is not installed.
    """
    of_sets = set_metrics() if embedder is None else set_metrics(*embedding_named(embedder))
    of_clips = (metric for family in FAMILIES for metric in family.METRICS)
    by_default: list[AnyMetric] = [*of_clips, *of_sets, *own_audio_metrics(training), *traits]
    known = {metric.name: metric for metric in (*by_default, *regeneration_metrics(segment))}
    names = [FORMER_NAMES.get(name, name) for name in names] or [metric.name for metric in traits or by_default]
    return list({name: own_metric(name) if "." in name else _known(name, known) for name in names}.values())


def embedding_named(name: str) -> tuple[Embedder, str]:
    """Return an embedding and its title, by its name or its import path.

    Raises:
        UnknownMetricError: there is none.
        MissingPackageError: its package is not installed.
    """
    if "." in name:
        return imported(name), name
    if name not in EMBEDDINGS:
        raise UnknownMetricError(
            f"no embedding {name!r}: {nearest(name, EMBEDDINGS)}; or give package.module.NAME for your own"
        )
    EMBEDDINGS[name].check()
    return EMBEDDINGS[name].embed, EMBEDDINGS[name].title


def own_metric(path: str) -> Metric | SetMetric:
    """Return the metric that `package.module.NAME` is.

    Raises:
        UnknownMetricError: there is none.
    """
    found = imported(path)
    if not isinstance(found, (Metric, SetMetric)):
        raise UnknownMetricError(f"{path} is a {type(found).__name__}, no Metric or SetMetric")
    return found


def imported(path: str) -> Any:
    """Return what `package.module.NAME` is, from the folder one is in or from what is installed.

    Raises:
        UnknownMetricError: it cannot be imported, or is not there.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownMetricError(f"{path} cannot be imported ({error}): give package.module.NAME") from None


def _known(name: str, known: dict[str, AnyMetric]) -> AnyMetric:
    if name not in known:
        raise UnknownMetricError(f"no metric {name!r}: {nearest(name, known)}")
    return known[name]
