"""A run opened by its folder or by one of its checkpoints, with the values that its `config.yaml` says."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.catalogue import experiments_of
from framework.hyperparameters import HyperparameterError, as_tuples
from framework.runs.checkpoints import newest_checkpoint
from framework.runs.folder import RunError, RunFolder
from framework.runs.identity import class_of, is_code_of, signature, stored_structure
from framework.runs.stored_commands import distrust_commands
from framework.runs.stored_files import PARTS


@dataclass(frozen=True)
class StoredRun:
    """A run as it lies on the disk.

    Args:
        folder: The run's folder.
        config: What `config.yaml` holds.
        checkpoint: The checkpoint that was named; None for the newest.
    """

    folder: RunFolder
    config: dict[str, Any]
    checkpoint: Path | None = None

    @property
    def signature(self) -> str:
        """The run's signature."""
        return signature(self.config["identity"])

    @property
    def unlike(self) -> str:
        """Beginning of a message that the code is not that of the run."""
        commit = self.config["provenance"].get("commit") or "unknown"
        return f"{self.folder.path} was made by another version of the code (commit {commit[:10]}): "

    def experiment(self) -> Any:
        """Return the experiment with the run's values as its own.

        Raises:
            RunError: the code has no such experiment, or other hyperparameters.
        """
        try:
            found = self._experiment()
            identity = self.config["identity"]
            own_data = hasattr(found, "data") and is_code_of(found.data, identity, "data")
            data = found.data if own_data else _imported(identity["data"]["class"])
            values = {n: v for n, v in self.config["data"].items() if n != "class"}
            own = {n: p.default for n, p in data.hyperparameters.items()}
            distrust_commands({"data": {n: v for n, v in values.items() if v != own.get(n)}}, self.folder.config)
            trainer = self.config["trainer"]
            own = {n: trainer[n] for n, p in found.hyperparameters.items() if p.kind == "trainer" and n in trainer}
            return found.variant(
                **as_tuples(self.config["model"]),
                **own | {"seed": self.config["seed"]},
                data=data.variant(**as_tuples(values)),
            )
        except (ImportError, AttributeError, HyperparameterError) as error:
            raise RunError(f"{self.unlike}{error}") from None

    def check(self, identity: dict[str, Any], data_too: bool = True) -> None:
        """Refuse to go on where a system built again is not the run's.

        Raises:
            RunError: a value, or the data, differ.
        """
        stored = self.config["identity"]
        if stored["data"]["manifest"] != identity["data"]["manifest"] and data_too:
            raise RunError(
                f"{self.folder.path} was trained on other data than are there now ({stored['data']['class']}): "
                "put them back, or name others by --data"
            )
        # An identity without a version names one class where there may have been several.
        was, now = stored_structure(stored), stored_structure(identity)
        if stored["system"] != identity["system"] or ("version" in stored and was != now):
            raise RunError(f"{self.unlike}its system was {' with '.join(was)}, here it is {' with '.join(now)}")
        old, new = stored["model"], identity["model"]
        for name in [*old, *new]:
            if old.get(name) != new.get(name):
                before, here = (repr(values[name]) if name in values else "not there" for values in (old, new))
                raise RunError(f"{self.unlike}model.{name} was {before} and is {here}")

    def newest(self) -> Path:
        """Return the checkpoint that was named, or the newest that reads.

        Raises:
            RunError: there is none.
        """
        path = self.checkpoint or newest_checkpoint(self.folder.checkpoints)
        if path is None:
            raise RunError(f"{self.folder.path} has no checkpoint yet: `ostinato fit` with the run's values goes on")
        return path

    def _experiment(self) -> Any:
        module = importlib.import_module(self.config["experiment"])
        experiments: Any = experiments_of(module).values()
        found = class_of(experiments, self.config["identity"])
        if found is None:
            raise AttributeError(f"{module.__name__} has no experiment with {self.config['identity']['system']}")
        return found


def is_path(target: str) -> bool:
    """Say whether a target of the command line is a path rather than the name of an experiment."""
    return "/" in target or target.endswith((".ckpt", ".pt", ".pth")) or (Path(target) / "config.yaml").exists()


def stored_run(target: str | Path) -> StoredRun:
    """Return the run whose folder, or one of whose checkpoints, this is.

    Raises:
        RunError: there is none.
        DamagedFileError: its configuration is damaged.
    """
    path = Path(target)
    if not path.exists():
        raise RunError(f"{path} does not exist: name a run folder, a checkpoint in one, or an experiment")
    folder = RunFolder(path if path.is_dir() else path.parent.parent)
    if not folder.config.exists():
        if path.is_file():
            raise RunError(f"{path} lies in no run folder: name its experiment, with --ckpt_path {path}")
        inside = sorted(str(config.parent) for config in path.glob("*/config.yaml"))
        held = f"it holds {len(inside)} runs: name one, as {inside[0]}" if inside else "was it removed or never begun?"
        raise RunError(f"{path} is no run folder, it has no config.yaml ({held})")
    config = folder.stored_config(PARTS)
    assert config is not None
    return StoredRun(folder, config, path if path.is_file() else None)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
