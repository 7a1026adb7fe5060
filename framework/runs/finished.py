"""Whether a run is finished: it has made all planned steps, and `last.ckpt` can be read back at the last of them.

A stopping rule that is part of the run's identity (Lightning's EarlyStopping) ends it as well. A limit of time, a
signal, a callback of another kind or a full disk does not: the same command continues the run. Nothing here imports
torch or reads the tensors of a checkpoint, so that the state of many runs is known at once.
"""

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framework.private_names.of_pickle import PythonUnpickler

LAST = "last.ckpt"
FINISHED = "finished"


def has_ended(summary: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Return whether a summary says that the run has made all planned steps, or was ended by a rule of its own.

    Args:
        summary: Content of `summary.json`. Earlier versions stored no state, and one for stopped runs as well.
        config: Content of `config.yaml`.
    """
    if "state" in summary:
        return summary["state"] == FINISHED
    trainer, steps = config.get("trainer", {}), summary.get("steps")
    if not isinstance(steps, int):
        return False
    planned = trainer.get("max_steps", -1)
    # A system without weights makes no step.
    return (
        steps == 0
        or planned == -1
        or steps >= planned
        or bool(trainer.get("max_epochs") or trainer.get("fast_dev_run"))
    )


def holds_end(summary: Mapping[str, Any], checkpoints: Path) -> bool:
    """Return whether `last.ckpt` is the checkpoint of the last step that a summary speaks of.

    A file of the size that was stored when it was verified is taken for the same one.
    """
    if summary["steps"] == 0:
        return True
    try:
        if (checkpoints / LAST).stat().st_size == summary.get("checkpoint_bytes"):
            return True
    except OSError:
        return False
    return checkpoint_step(checkpoints / LAST) == summary["steps"]


def checkpoint_step(path: Path) -> int | None:
    """Return the step that a checkpoint was saved at, without reading its tensors; None where it cannot be read.

    Nothing in the file is executed: all that is not a number, a string or a container is replaced by a placeholder. A
    file that claims to be larger than it is takes no memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if claims_more(archive):
                return None
            structure = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(structure) as file:
                step = _Structure(file).load()["global_step"]
    except (OSError, zipfile.BadZipFile, StopIteration, pickle.UnpicklingError, EOFError, LookupError, ValueError):
        return None
    except (TypeError, AttributeError, NotImplementedError, MemoryError, OverflowError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def claims_more(archive: zipfile.ZipFile) -> bool:
    """Return whether the entries of an archive are larger together than its file: they are compressed, or overlap.

    PyTorch stores checkpoints as they are, so that such a file was made by something else.
    """
    assert archive.fp is not None
    entries = archive.infolist()
    return is_compressed(*entries) or sum(entry.file_size for entry in entries) > archive.fp.seek(0, os.SEEK_END)


def is_compressed(*entries: zipfile.ZipInfo) -> bool:
    """Return whether an entry of an archive is compressed, and may be far larger than the file."""
    return any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)


def is_whole(path: Path) -> bool:
    """Return whether every byte of a checkpoint can be read and agrees with its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not claims_more(archive) and archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OverflowError):
        return False


class _Placeholder:
    """Stands for any class, function or object in a pickle."""

    def __init__(self, *arguments: Any, **values: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **values: Any) -> "_Placeholder":
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        """Do nothing."""

    def extend(self, values: Any) -> None:
        """Do nothing."""


class _Tuple(list):  # type: ignore[type-arg]
    """Stands for a tuple: a list that is hashed by identity. Hashing deeply nested tuples can end the process."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def _as_list(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def loaded(unpickler: Any) -> None:
        load(unpickler)
        unpickler.stack[-1] = _Tuple(unpickler.stack[-1])

    return loaded


class _Structure(PythonUnpickler):
    """Reads the containers of a pickle, with placeholders for everything else."""

    dispatch = PythonUnpickler.dispatch | {
        code[0]: _as_list(PythonUnpickler.dispatch[code[0]])
        for code in (pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
    }

    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Placeholder

    def persistent_load(self, identifier: Any) -> Any:
        return None
