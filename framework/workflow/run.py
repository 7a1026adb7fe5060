"""A run on the disk, or a system that was released as one file: its values, metrics, audio and checkpoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datamodules.audio_folder import AudioFolder
from framework.catalogue import experiments_of
from framework.frames import data_frame, html_table
from framework.hyperparameters import HyperparameterError, as_tuples, stored_values
from framework.runs.checkpoints import chosen_checkpoint
from framework.runs.finding import (
    RunNotFoundError,
    checkpoints_of,
    listed,
    runs_in,
    runs_root,
)
from framework.runs.finished import checkpoint_step
from framework.runs.folder import RunError, RunFolder, State
from framework.runs.identity import class_of, is_code_of, model_of_today, signature, stored_structure, system_of
from framework.runs.released import ReleaseError, is_released, read_facts
from framework.runs.stored_code import StoredCodeError, check_modules, class_stored, import_stored
from framework.runs.stored_commands import distrust_commands
from framework.runs.stored_files import read_metrics
from framework.workflow.sounds import Sounds
from framework.workflow.weights import load_into


@dataclass(frozen=True)
class Run:
    """A run on the disk.

    Args:
        folder: The run's folder.
        config: Content of `config.yaml`: resolved hyperparameters, identity, versions of the code.
        ckpt: Which checkpoint is used: `last`, `best`, a step, or the path of one that was named.
    """

    folder: RunFolder
    config: dict[str, Any] = field(repr=False)
    ckpt: str | int | Path = "last"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def root(self) -> Path:
        """The folder of all runs, of which this is one."""
        parents = self.path.parents
        return parents[1] if len(parents) > 1 else self.path.absolute().parents[1]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the run's result depends on; empty where it is not known."""
        found: dict[str, Any] = self.config["identity"]
        return found

    @property
    def signature(self) -> str:
        """Short hash of the identity."""
        return signature(self.identity)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])

    @property
    def state(self) -> State:
        """Whether the run is `finished`, `running`, `stopped`, `failed`, `damaged` or `new`."""
        return self.folder.state()

    @property
    def summary(self) -> dict[str, Any] | None:
        """The final distances on the held-out clips; None while the run is not finished."""
        return self.folder.summary()

    @property
    def metrics(self) -> Any:
        """Everything that was logged, as a pandas DataFrame with a row for each logged step.

        Raises:
            MissingPackageError: pandas is not installed; `rows()` needs none.
            DamagedFileError: `metrics.csv` is damaged.
        """
        return data_frame(self.rows())

    def rows(self) -> list[dict[str, float]]:
        """Return everything that was logged, a row for each logged step; NaN where a value was not logged.

        Raises:
            DamagedFileError: `metrics.csv` is damaged.
        """
        logged = read_metrics(self.folder.metrics)
        return [
            {n: int(float(v)) if n == "step" and v else float(v) if v else math.nan for n, v in row.items()}
            for row in logged
        ]

    @property
    def audio(self) -> Sounds:
        """The held-out clips as they were generated during the training, as players: `run.audio["clip"]`."""
        return Sounds(self.folder.audio)

    @property
    def checkpoints(self) -> dict[str, int]:
        """Training step of each checkpoint, by the name of its file."""
        return checkpoints_of(self.folder)

    @property
    def is_given(self) -> bool:
        """Whether one checkpoint was named by its path."""
        return isinstance(self.ckpt, Path)

    def checkpoint(self, ckpt: str | int | None = None) -> Path:
        """Return a checkpoint.

        Args:
            ckpt: `last`, `best` or a step; by default what the run was opened with.

        Raises:
            RunError: there is none; the message names those there are.
        """
        chosen = self.ckpt if ckpt is None else ckpt
        return chosen if isinstance(chosen, Path) else chosen_checkpoint(self.folder, chosen)

    def with_ckpt(self, ckpt: str | int) -> "Run":
        """Return the run with another checkpoint.

        Raises:
            RunNotFoundError: one was named by its path, and it is not this one.
        """
        if not self.is_given:
            return replace(self, ckpt=ckpt)
        self.check_ckpt(ckpt)
        return self

    def check_ckpt(self, ckpt: str | int) -> None:
        """Refuse to choose among checkpoints where one was named.

        Raises:
            RunNotFoundError: it is not the one that is wanted.
        """
        path = self.checkpoint()
        if ckpt != "last" and str(ckpt) != str(step_of(path)):
            raise RunNotFoundError(
                f"{path} is one file, of step {step_of(path)}: leave --ckpt {ckpt} out, or name the run's folder"
            )

    def load(self, ckpt: str | int | None = None) -> Any:
        """Return the system with its weights, on the CPU and in evaluation.

        Args:
            ckpt: `last`, `best` or a step; by default what the run was opened with.

        Raises:
            RunError: the code has changed so that it cannot be built, or there is no such checkpoint.
        """
        with runs_in(self.root):
            system = self.experiment()()
        if system.has_weights:
            load_into(system, self.checkpoint(ckpt))
        return system.eval()

    def experiment(self) -> Any:
        """Return the experiment with the run's values as its own.

        Raises:
            RunError: the code has no such experiment, or other hyperparameters.
        """
        try:
            found = self._class()
            own_data = hasattr(found, "data") and is_code_of(found.data, self.identity, "data")
            data = found.data if own_data else class_stored(self.identity["data"]["class"], self.folder.config)
            values = {n: v for n, v in stored_values(data, self.config["data"]).items() if n != "class"}
            own = {n: p.default for n, p in data.hyperparameters.items()}
            distrust_commands({"data": {n: v for n, v in values.items() if v != own.get(n)}}, self.folder.config)
            trainer = self.config["trainer"]
            own = {n: trainer[n] for n, p in found.hyperparameters.items() if p.kind == "trainer" and n in trainer}
            return found.variant(
                **as_tuples(stored_values(found, self.config["model"])),
                **own | {"seed": self.seed},
                data=data.variant(**as_tuples(values)),
            )
        except (ImportError, AttributeError, HyperparameterError) as error:
            raise RunError(f"{self._unlike}{error}") from None

    def check(self, identity: Mapping[str, Any], data_too: bool = True) -> None:
        """Refuse a system that was built again and is not the run's.

        Args:
            identity: What it is now.
            data_too: Whether the data have to be the same.

        Raises:
            RunError: a value, or the data, differ.
        """
        own = self.identity
        if own["data"]["manifest"] != identity["data"]["manifest"] and data_too:
            raise RunError(
                f"{self.path} was trained on other data than are there now ({own['data']['class']}): "
                "put them back, or name others by --data"
            )
        # An identity without a version names one class where there may have been several.
        was, now = stored_structure(own), stored_structure(identity)
        if own["system"] != identity["system"] or ("version" in own and was != now):
            raise RunError(f"{self._unlike}its system was {' with '.join(was)}, here it is {' with '.join(now)}")
        old, new = (model_of_today(self.config["experiment"], one) for one in (own, identity))
        for name in [*old, *new]:
            if old.get(name) != new.get(name):
                before, here = (repr(values[name]) if name in values else "not there" for values in (old, new))
                raise RunError(f"{self._unlike}model.{name} was {before} and is {here}")

    def _repr_html_(self) -> str:
        """Return what the list of runs says of this one, and the values that were given for it."""
        about = listed(self.folder)
        row: dict[str, Any] = {"run": str(self.path), "seed": about.seed, "steps": f"{about.step}/{about.planned}"}
        row |= {"state": about.state, about.metric or "metric": about.value}
        return html_table([row | about.changes], f"{about.experiment} {about.signature}")

    @property
    def _unlike(self) -> str:
        """Beginning of a message that the code, or a value, is not that of the run."""
        commit = self.config["provenance"].get("commit") or "unknown"
        return f"{self.path} was made with other values or another version of the code (commit {commit[:10]}): "

    def _class(self) -> Any:
        name = self.config["experiment"]
        module = import_stored(name, self.folder.config)
        found = class_of(experiments_of(module).values(), self.identity)  # type: ignore[arg-type]
        if found is None and name == "__main__":
            # An experiment of another program or notebook; its values are stored, and its system may be importable.
            check_modules(name, self.identity, self.folder.config)
            found = system_of(name, self.identity)
        if found is None:
            raise AttributeError(f"{module.__name__} has no experiment with {self.identity['system']}")
        return found


