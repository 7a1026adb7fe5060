"""Files of exported programs: ONNX, and torch.export's."""

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
"""Version of ONNX's operators."""
KEY = "ostinato"
"""Under which a file says what it holds."""


def write_torch(exported: Program, graph: ExportedProgram, path: Path, facts: str) -> None:
    """Write a file for `torch.export.load`."""
    torch.export.save(graph, path, extra_files={f"{KEY}.json": facts})


def read_torch(path: Path) -> Callable[[Inputs], Tensor]:
    """Return the program in a file."""
    module = torch.export.load(path).module()
    return lambda inputs: module(*inputs)


def write_onnx(exported: Program, graph: ExportedProgram, path: Path, facts: str) -> None:
    """Write an ONNX model.

    Raises:
        ExportError: what it takes is not installed, or an operator has no counterpart.
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
    """Return the program in a file, run by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda inputs: torch.from_numpy(
        session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})[0]
    )


def installed(*packages: str) -> None:
    """Look whether packages are there.

    Raises:
        ExportError: one is not.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ExportError(
            f"to export to ONNX and check it, {', '.join(missing)} is missing: pip install {' '.join(missing)}"
        )


class Format(NamedTuple):
    """A format of files.

    Args:
        suffix: The suffix of their names.
        write: Write a program, its graph and what is said of it.
        read: Return what runs the program.
    """

    suffix: str
    write: Callable[[Program, ExportedProgram, Path, str], None]
    read: Callable[[Path], Callable[[Inputs], Tensor]]


FORMATS = {"onnx": Format(".onnx", write_onnx, read_onnx), "torch": Format(".pt2", write_torch, read_torch)}
