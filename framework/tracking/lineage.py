"""Logging evaluations to the W&B runs of their trainings, for the lineage of comparisons."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.evaluation.columns import run_folder_of
from framework.evaluation.evaluation import FILE, Evaluation
from framework.evaluation.page.page import slug
from framework.json_text import parse_json
from framework.private_names.of_wandb import use_offline
from framework.runs.stored_files import DamagedFileError, read_metrics
from framework.tracking.wandb_log import WandbLog, flatten

MARKER = "wandb.json"
"""File next to an evaluation that records what was logged to W&B."""


class LateLog(WandbLog):
    """A W&B run that is written after the training; if it cannot be sent, its content is still in files."""

    def send(self, call: Callable[[Any], Any]) -> None:
        """Call a function of the run; after a failure of W&B, further calls do nothing."""
        self._guard(lambda: call(self.experiment))

    def mark(self, marker: Path, content: str) -> None:
        """Record what was logged, unless W&B failed or is disabled."""
        if not self._failed and not self.experiment.disabled:
            marker.write_text(json.dumps({"content": content, "run": self.experiment.id}) + "\n")


def log_evaluation(evaluation: Evaluation, project: str = "ostinato") -> None:
    """Add an evaluation to the W&B run of the training, once, as an artifact and means in the run's summary.

    The artifact connects a comparison's lineage to the training; W&B's parallel coordinates and run comparer show the
    means next to hyperparameters. Nothing is logged for runs that were trained without W&B.
    """
    folder = run_folder_of(evaluation)
    marker, content = evaluation.folder / MARKER, file_hash(evaluation.folder / FILE)
    stored = folder.stored_config()
    if logged_content(marker) == content or not stored or not list(folder.path.glob("wandb/*run-*")):
        return
    name = f"{evaluation.experiment.removeprefix('experiments.')} {evaluation.run[:4]}"
    log = LateLog(
        project=project,
        save_dir=str(folder.path),
        id=stored.get("wandb_id", evaluation.run),
        group=evaluation.family,
        name=name,
        config=flatten(stored),
        job_type="train",
    )
    log.send(lambda run: run.log_artifact(evaluation_artifact(evaluation)))
    found = {
        f"evaluation/{metric}": evaluation.interval(metric).mean
        for metric in evaluation.metrics
        if evaluation.interval(metric).count
    }
    # The summary of a second offline part of a run replaces that of the first at the upload, so it must be complete.
    log.send(lambda run: run.summary.update(last_values(folder.path) | found))
    log.finish()
    log.mark(marker, content)


def evaluation_artifact(evaluation: Evaluation) -> Any:
    """Return the artifact of an evaluation; equal content has the same version."""
    import wandb

    metadata = {
        "run": evaluation.run,
        "family": evaluation.family,
        "seed": evaluation.seed,
        "experiment": evaluation.experiment,
        "step": evaluation.step,
        "checkpoint": evaluation.checkpoint,
        "data": evaluation.data,
    }
    artifact = wandb.Artifact(artifact_name(evaluation), "evaluation", metadata=metadata)
    artifact.add_file(str(evaluation.folder / FILE), FILE)
    config = run_folder_of(evaluation).config
    if config.exists():
        artifact.add_file(str(config), "config.yaml")
    return artifact


def artifact_name(evaluation: Evaluation) -> str:
    """Return the name of an evaluation's artifact."""
    return f"evaluation-{evaluation.run}-{slug(evaluation.folder.name)}"


def use(run: Any, artifact: Any) -> None:
    """Make an artifact an input of a run, also offline, where W&B's own call raises an error."""
    if run.offline:
        use_offline(run, artifact)
    else:
        run.use_artifact(artifact)


def last_values(run: Path) -> dict[str, float]:
    """Return the last value of each name that a run logged; empty if its log is damaged."""
    found: dict[str, float] = {}
    try:
        rows = read_metrics(run / "metrics.csv")
    except DamagedFileError:
        rows = []
    for row in rows:
        found |= {name: float(value) for name, value in row.items() if value}
    return found


def logged_content(marker: Path) -> str | None:
    """Return the hash of the logged content that a marker records."""
    try:
        return parse_json(marker.read_text())["content"]
    except (OSError, ValueError, KeyError):
        return None


def file_hash(path: Path) -> str:
    """Return the hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
