"""Autoencoders that were trained before, for systems that work on their latents or codes."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from framework.audio.pitch_grid import MIDI_NUMBERS
from framework.data_module import DataModule
from framework.errors import InvalidValueError, OstinatoError
from framework.generators.codecs.autoencoder import Autoencoder
from framework.hyperparameters import stored_values
from framework.release import load_autoencoder
from framework.runs.finding import run_at, runs_of, runs_root
from framework.runs.folder import RunFolder
from framework.runs.identity import system_of
from framework.runs.released import is_released
from framework.runs.stored_code import check_modules


class NotTrainedError(OstinatoError, ValueError):
    """The pretrained model that this system depends on is missing or incompatible."""


class Pretrained(nn.Module):
    """A trained autoencoder that stays as it is, and has its weights in its own run's checkpoint alone.

    Args:
        target: Folder of its run, one of its checkpoints, or the name of its experiment, which means the run of it that
            was trained last in the folder of all runs (see `runs_in`); or a file by `ostinato release`, of it or of a
            system that works on its codes.

    Raises:
        NotTrainedError: there is no such run, or its system is no autoencoder.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.source, system = opened(target)
        if not hasattr(system, "fingerprint"):
            raise NotTrainedError(f"{self.source} is of {type(system).__name__}, which is no autoencoder")
        self.fingerprint, self.preset = system.fingerprint(), system.preset
        # In a list, where neither checkpoints nor optimisers look for parts.
        self.hidden = [system.eval().requires_grad_(False)]

    @property
    def system(self) -> Any:
        """The autoencoder."""
        return self.hidden[0]

    @property
    def network(self) -> Any:
        """Its network."""
        return self.system.network

    def _apply(self, fn: Any, recurse: bool = True) -> "Pretrained":
        # What `to`, `float` and their like end in.
        self.network._apply(fn, recurse)
        return super()._apply(fn, recurse)


def opened(target: str) -> tuple[str, Any]:
    """Return the file that is meant, and the system that it holds.

    Raises:
        NotTrainedError, ReleaseError: there is none.
    """
    if is_released(target):
        return target, load_autoencoder(target)
    # Of Lightning, without which a released system has to do.
    from framework.runs.checkpoints import load_weights_of, read_checkpoint

    folder, checkpoint = located(target)
    system = built(folder)
    load_weights_of(read_checkpoint(checkpoint), system, checkpoint)
    return str(checkpoint), system


def located(target: str) -> tuple[RunFolder, Path]:
    """Return the run and the checkpoint that are meant.

    Raises:
        NotTrainedError: there is none.
    """
    from framework.runs.checkpoints import newest_checkpoint

    path = Path(target)
    if path.is_file():
        return RunFolder(path.parent.parent), path
    folder = run_at(target) if target else None
    for found in [folder] if folder else runs_of(target):
        checkpoint = newest_checkpoint(found.checkpoints)
        if checkpoint is not None:
            return found, checkpoint
    where = target if folder or "/" in target else f"a run of {target} under {runs_root()}/"
    raise NotTrainedError(
        f"{where} has no checkpoint, or is not there: `ostinato fit` an autoencoder first, and name its experiment or "
        "the folder of its run by --model.autoencoder"
    )


def built(folder: RunFolder) -> Autoencoder:
    """Return a run's system with its values.

    Raises:
        NotTrainedError: it is no autoencoder.
    """
    config = folder.stored_config(("identity", "model"))
    if config is None:
        raise NotTrainedError(f"{folder.path} is no run folder: it has no config.yaml")
    check_modules(config["experiment"], config["identity"], folder.config)
    system = system_of(config["experiment"], config["identity"])
    if not issubclass(system, Autoencoder):
        raise NotTrainedError(f"{folder.path} is a run of {system.__qualname__}, which is no autoencoder")
    stored = stored_values(system, config["model"])
    values = {n: v for n, v in stored.items() if system.hyperparameters[n].kind == "value"}
    return system(**values)


def check_rate(autoencoder: Pretrained, sample_rate: int) -> None:
    """Refuse an autoencoder of another sample rate.

    Raises:
        NotTrainedError: naming both.
    """
    if autoencoder.preset.sample_rate != sample_rate:
        raise NotTrainedError(
            f"{autoencoder.source} codes audio at {autoencoder.preset.sample_rate} Hz, this is for {sample_rate} Hz: "
            f"set --model.mel {autoencoder.preset.name} "
            f"--data.sample_rate {autoencoder.preset.sample_rate}"
        )


def check_score(autoencoder: Pretrained, data: DataModule) -> None:
    """Refuse data whose score has frames of another length than the autoencoder's.

    Raises:
        ValueError: naming the `score_hop` that they have.
    """
    frame, hop = autoencoder.network.samples_per_frame, data.score_hop
    if hop != frame:
        raise InvalidValueError(f"a frame is {frame} samples, the data's score_hop {hop}: set --data.score_hop {frame}")


def score_of(batch: dict[str, Any], frame: int) -> Tensor:
    """Return a batch's score `(batch, 128, frames)`, of silence where it has none."""
    audio = batch["audio"]
    return batch.get("score", audio.new_zeros(len(audio), MIDI_NUMBERS, -(-audio.shape[-1] // frame)))


def check_same(autoencoder: Pretrained, checkpoint: dict[str, Any]) -> None:
    """Refuse weights that were trained on another autoencoder.

    Raises:
        NotTrainedError: naming both.
    """
    stored = checkpoint.get("autoencoder", autoencoder.fingerprint)
    if stored != autoencoder.fingerprint:
        raise NotTrainedError(
            f"the checkpoint was trained on another autoencoder ({stored}) than {autoencoder.source} "
            f"({autoencoder.fingerprint}): name that one by --model.autoencoder"
        )
