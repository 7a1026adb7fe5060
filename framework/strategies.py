"""How an experiment is spread over devices."""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from framework.errors import InvalidValueError
from framework.hyperparameters import nearest
from framework.private_names.of_lightning import UnwrappedDDPStrategy

BUCKET = 25 * 2**20
"""Bytes of small gradients that are summed over devices at once, as in PyTorch's DistributedDataParallel."""
LARGE = 2**20
"""Bytes from which on a gradient is summed where it lies: copying it would cost more than another message."""


class GradientAveraging(UnwrappedDDPStrategy):
    """Data parallelism in which a system says when a network's gradient is averaged over the devices.

    DistributedDataParallel takes the whole module for one network with one backward pass a step. With networks that
    take turns it has to search the graph for the parameters that a pass leaves alone, and averages what is thrown away;
    with accumulation it has to be kept from averaging each part. Here the module is not wrapped: `System.update`
    averages the gradient of the network that it updates, once, behind the last part.

    Args:
        compress: Arithmetic in which gradients travel; `bf16` halves the traffic and rounds them.
    """

    def __init__(self, compress: Literal["none", "bf16"] = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compress = compress

    def setup(self, trainer: Any) -> None:
        """Let every device begin with the first one's weights."""
        super().setup(trainer)
        assert self.lightning_module is not None
        for tensor in self.lightning_module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)

    @torch.no_grad()
    def average_gradients(self, network: nn.Module) -> None:
        """Replace the gradients of a network by their means over all devices."""
        world = torch.distributed.get_world_size()
        sums = []
        for gradients in buckets([p.grad for p in network.parameters() if p.grad is not None]):
            flat = flattened(gradients).div_(world)
            sent = flat.bfloat16() if self.compress == "bf16" else flat
            sums.append((gradients, sent, torch.distributed.all_reduce(sent, async_op=True)))
        for gradients, sent, work in sums:
            work.wait()
            if sent.data_ptr() != gradients[0].data_ptr():
                for gradient, mean in zip(gradients, sent.split([g.numel() for g in gradients]), strict=True):
                    gradient.copy_(mean.view_as(gradient))


def flattened(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return tensors as one of one dimension; a single contiguous tensor is not copied."""
    return tensors[0].reshape(-1) if len(tensors) == 1 else torch.cat([tensor.reshape(-1) for tensor in tensors])


def buckets(tensors: list[torch.Tensor]) -> list[list[torch.Tensor]]:
    """Group tensors so that a group is a large one, or has about `BUCKET` bytes of small ones of one type, in order."""
    large = [tensor for tensor in tensors if tensor.nbytes >= LARGE]
    groups: list[list[torch.Tensor]] = []
    size = BUCKET
    for tensor in tensors:
        if tensor.nbytes >= LARGE:
            continue
        if size >= BUCKET or groups[-1][0].dtype != tensor.dtype:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.nbytes
    return [[tensor] for tensor in large] + groups


NAMES = ("auto", "ddp", "single_device")
"""Strategies that can be named; both of the first are gradient averaging on several devices."""


def strategy(trainer: Mapping[str, Any]) -> Any:
    """Return the strategy for Lightning's Trainer: gradient averaging on several devices, or an object as it is.

    Raises:
        ValueError: a name that does not exist, or of a strategy that no system can be trained with.
    """
    asked, devices = trainer["strategy"], number_of_devices(trainer)
    if not isinstance(asked, str):
        return asked
    if asked.startswith("ddp_find_unused_parameters"):
        asked = "ddp"
    if asked not in NAMES:
        instead = "use ddp" if asked in StrategyRegistry.available_strategies() else nearest(asked, NAMES)
        raise InvalidValueError(f"trainer.strategy = {asked!r} is not one of {', '.join(NAMES)}: {instead}")
    if asked == "single_device" and devices > 1:
        raise InvalidValueError(f"trainer.strategy = 'single_device' with {devices} devices: use ddp, or one device")
    return GradientAveraging() if asked == "ddp" or (asked == "auto" and devices > 1) else "auto"


def check_accelerator(name: str) -> None:
    """Refuse an accelerator that does not exist, or that this machine does not have.

    Raises:
        ValueError: naming those that it has.
    """
    known = AcceleratorRegistry.available_accelerators()
    there = [kind for kind in known if AcceleratorRegistry[kind]["accelerator"].is_available()]
    if name == "auto" or name in there or (name == "gpu" and {"cuda", "mps"} & set(there)):
        return
    if name not in (*known, "gpu"):
        raise InvalidValueError(f"trainer.accelerator = {name}: {nearest(name, ('auto', 'gpu', *known))}")
    raise InvalidValueError(
        f"trainer.accelerator = {name}: PyTorch finds none on this machine; it has {', '.join(there)}"
    )


def check_devices(trainer: Mapping[str, Any], batch_size: int, parts: int = 1) -> int:
    """Return the number of devices over all nodes; refuse more than there are, or than share a batch equally.

    Args:
        trainer: The arguments of Lightning's Trainer.
        batch_size: Clips in a batch over all devices.
        parts: Parts in which each device goes through its share.

    Raises:
        ValueError: naming the argument, its value, and what is possible.
    """
    devices = number_of_devices(trainer)
    there = torch.cuda.device_count() if trainer["accelerator"] in ("gpu", "cuda", "auto") else 0
    if there and devices > there * trainer["num_nodes"]:
        raise InvalidValueError(
            f"trainer.devices = {trainer['devices']}: there are {there} GPUs on this machine; set at most that many"
        )
    if devices < 1 or batch_size % (devices * parts):
        possible = [n for n in range(1, batch_size + 1) if batch_size % (n * parts) == 0]
        shares = f"{devices} devices" + (f" in {parts} parts each" if parts > 1 else "")
        raise InvalidValueError(
            f"trainer.devices = {trainer['devices']}: a batch of {batch_size} cannot be shared by {shares}; "
            f"set trainer.devices to one of {', '.join(map(str, possible))}, or change data.batch_size"
        )
    return devices


def is_main_process() -> bool:
    """Say whether this process is the one that prints, locks and writes: rank zero of all nodes."""
    return rank() == 0


def rank() -> int:
    """Return the number of this process among those of the run, on all nodes."""
    return int(getattr(rank_zero_only, "rank", 0))


def number_of_devices(trainer: Mapping[str, Any]) -> int:
    """Return the number of devices over all nodes that the arguments of Lightning's Trainer ask for.

    Raises:
        ValueError: they are no number.
    """
    devices, nodes = trainer["devices"], trainer["num_nodes"]
    if devices in ("auto", -1, "-1"):
        devices = max(1, torch.cuda.device_count()) if trainer["accelerator"] != "cpu" else 1
    elif isinstance(devices, str):
        if not re.fullmatch(r"\d+|(\d+,)+\d*", devices.replace(" ", "")):
            raise InvalidValueError(f"trainer.devices = {devices!r}: set a number, auto, or indices such as 0,1")
        devices = len(devices.strip(", ").split(",")) if "," in devices else int(devices)
    return nodes * (devices if isinstance(devices, int) else len(devices))
