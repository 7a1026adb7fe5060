"""`ostinato evaluate`: many metrics of what a run makes of the held-out clips, kept for comparison."""

import hashlib
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from datamodules.shards.writer import SPLITS
from framework.audio.files import safe_name
from framework.evaluation.evaluating import evaluate
from framework.evaluation.evaluation import Evaluation, EvaluationError, Subject
from framework.evaluation.metrics.shelf import metrics_named
from framework.evaluation.table import evaluation_table
from framework.paradigms.system import System
from framework.progress import progress
from framework.runs.finished import LAST
from framework.runs.folder import RunFolder, run_folder
from framework.runs.identity import family, signature
from framework.runs.provenance import change_since, few, sources_of
from framework.runs.stored_files import DamagedFileError, read_metrics
from framework.workflow.experiment import ExperimentCLI, file_hash
from framework.workflow.runs import ReleasedRun, Run
from framework.workflow.trained import Trained, open_trained

SPEED = "speed/samples_per_second"
TRAINING_CLIPS, RENDERED_CLIPS = 2_000, 50
"""Among which the nearest to a generated one is looked for; fewer where each has to be played first."""


@dataclass(frozen=True)
class Opened:
    """What a command line means, its weights loaded.

    Args:
        cli: System and data.
        folder: The run's folder.
        subject: What is evaluated.
        name: Of the evaluation: what is evaluated beside the newest checkpoint on the run's own data.
    """

    cli: ExperimentCLI
    folder: RunFolder
    subject: Subject
    name: str


def run(arguments: list[str]) -> None:
    """Evaluate a run, a checkpoint of one, or the run that an experiment's name and values mean; print a table.

    Raises:
        EvaluationError: some of what was generated is not finite; the evaluation of the other clips is stored.
    """
    opened = open_evaluation(arguments)
    found = measured(opened)
    print(f"{opened.subject.checkpoint or opened.cli.experiment.__name__}, step {opened.subject.step}")
    print(evaluation_table(found))
    beside = ", griffin_lim.wav" if opened.cli.model.reconstructs_input else ""
    print(f"listen:  {found.folder}/audio/ (a folder a clip: truth.wav, generated.wav{beside})")
    print(f"numbers: {found.folder}/values.json")
    if clips := found.notes.get("audio"):
        raise EvaluationError(
            f"{len(clips)} of {len(found.clips)} clips have NaN or infinite samples, which are not written as audio: "
            f"{few(list(clips))}; train again with a lower learning rate, or evaluate an earlier checkpoint"
        )


def open_evaluation(arguments: list[str]) -> Opened:
    """Return what a command line means: a run by its path or by its experiment's values, or a single file of weights.

    Raises:
        RunError: there is no such run, it cannot be built again, or its data are others now.
    """
    trained = open_trained("evaluate", arguments, with_data=True)
    run = None if isinstance(trained.run, ReleasedRun) else trained.run
    return opened_file(trained) if run is None else opened_run(trained, run)


def opened_run(trained: Trained, run: Run) -> Opened:
    """Return a run as it is evaluated: under its own signature, in its own folder.

    Raises:
        RunError: its data are others now, and nothing says which else to evaluate on.
    """
    cli = trained.cli
    own = run.experiment().data
    values = changed(cli.datamodule, "value", own)
    is_own = trained.has_own_data
    if cli.run is not None:
        run.check(cli.identity(), data_too=not (cli.has_other_data or values))
    elif not is_own:
        print(f"warning: {run.path} was trained on other data than it is evaluated on", file=sys.stderr)
    warn(run, sources_of(cli.model, own))
    subject = subject_of(cli, run.signature, run.identity)
    subject = replace(subject, seconds_per_step=seconds_per_step(run.path, own))
    if trained.path is not None:
        subject = replace(subject, checkpoint=str(trained.path), step=trained.step)
    other = cli.has_other_data if cli.run is not None else not is_own
    parts = [place_name(Path(cli.datamodule.path))] if other and hasattr(cli.datamodule, "path") else []
    parts += [part] if (part := checkpoint_name(run, trained.step)) else []
    parts += [f"{n}={v}" for n, v in values.items()]
    return Opened(cli, run.folder, subject, name_of(cli, parts))


