"""Official checkpoints into our networks: unwrapped, renamed, checked, loaded strictly."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from framework.errors import OstinatoError
from framework.runs.checkpoints import read_tensors, reason_of


class OfficialCheckpointError(OstinatoError, ValueError):
    """A checkpoint that holds no weights for the network it is loaded into."""


def load_official(network: nn.Module, checkpoint: str | Path | Mapping[str, Any]) -> None:
    """Load the weights that a system's official code saved, from a file or as the object that is in it.

    The state dict may be wrapped (`{"generator": ...}`, `{"mpd": ..., "msd": ..., "steps": ...}`): the part whose names
    and shapes are the network's is taken. A network whose sub-modules are named otherwise than the official ones
    translates by a method `official_names(name) -> name`, which is empty for what it leaves out. Buffers that follow
    from the network's arguments (windows, transform kernels) are checked in shape and kept. Weight normalisation may
    be stored under its old names, under those of its parametrisation, or folded into the weights; the file may be a
    TorchScript program, whose code is not run.

    A `.npz` file holds the variables of a TensorFlow graph by name (see `from_tensorflow`).

    Raises:
        OfficialCheckpointError: naming the file, what does not fit, and what the file holds.
    """
    source = "the state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
    found = dict(_state_dicts(checkpoint if isinstance(checkpoint, Mapping) else _read(checkpoint)))
    complaints = {}
    for label, state in found.items():
        complaint, translated = _match(network, state)
        if not complaint:
            network.load_state_dict(translated, strict=True)
            return
        complaints[label] = complaint
    held = "; ".join(f"{label}: {complaint}" for label, complaint in complaints.items()) or "no state dict in it"
    raise OfficialCheckpointError(f"{source} is no official checkpoint of this {type(network).__name__} ({held})")


def _read(path: str | Path) -> Any:
    """Read a file of tensors; objects that could run code are refused."""
    try:
        if Path(path).suffix == ".npz":
            with np.load(path, allow_pickle=False) as variables:
                return from_tensorflow(variables)
        return read_tensors(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise OfficialCheckpointError(f"{path} cannot be read as a checkpoint: {reason_of(error)}") from error


def from_tensorflow(variables: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Return the variables of a TensorFlow graph as tensors in PyTorch's layout, under their names.

    Kernels have their places first in TensorFlow and then, where PyTorch begins with the same two in the other order,
    inputs and outputs of a dense or convolutional layer, outputs and inputs of a transposed one.
    """
    return {
        name: torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array))
        for name, array in variables.items()
    }


def _state_dicts(content: Any, label: str = "weights") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Find the state dicts in what was saved, however deep, by the label they are under."""
    if not isinstance(content, Mapping):
        return
    if content and all(isinstance(value, Tensor) for value in content.values()):
        yield label, {str(name): value for name, value in content.items()}
        return
    for name, value in content.items():
        yield from _state_dicts(value, str(name))


def _match(network: nn.Module, state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Return what keeps a state dict from fitting a network, empty if nothing, and the state dict in its names."""
    own = network.state_dict()
    derived = {name: buffer for name, buffer in network.named_buffers() if name not in own}
    try:
        translated = {_translate(network, name, state): value for name, value in state.items()}
    except (ValueError, IndexError):
        return "other names", {}
    translated.pop("", None)
    translated = _with_weight_norm_of(own, translated)
    known = own | derived
    # TensorFlow 1 has a transposed convolution over time as one over images of a single row.
    translated = {
        n: value.reshape(known[n].shape) if n in known and _dense(value) == _dense(known[n]) else value
        for n, value in translated.items()
    }
    # TensorFlow keeps no count of batches, which nothing is computed from.
    translated = {n: v for n, v in own.items() if n.endswith(".num_batches_tracked")} | translated
    unknown = [name for name in translated if name not in known]
    missing = [name for name in own if name not in translated]
    wrong = [n for n, value in translated.items() if n in known and value.shape != known[n].shape]
    complaints = [
        f"{len(names)} {kind}, as {names[0]}" for kind, names in (("unknown", unknown), ("missing", missing)) if names
    ]
    if wrong:
        name = wrong[0]
        complaints.append(
            f"{len(wrong)} of other shape, as {name} {tuple(translated[name].shape)}, not {tuple(known[name].shape)}"
        )
    return ", ".join(complaints), {name: value for name, value in translated.items() if name in own}


def _with_weight_norm_of(own: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with normalised weights as magnitude and direction, or as one, as a network has them.

    A folded weight becomes its own direction, with its norm as the magnitude.
    """
    magnitude, direction = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
    for layer in [name.removesuffix(magnitude) for name in state if name.endswith(magnitude)]:
        # TorchScript stores the product besides.
        folded = state.pop(f"{layer}.weight", None)
        if f"{layer}.weight" in own and layer + direction in state:
            size, values = state.pop(layer + magnitude), state.pop(layer + direction)
            state[f"{layer}.weight"] = values * (size / torch.norm_except_dim(values)) if folded is None else folded
    for layer in [name.removesuffix(magnitude) for name in own if name.endswith(magnitude)]:
        if layer + magnitude not in state and f"{layer}.weight" in state:
            values = state.pop(f"{layer}.weight")
            size = torch.norm_except_dim(values)
            # The direction of a weight of zeros is arbitrary.
            state |= {layer + magnitude: size, layer + direction: torch.where(size > 0, values, 1.0)}
    return state


def _dense(value: Tensor) -> list[int]:
    """Return the shape without what is 1."""
    return [size for size in value.shape if size != 1]


def _translate(network: nn.Module, name: str, state: dict[str, Tensor]) -> str:
    """Translate one official name, and that of a normalised weight to the one its parametrisation has today."""
    rename = getattr(network, "official_names", lambda name: name)
    if not rename(name) or "/" in name:
        return rename(name)
    owner, _, leaf = name.rpartition(".")
    spectral = f"{owner}.weight_orig" in state
    parametrised = {
        "weight_g": "parametrizations.weight.original0",
        "weight_v": "parametrizations.weight.0.v" if spectral else "parametrizations.weight.original1",
        "weight_u": "parametrizations.weight.0.u",
        "weight_orig": "parametrizations.weight.original",
    }
    return rename(name).removesuffix(leaf) + parametrised.get(leaf, leaf)
