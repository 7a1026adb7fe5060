"""Evaluating runs: many metrics of what a run makes of the held-out clips, kept in its folder for comparison."""

import hashlib
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from datamodules.shards.writer import SPLITS
from framework.audio.files import safe_name
from framework.evaluation.evaluating import evaluate as measure
from framework.evaluation.evaluation import Evaluation, EvaluationError, Subject
from framework.evaluation.meta import MetricTrust, meta_evaluate
from framework.evaluation.metrics.distribution import TITLES
from framework.evaluation.metrics.embeddings import EMBEDDINGS
from framework.evaluation.metrics.metric import Metric, SetMetric
from framework.evaluation.metrics.shelf import metrics_named
from framework.paradigms.system import System
from framework.progress import progress
from framework.quiet import quieten
from framework.runs.finished import LAST
from framework.runs.folder import RunFolder, run_folder
from framework.runs.identity import family, signature
from framework.runs.provenance import change_since, sources_of
from framework.runs.stored_files import DamagedFileError, read_metrics
from framework.workflow.plan import Plan, file_hash
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.trained import Trained, open_trained

SPEED = "speed/samples_per_second"
TRAINING_CLIPS, RENDERED_CLIPS = 2_000, 50
"""Among which the nearest to a generated one is looked for; fewer where each has to be played first."""


@dataclass(frozen=True)
class Opened:
    """What is evaluated, its weights loaded.

    Args:
        trained: The system with its weights, and its data, which are prepared.
        folder: The run's folder.
        subject: What is stored with the values.
        name: Of the evaluation: what is evaluated beside the last checkpoint on the run's own data.
    """

    trained: Trained
    folder: RunFolder
    subject: Subject
    name: str


def evaluate(
    run: Any,
    *,
    ckpt: str | int | None = None,
    data: Any = None,
    split: str = "",
    clips: int | None = None,
    metrics: Sequence[str] = (),
    embedder: str | None = None,
    name: str = "",
) -> Evaluation:
    """Generate the held-out clips with a run and measure them; audio and values are stored in the run's folder.

    Args:
        run: A run, the path of one, of a checkpoint or of a release; a plan, or the name of an experiment, which means
            the run with these values.
        ckpt: Checkpoint of the run: `last`, `best` or a step; by default what it was opened with.
        data: Other data than the run's own.
        split: Held-out clips: `validation` or `test`; by default `test` where the data have test clips.
        clips: Number of clips; by default all test clips, or as many as in validation.
        metrics: Names of metrics; by default all of them.
        embedder: Import path of the embedding of the Frechet and kernel distances; by default log-mel statistics.
        name: Name of the evaluation's folder.

    Raises:
        RunError: there is no such run, it cannot be built again, or its data are others now.
        EvaluationError: there is no such split, or nothing to evaluate.
    """
    quieten()
    trained = open_trained(run, ckpt, data=data)
    trained.plan.prepare_data()
    return measured(opened_evaluation(trained, split, name), clips, metrics, embedder)


META_METRICS = ("log_mel_error", "stft_distance", "log_spectral_distance", "mel_cepstral_distortion", "si_sdr")
"""Metrics of single clips that `meta_evaluation` evaluates by default: others take minutes a clip."""


def meta_evaluation(
    plan: Plan, split: str = "", clips: int | None = None, metrics: Sequence[str] = ()
) -> list[MetricTrust]:
    """Return how metrics follow graded degradations of the held-out clips, without a generated clip.

    Args:
        plan: The plan of an experiment or a run, trained or not: its data have the clips, and its system the mel
            convention.
        split: `validation` or `test`; by default the split that `default_split` returns.
        clips: Number of clips; by default as many as in validation.
        metrics: Names of metrics; by default `META_METRICS`, and the Frechet and kernel distances over log-mel
            statistics and each embedding whose package is installed.

    Raises:
        EvaluationError: the data have no audio, or a metric is not of generated and true audio, or
            its package is not installed.
    """
    plan.prepare_data()
    preset = plan.system.preset
    batches = plan.data.held_out(split or default_split(plan.data), clips)
    audio = [batch["audio"][0, 0].cpu() for batch in batches if "audio" in batch]
    if not audio:
        raise EvaluationError(f"{type(plan.data).__name__} has no audio to degrade: evaluate without --meta")
    chosen = metrics_named(list(metrics) or [*META_METRICS, *TITLES])
    if not metrics:
        for name, embedding in EMBEDDINGS.items():
            if embedding.is_installed():
                chosen += [replace(m, name=f"{m.name}_{name}") for m in metrics_named(list(TITLES), name)]
    fit = [m for m in chosen if (isinstance(m, SetMetric) and not m.own) or (isinstance(m, Metric) and m.compares)]
    if unfit := [metric.name for metric in chosen if metric not in fit]:
        raise EvaluationError(f"{', '.join(unfit)} does not compare audio with true audio: leave it out with --meta")
    lacking = [f"{m.name} is {reason}" for m in fit if isinstance(m, Metric) and (reason := m.lacking())]
    if lacking:
        raise EvaluationError("; ".join(lacking))
    return meta_evaluate(audio, preset, fit)


