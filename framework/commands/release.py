"""`ostinato release`: a trained system as one small file, to be used without Lightning."""

from pathlib import Path
from typing import Any

from framework.export.release import release
from framework.outputs import check_outputs, output_file
from framework.progress import busy
from framework.runs.checkpoints import is_ours, read_checkpoint
from framework.runs.identity import family, signature
from framework.runs.released import SUFFIX, ReleaseError
from framework.workflow.experiment import ExperimentCLI
from framework.workflow.opened import Trained, check_weights, open_trained


def run(arguments: list[str]) -> None:
    """Write the generator of a run to `--output`, and with `--for_training` what training goes on from.

    Raises:
        ReleaseError: the checkpoint has nothing to train on from.
        OutputError: the output exists and `--overwrite` is not given, or it cannot be written.
    """
    trained = open_trained("release", arguments, check)
    assert trained.path is not None
    settings, checkpoint = trained.cli.config, read_checkpoint(trained.path)
    path = target(trained.cli)
    if settings["for_training"] and not is_ours(checkpoint):
        raise ReleaseError(f"{trained.path} has no discriminators and optimisers: release a run's own checkpoint")
    with busy(f"writing {path}"):
        release(trained.cli.model, path, facts(trained, checkpoint), checkpoint if settings["for_training"] else None)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {trained.source}")
    name = trained.name
    print(f'use it:    framework.release.load("{path}").synthesize(audio)')
    print(f"or:        ostinato synthesize {name} --ckpt_path {path} --input FILE_OR_DIR --output DIR")
    print(f"fine-tune: ostinato fit {name} --ckpt_path {path} --data FOLDER")


def check(cli: ExperimentCLI) -> None:
    """Refuse systems without weights, and outputs that cannot be written."""
    check_weights(cli)
    size = sum(value.nbytes for value in cli.model.network.state_dict().values())
    check_outputs([target(cli)], cli.config["overwrite"], size=size)


def target(cli: ExperimentCLI) -> Path:
    """Return the file to write."""
    return output_file(cli.config["output"] or ".", f"{cli.name}{SUFFIX}", [SUFFIX])


def facts(trained: Trained, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a trained system beside what it is itself."""
    if "header" in checkpoint:
        names = ("experiment", "step", "checkpoint", "run", "family", "data")
        return {name: checkpoint["header"].get(name) for name in names}
    experiment, identity = trained.cli.experiment, trained.identity
    known: dict[str, Any] = {
        "experiment": f"{experiment.__module__}:{experiment.__qualname__}",
        "step": trained.step,
        "checkpoint": trained.path and trained.path.name,
        "run": identity and signature(identity),
        "family": identity and family(identity),
        "data": None,
    }
    if identity:
        data = {"class": identity["data"]["class"], "manifest": identity["data"]["manifest"]}
        known["data"] = data | {"licence": licence(trained.cli.datamodule, data["manifest"])}
    return known


def licence(data: Any, manifest: str) -> str | None:
    """Return the licence of data with this manifest, if they are there and it was given when they were packed."""
    try:
        if data.fingerprint() != manifest:
            return None
        found = {(part.manifest or {}).get("licence") for part in getattr(data, "parts", ())}
    except (ValueError, OSError):
        return None
    return "; ".join(sorted(filter(None, found))) or None
