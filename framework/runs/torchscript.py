"""Weights from TorchScript files, read without running the programs in them.

`torch.jit.load` runs code of the file and is deprecated. Here the pickled module is read by a restricted unpickler:
classes of the file become plain records of their attributes, tensors are made of the stored bytes, and anything else
is refused.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.private_names.of_pickle import PythonUnpickler
from framework.runs.finished import is_compressed

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Element type of each kind of storage."""


def is_torchscript(path: str | Path) -> bool:
    """Return whether a file was written by `torch.jit.save`."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError):
        return False


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Return the parameters and buffers of a TorchScript module by their names, as its state dict has them.

    Raises:
        pickle.UnpicklingError, zipfile.BadZipFile, ValueError, RuntimeError: the file is damaged, or has values that
            are not those of a module.
    """
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/constants.pkl"))
        root = root.removesuffix("constants.pkl")
        if is_compressed(archive.getinfo(f"{root}data.pkl")):
            raise pickle.UnpicklingError("its data.pkl is compressed, which TorchScript's is not")
        with archive.open(f"{root}data.pkl") as file:
            module = ModuleUnpickler(file, archive, root).load()
    if not isinstance(module, StoredModule):
        raise pickle.UnpicklingError("it holds no module")
    return dict(tensors_of(module))


class StoredModule:
    """A module of a TorchScript file: the attributes that were stored, whatever its class was."""

    attributes: dict[str, Any]

    def __new__(cls, *_: Any) -> "StoredModule":
        """Make a module without attributes; arguments of the stored class are ignored."""
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: Any) -> None:
        """Take the attributes, if the module stores them by name."""
        self.attributes = {str(name): value for name, value in state.items()} if isinstance(state, dict) else {}


class ModuleUnpickler(PythonUnpickler):
    """Reads the module of a TorchScript file; refuses whatever is neither a module, a tensor nor a plain value.

    Args:
        file: The pickled module.
        archive: The archive that it is in, which holds the tensors' bytes.
        root: Folder of the module in the archive.
    """

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function that the file names.

        Raises:
            pickle.UnpicklingError: it is not part of a stored module.
        """
        if module.split(".")[0] == "__torch__":
            return StoredModule
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "torch.jit._pickle":
            return lambda value, *_: value
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): tensor_of,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Return a storage as a tensor of one dimension.

        Raises:
            pickle.UnpicklingError: it is compressed, which TorchScript's are not, or no storage.
        """
        kind, dtype, key, *_ = pid
        entry = self.archive.getinfo(f"{self.root}data/{key}")
        if kind != "storage" or is_compressed(entry):
            raise pickle.UnpicklingError(f"{entry.filename} is no storage")
        values = bytearray(self.archive.read(entry))
        return torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)


def tensor_of(storage: Tensor, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """Return a tensor of a storage's values.

    Raises:
        pickle.UnpicklingError: it has more values than the storage.
    """
    if math.prod(shape) > storage.numel():
        raise pickle.UnpicklingError(f"a tensor of {math.prod(shape):,} values is made of {storage.numel():,}")
    return storage.as_strided(shape, stride, offset).clone()


def tensors_of(module: StoredModule, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a module and of the modules in it, with their names."""
    for name, value in module.attributes.items():
        if isinstance(value, StoredModule):
            yield from tensors_of(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            yield prefix + name, value
