"""File formats of exported programs: ONNX and torch.export."""

import logging
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram

from framework.export.programs import ExportError, Inputs, Program, beginning

OPSET = 20
"""Version of the ONNX operator set."""
KEY = "ostinato"
"""Key of the description in a file."""


def write_torch(exported: Program, graph: ExportedProgram, path: Path, facts: str) -> None:
    """Write a file for `torch.export.load`."""
    torch.export.save(graph, path, extra_files={f"{KEY}.json": facts})


def read_torch(path: Path) -> Callable[[Inputs], Tensor]:
    """Read an exported program."""
    module = torch.export.load(path).module()
    return lambda inputs: module(*inputs)


def write_onnx(exported: Program, graph: ExportedProgram, path: Path, facts: str) -> None:
    """Write an ONNX model.

    Raises:
        ExportError: a package is not installed, or an operator has no counterpart in ONNX.
    """
    installed("onnx", "onnxscript", "onnxruntime")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = torch.onnx.export(
                graph,
                input_names=exported.inputs,
                output_names=["audio"],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        name = type(exported.network).__name__
        raise ExportError(f"{name} cannot be exported to ONNX: {beginning(error)}; --format torch may do") from error
    made.model.metadata_props[KEY] = facts
    made.save(path, external_data=False)


def read_onnx(path: Path) -> Callable[[Inputs], Tensor]:
    """Read an exported program, to run with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda inputs: torch.from_numpy(
        session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})[0]
    )


def installed(*packages: str) -> None:
    """Check that packages are installed.

    Raises:
        ExportError: a package is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"to export to ONNX and check it, {', '.join(missing)} is missing: pip install {' '.join(missing)}"
        )


class Format(NamedTuple):
    """A file format.

    Args:
        suffix: Suffix of file names.
        write: Writes a program with its graph and description.
        read: Returns a function that runs the program.
    """

    suffix: str
    write: Callable[[Program, ExportedProgram, Path, str], None]
    read: Callable[[Path], Callable[[Inputs], Tensor]]


FORMATS = {"onnx": Format(".onnx", write_onnx, read_onnx), "torch": Format(".pt2", write_torch, read_torch)}