def opened_file(trained: Trained) -> Opened:
    """Return weights from elsewhere, or a system without weights: they are evaluated under a signature of their own."""
    cli, file = trained.cli, trained.path
    identity = cli.identity()
    # What a checkpoint from elsewhere gives is not the run that has the same values.
    identity |= {"checkpoint": file_hash(file)} if file else {}
    folder = run_folder(cli.config["runs"], type(cli.model).system(), signature(identity))
    subject = subject_of(cli, signature(identity), identity)
    if file is not None:
        subject = replace(subject, checkpoint=str(file), step=trained.step)
    subject = replace(subject, seconds_per_step=seconds_per_step(folder.path, type(cli.datamodule)))
    return Opened(cli, folder, subject, name_of(cli, []))


def checkpoint_name(run: Run, step: int) -> str:
    """Return how the evaluation of another checkpoint than the last one is named; empty for the last one."""
    if isinstance(run.ckpt, Path):
        return "" if run.ckpt.stem == "last" else run.ckpt.stem
    if run.ckpt == "best":
        return "best"
    return "" if run.ckpt == "last" or run.checkpoints.get(LAST) == step else f"step_{step}"


def subject_of(cli: ExperimentCLI, run: str, identity: dict[str, Any]) -> Subject:
    """Return what is evaluated, but for its weights.

    Raises:
        EvaluationError: the data's sample rate is not the system's, or there is no such split.
    """
    data, split, rate = cli.datamodule, cli.config["split"], cli.model.preset.sample_rate
    if split not in SPLITS[1:]:
        raise EvaluationError(f"no split {split!r} to evaluate on: there are {' and '.join(SPLITS[1:])}")
    if data.sample_rate != rate:
        raise EvaluationError(
            f"the data has {data.sample_rate} Hz, the system {rate} Hz: set --data.sample_rate {rate}"
        )
    described = {"class": type(data).__name__, "fingerprint": data.fingerprint(), "split": split}
    described |= {"seconds": getattr(data, "validation_seconds", None), "peak": getattr(data, "peak", None)}
    return Subject(run, family(identity), cli.experiment.__module__, 0, "", described, cli.config["seed"])


def measured(opened: Opened) -> Evaluation:
    """Evaluate, on the GPU where there is one.

    Raises:
        EvaluationError: it is being evaluated by another process.
    """
    cli, settings = opened.cli, opened.cli.config
    training = partial(training_clips, cli.model, cli.datamodule)
    segment = getattr(cli.datamodule, "segment", 0)
    metrics = metrics_named(settings["metrics"], settings["embedder"], training, cli.model.traits, segment)
    batches = cli.datamodule.held_out(settings["split"], settings["clips"])
    on_gpu = torch.cuda.is_available() and cli.trainer_arguments["accelerator"] != "cpu"
    cli.model.to("cuda" if on_gpu else "cpu")
    folder = opened.folder.path / "evaluation" / opened.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Beside the folder, which is replaced.
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            return evaluate(cli.model, batches, metrics, folder, opened.subject)
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


def name_of(cli: ExperimentCLI, parts: list[str]) -> str:
    """Return the name of an evaluation: the split, and all by which it differs from what would bear that name alone."""
    sampling = {n: v for n, v in changed(cli.model, "runtime").items() if n not in System.hyperparameters}
    parts = [cli.config["split"], *parts, *(f"{name}={value}" for name, value in sampling.items())]
    return safe_name(cli.config["name"] or "_".join(parts))


def place_name(folder: Path) -> str:
    """Return the name of a folder with what tells it from others of that name."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]}"


def changed(instance: Any, kind: str, own: Any = None) -> dict[str, Any]:
    """Return the hyperparameters of a kind that were overridden on the command line.

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
