"""Reference vectors: what official implementations output, and the weights behind it from the names alone."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def load_reference(name: str) -> dict[str, Any]:
    """Return the configuration, inputs and outputs of a `.pt` reference vector."""
    return torch.load(Path(__file__).with_name(f"{name}.pt"), weights_only=True)


def official_state(keys: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, Tensor]:
    """Return the official state dict of these names, shapes and dtypes."""
    return {key: fill_tensor(key, shape, getattr(torch, dtype)) for key, (shape, dtype) in keys.items()}


def fill_tensor(key: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the tensor behind a key of an official state dict (PyTorch layout)."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    values = _standard_normal(key, shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf in ("weight_g", "original0", "g", "running_var"):
        values = 0.5 + np.abs(values)
    elif leaf == "weight_u" or (leaf == "weight_v" and len(shape) == 1):
        values = values / np.linalg.norm(values)
    elif len(shape) <= 1:
        values = 0.1 * values + (1.0 if leaf in ("weight", "gamma", "alpha") else 0.0)
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.ascontiguousarray(values)).reshape(shape).to(dtype)


def fill_tensorflow_variable(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the float32 array behind a TensorFlow variable (TensorFlow layout: ..., in, out)."""
    values = _standard_normal(name, shape)
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "moving_variance":
        values = 0.5 + np.abs(values)
    elif len(shape) <= 1:
        values = 0.1 * values + (1.0 if leaf == "gamma" else 0.0)
    else:
        values = values / np.sqrt(np.prod(shape[:-1]))
    return values.astype(np.float32)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return an input that is not stored, as float32 between -1 and 1, from its name."""
    return np.random.RandomState(_seed(name)).uniform(-1, 1, shape).astype(np.float32)


def _seed(name: str) -> int:
    return zlib.crc32(name.encode()) & 0x7FFFFFFF


def _standard_normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw from numpy's frozen legacy generator, seeded with the name's CRC-32; shape () gives a scalar array."""
    generator = np.random.RandomState(_seed(name))
    values = generator.standard_normal(shape or (1,))
    return values if shape else values[0:1].reshape(())