@dataclass(frozen=True)
class ReleasedRun(Run):
    """A system that was released as one file, opened as a run that has neither a folder nor metrics."""

    @property
    def path(self) -> Path:
        """The file."""
        assert isinstance(self.ckpt, Path)
        return self.ckpt

    @property
    def root(self) -> Path:
        """The folder of all runs that names are looked up in."""
        return runs_root()

    @property
    def signature(self) -> str:
        """Signature of the run that was released; empty where it is not known."""
        return self.config["release"].get("run") or ""

    @property
    def state(self) -> State:
        """A release can be used as it is."""
        return "finished"

    @property
    def checkpoints(self) -> dict[str, int]:
        """Training step of the file."""
        return {self.path.name: self.config["release"]["step"]}

    def checkpoint(self, ckpt: str | int | None = None) -> Path:
        """Return the file.

        Raises:
            RunNotFoundError: another checkpoint than the one it holds is wanted.
        """
        if ckpt is not None:
            self.check_ckpt(ckpt)
        return self.path

    def experiment(self) -> Any:
        """Return the experiment with the values of the release as its own, or the system by itself.

        The experiment's file need not be there; one's own recordings are then the data.

        Raises:
            ReleaseError: the code has no such system, or other hyperparameters.
        """
        release = self.config["release"]
        values = as_tuples(release["hyperparameters"])
        if "autoencoder" in release:
            values["autoencoder"] = str(self.path)
        try:
            found = class_stored(release["experiment"], self.path)
        except (ImportError, AttributeError, StoredCodeError):
            found = None
        try:
            system = found or class_stored(release["system"], self.path).variant(data=AudioFolder)
            return system.variant(**stored_values(system, values))
        except (ImportError, AttributeError, HyperparameterError) as error:
            raise ReleaseError(
                f"{self.path} was released by ostinato {release['packages']['ostinato']}, and this is another version: "
                f"{error}"
            ) from None

    def _repr_html_(self) -> str:
        """Return what is known of the release."""
        facts = self.config["release"]
        names = ("experiment", "step", "run", "sample_rate", "parameters")
        return html_table([{"file": str(self.path)} | {name: facts.get(name) for name in names}])

    def rows(self) -> list[dict[str, float]]:
        """Return nothing: a release has no metrics."""
        return []

    @property
    def audio(self) -> Sounds:
        """No audio: a release has none."""
        return Sounds(self.path)

    @property
    def summary(self) -> dict[str, Any] | None:
        """Nothing: a release has no summary."""
        return None

    def check(self, identity: Mapping[str, Any], data_too: bool = True) -> None:
        """Do nothing: the weights themselves say whether they fit."""


def step_of(path: Path) -> int | None:
    """Return the training step of a run's checkpoint or of a release; None for an official checkpoint."""
    return int(read_facts(path)["step"]) if is_released(path) else checkpoint_step(path)