def default_split(data: Any) -> str:
    """Return the split to report on: `test` where the data have test clips, else `validation`.

    Training watches the validation clips and chooses `best.ckpt` by them, which makes a system look better on them than
    on others.

    Args:
        data: A data module that is prepared.
    """
    return "test" if len(data.held_out("test")) else "validation"


def opened_evaluation(trained: Trained, split: str = "", name: str = "") -> Opened:
    """Return what is evaluated: a run in its own folder, or a single file of weights under a signature of its own.

    Args:
        trained: The system with its weights; its data are prepared.
        split: `validation` or `test`; by default the split that `default_split` returns.
        name: Name of the evaluation's folder.

    Raises:
        RunError: the run's data are others now, and nothing says which else to evaluate on.
    """
    split = split or default_split(trained.data)
    run = None if isinstance(trained.run, ReleasedRun) else trained.run
    return opened_file(trained, split, name) if run is None else opened_run(trained, run, split, name)


def opened_run(trained: Trained, run: Run, split: str, name: str) -> Opened:
    """Return a run as it is evaluated: under its own signature, in its own folder.

    Raises:
        RunError: its data are others now, and nothing says which else to evaluate on.
    """
    plan, data = trained.plan, trained.data
    own = run.experiment().data
    values = changed(data, "value", own)
    is_own = trained.has_own_data
    if plan.run is not None:
        run.check(plan.identity(), data_too=not (plan.has_other_data or values))
    elif not is_own:
        print(f"warning: {run.path} was trained on other data than it is evaluated on", file=sys.stderr)
    warn(run, sources_of(trained.system, own))
    subject = subject_of(trained, split, run.signature, run.identity)
    subject = replace(subject, seconds_per_step=seconds_per_step(run.path, own))
    other = plan.has_other_data if plan.run is not None else not is_own
    parts = [place_name(Path(data.source))] if other and data.source else []
    parts += [part] if (part := checkpoint_name(run, trained.step)) else []
    parts += [f"{n}={v}" for n, v in values.items()]
    return Opened(trained, run.folder, subject, name_of(trained.system, name, [split, *parts]))


def opened_file(trained: Trained, split: str, name: str) -> Opened:
    """Return weights from elsewhere, or a system without weights: they are evaluated under a signature of their own."""
    plan = trained.plan
    identity = plan.identity()
    # What a checkpoint from elsewhere gives is not the run that has the same values.
    identity |= {"checkpoint": file_hash(trained.path)} if trained.path else {}
    folder = run_folder(plan.runs, type(trained.system).system(), signature(identity))
    subject = subject_of(trained, split, signature(identity), identity)
    subject = replace(subject, seconds_per_step=seconds_per_step(folder.path, type(trained.data)))
    return Opened(trained, folder, subject, name_of(trained.system, name, [split]))


def checkpoint_name(run: Run, step: int) -> str:
    """Return how the evaluation of another checkpoint than the last one is named; empty for the last one."""
    if isinstance(run.ckpt, Path):
        return "" if run.ckpt.stem == "last" else run.ckpt.stem
    if run.ckpt == "best":
        return "best"
    return "" if run.ckpt == "last" or run.checkpoints.get(LAST) == step else f"step_{step}"


