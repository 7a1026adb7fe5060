"""How an experiment is spread over devices."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only


def strategy(trainer: Mapping[str, Any]) -> Any:
    """Return the strategy for Lightning's Trainer: the one asked for, or DDP when there are several devices.

    Two optimisers take turns over parts of one module, so DDP must look for the parameters a step leaves unused.
    """
    if trainer["strategy"] != "auto" or number_of_devices(trainer) == 1:
        return trainer["strategy"]
    return "ddp_find_unused_parameters_true"


def is_main_process() -> bool:
    """Say whether this process is the one that prints, locks and writes: rank zero of all nodes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def number_of_devices(trainer: Mapping[str, Any]) -> int:
    """Return the number of devices over all nodes that the arguments of Lightning's Trainer ask for."""
    devices, nodes = trainer["devices"], trainer["num_nodes"]
    if devices in ("auto", -1, "-1"):
        devices = max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    elif isinstance(devices, str):
        devices = len(devices.split(",")) if "," in devices else int(devices)
    return nodes * (devices if isinstance(devices, int) else len(devices))
