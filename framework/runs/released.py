"""The file of a released system: a safetensors file with metadata as JSON in its header."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from framework.errors import InvalidTypeError, OstinatoError
from framework.json_text import parse_json

SUFFIX, FORMAT, KEY = ".safetensors", 1, "ostinato"
READABLE = 0o644
"""Permissions of a release, which others may read; safetensors writes files that only the owner can read."""
PARTS: dict[str, type] = {"system": str, "hyperparameters": dict, "front_end": dict}
"""Entries of a header that a system is built by, and their types."""
TRAINING = "training/"
"""Prefix of the names of tensors that are used for training only."""


class ReleaseError(OstinatoError, ValueError):
    """A file is not a released system of this version; the message names the file and what to do."""


def is_released(path: str | Path) -> bool:
    """Return whether a path is that of a released system, rather than of a checkpoint."""
    return Path(path).suffix == SUFFIX


def write_release(path: Path, weights: Mapping[str, Tensor], facts: Mapping[str, Any], checkpoint: Any = None) -> None:
    """Atomically write weights and metadata and, optionally, a checkpoint for further training.

    Raises:
        ReleaseError: the name has another ending, or the disk is full.
    """
    if not is_released(path):
        raise ReleaseError(f"{path}: a released system is a {SUFFIX} file: name it so")
    tensors = {name: weights[name].detach().cpu().clone().contiguous() for name in sorted(weights)}
    header = {"format": FORMAT, **facts, "sha256": content_hash(tensors)}
    if checkpoint is not None:
        header["training"] = packed(checkpoint, TRAINING.rstrip("/"), tensors)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, {KEY: json.dumps(header)})
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.chmod(READABLE)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise ReleaseError(f"{path} could not be written ({error}): make room, or name another --output") from error
    finally:
        part.unlink(missing_ok=True)


def read_release(path: str | Path, training: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and metadata of a released system; with `training`, also the tensors for training.

    No code from the file is executed.

    Raises:
        ReleaseError: it is missing, damaged, of another program or of another version.
    """
    with _opened(path) as file:
        header = _facts(path, file)
        names = [name for name in file.keys() if training or not name.startswith(TRAINING)]  # noqa: SIM118
        tensors = {name: file.get_tensor(name) for name in names}
    if content_hash({n: v for n, v in tensors.items() if not n.startswith(TRAINING)}) != header.get("sha256"):
        raise ReleaseError(f"{path} is damaged, its weights are not those that were released: get it again")
    return tensors, header


def read_facts(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a released system, without reading its weights.

    Raises:
        ReleaseError: it is missing, no safetensors file, of another program or of another version.
    """
    with _opened(path) as file:
        return _facts(path, file)


def read_sizes(path: str | Path) -> list[int]:
    """Return the number of weights of each tensor of a released system, without reading them.

    Raises:
        ReleaseError: as `read_facts`.
    """
    with _opened(path) as file:
        return [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    if not Path(path).is_file():
        raise ReleaseError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        said = " ".join(str(error).split())[:120]
        raise ReleaseError(f"{path} is cut short or no safetensors file ({said}): get it again") from error


def _facts(path: str | Path, file: Any) -> dict[str, Any]:
    try:
        header = parse_json((file.metadata() or {}).get(KEY, "null"))
    except ValueError as error:
        raise ReleaseError(f"{path} is cut short or no safetensors file ({error}): get it again") from error
    if not isinstance(header, dict):
        raise ReleaseError(f"{path} was not written by `ostinato release`: load it by the program that wrote it")
    if header.get("format") != FORMAT:
        raise ReleaseError(
            f"{path} has format {header.get('format')}, this version of ostinato reads format {FORMAT}: "
            "install the version that is named in it, or release the run again"
        )
    check_header(header, path)
    return header


def check_header(header: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a header without what a system is built by.

    Raises:
        ReleaseError: naming what is missing or of another kind.
    """
    parts = [("", header, PARTS | {"packages": dict})]
    if "autoencoder" in header:
        parts.append(("autoencoder.", header["autoencoder"], PARTS | {"fingerprint": str}))
    for place, part, kinds in parts:
        for name, kind in kinds.items():
            value = part.get(name) if isinstance(part, dict) else None
            if not isinstance(value, kind):
                said = "is missing" if value is None else f"is {str(value)[:40]!r}"
                raise ReleaseError(f"{path} is damaged, {place}{name} of its header {said}: get it again")


def as_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return a released system in the form of a run's checkpoint.

    A release without a training state has the entries `released` (the weights), `hyper_parameters`, `front_end` and
    `global_step`; every release has `header`, its metadata. The autoencoder of a latent system is in the same file.

    Raises:
        ReleaseError: as when it is read.
    """
    tensors, header = read_release(path, training=True)
    if "training" in header:
        found = training_of(header.pop("training"), tensors, path) | {"header": header}
    else:
        found = {"released": tensors, "header": header, "global_step": header.get("step", 0)}
        found |= {"hyper_parameters": header["hyperparameters"], "front_end": header["front_end"]}
    if "autoencoder" in header:
        found["hyper_parameters"] = {**found["hyper_parameters"], "autoencoder": str(path)}
    return found


def training_of(value: Any, tensors: Mapping[str, Tensor], path: str | Path) -> dict[str, Any]:
    """Return the checkpoint that a release for training holds.

    Raises:
        ReleaseError: it holds none.
    """
    try:
        found = unpacked(value, tensors)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ReleaseError(f"{path} is damaged, its training state cannot be read ({error}): get it again") from None
    if not isinstance(found, dict) or not isinstance(found.get("state_dict"), dict):
        raise ReleaseError(f"{path} is damaged, its training state is no checkpoint: get it again")
    return found


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Return nested values as JSON and store their tensors by name in `tensors`.

    Raises:
        TypeError: for anything but dictionaries, sequences, tensors, numbers, strings and None.
    """
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, Mapping):
        # As pairs: optimisers count their parameters, and JSON has strings alone as names.
        return {"pairs": [[key, packed(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [packed(item, f"{name}/{number}", tensors) for number, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidTypeError(f"{name}: a {type(value).__name__} cannot be released")


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the nested values of `packed`."""
    if isinstance(value, list):
        return [unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    pairs: Iterable[Any] = content
    if kind == "tuple":
        return tuple(unpacked(item, tensors) for item in pairs)
    return {key: unpacked(item, tensors) for key, item in pairs}