def subject_of(trained: Trained, split: str, run: str, identity: dict[str, Any]) -> Subject:
    """Return what is evaluated.

    Raises:
        EvaluationError: the data's sample rate is not the system's, or there is no such split.
    """
    data, rate = trained.data, trained.system.preset.sample_rate
    if split not in SPLITS[1:]:
        raise EvaluationError(f"no split {split!r} to evaluate on: there are {' and '.join(SPLITS[1:])}")
    if data.sample_rate != rate:
        raise EvaluationError(
            f"the data has {data.sample_rate} Hz, the system {rate} Hz: set --data.sample_rate {rate}"
        )
    described = {"class": type(data).__name__, "fingerprint": data.fingerprint(), "split": split}
    described |= {"seconds": data.validation_seconds, "peak": data.peak}
    return Subject(
        run=run,
        family=family(identity),
        experiment=trained.plan.experiment.__module__,
        step=trained.step,
        checkpoint=str(trained.path or ""),
        data=described,
        seed=trained.plan.seed,
    )


def measured(
    opened: Opened, clips: int | None = None, metrics: Sequence[str] = (), embedder: str | None = None
) -> Evaluation:
    """Evaluate, on the GPU where there is one.

    Raises:
        EvaluationError: it is being evaluated by another process, or the number of clips is under 1.
    """
    if clips is not None and clips < 1:
        raise EvaluationError(f"clips = {clips}: must be at least 1; leave --clips out for all")
    system, data = opened.trained.system, opened.trained.data
    training = partial(training_clips, system, data)
    chosen = metrics_named(list(metrics), embedder, training, system.traits, data.segment)
    batches = data.held_out(opened.subject.data["split"], clips)
    on_gpu = torch.cuda.is_available() and opened.trained.plan.trainer["accelerator"] != "cpu"
    system.to("cuda" if on_gpu else "cpu")
    folder = opened.folder.path / "evaluation" / opened.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder, which is replaced.
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            return measure(system, batches, chosen, folder, opened.subject)
    except Timeout:
        raise EvaluationError(f"{folder} is being written by another process: wait until it ends") from None


def training_clips(system: Any, data: Any) -> Iterator[torch.Tensor]:
    """Yield clips `(1, 1, time)` that a system was trained on, of a large data set a part."""
    clips = progress(data.held_out("train", TRAINING_CLIPS), "reading training clips", unit="clips")
    for number, batch in enumerate(clips):
        if "audio" not in batch and number == RENDERED_CLIPS:
            return
        here = {name: v.to(system.device) if isinstance(v, torch.Tensor) else v for name, v in batch.items()}
        yield system.reference(here)


def name_of(system: Any, name: str, parts: list[str]) -> str:
    """Return the name of an evaluation: the split, and all by which it differs from what would bear that name alone."""
    sampling = {n: v for n, v in changed(system, "runtime").items() if n not in System.hyperparameters}
    return safe_name(name or "_".join([*parts, *(f"{name}={value}" for name, value in sampling.items())]))


def place_name(folder: Path) -> str:
    """Return the name of a folder with what tells it from others of that name."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]}"


def changed(instance: Any, kind: str, own: Any = None) -> dict[str, Any]:
    """Return the hyperparameters of a kind that were overridden.

    Args:
        instance: The system or the data module.
        kind: As of a `Hyperparameter`.
        own: The class with the values that are not overridden; by default the instance's, or that where it is another.
    """
    cls = own if own is not None and own.system() is type(instance).system() else type(instance)
    known = type(instance).hyperparameters.items()
    values = {n: getattr(instance, n) for n, p in known if p.kind == kind and n != "seed"}
    return {n: value for n, value in values.items() if value != cls.hyperparameters[n].default}


def warn(run: Run, sources: Mapping[str, str]) -> None:
    """Print a warning if the code has changed since the run was trained, and one if the run is not finished."""
    if change := change_since(run.folder, sources):
        print(f"warning: the code has changed since this run was trained: {change}", file=sys.stderr)
    if earlier := run.config["provenance"].get("earlier"):
        commits = ", ".join(str(version.get("commit"))[:10] for version in earlier)
        print(f"warning: other code has trained a part of this run (commits {commits})", file=sys.stderr)
    try:
        if not run.folder.summary():
            print(f"warning: {run.path} is not finished: this is how far it has come", file=sys.stderr)
    except DamagedFileError as error:
        print(f"warning: {error}", file=sys.stderr)


def seconds_per_step(run: Path, data: Any) -> float | None:
    """Return the median time of a training step (s), over all devices together; None where it was not logged."""
    try:
        rates = [float(row.get(SPEED) or 0) for row in read_metrics(run / "metrics.csv")]
    except DamagedFileError as error:
        print(f"warning: {error}; the speed of the training is not known", file=sys.stderr)
        return None
    rates = [rate for rate in rates if rate > 0]
    return data.batch_size / statistics.median(rates) if rates else None
