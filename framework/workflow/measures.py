"""What an experiment is made of, before anything is trained: parameters, receptive field, memory of a step."""

from typing import Any

import torch
from torch import nn

from framework.audio.pitch_grid import MIDI_NUMBERS
from framework.workflow.plan import Plan


def measures(plan: Plan) -> list[str]:
    """Return parameter counts, the receptive field where the generator knows it, and the memory of a step."""
    model, data = plan.system, plan.data
    networks = {"generator": model.generator, **dict(getattr(model, "discriminators", nn.ModuleDict()).items())}
    lines = [f"parameters of {name}: {count(network):,}" for name, network in networks.items()]
    frames = getattr(model.generator, "receptive_field", None)
    if frames:
        seconds = frames * model.preset.hop_length / model.preset.sample_rate
        lines.append(f"receptive field: {frames} frames = {seconds:.2f} s")
    if not model.has_weights:
        return lines
    trained = 4 * 4 * sum(map(count, networks.values()))
    activations = data.batch_size * saved_for_backward(plan)
    lines.append(
        f"memory of a step: about {(trained + activations) / 2**30:.1f} GiB in float32 "
        f"(weights, gradients and AdamW's moments {trained / 2**30:.1f}, activations of {data.batch_size} segments)"
    )
    return lines


def count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def saved_for_backward(plan: Plan) -> int:
    """Return the bytes that the generator's update keeps for one segment of one clip."""
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    kept = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        kept.append(plan.system.training_losses(example(plan)))
    weights = {p.untyped_storage().data_ptr() for p in plan.system.parameters()}
    return sum(size for pointer, size in seen.items() if pointer not in weights)


def example(plan: Plan, time: int | None = None) -> dict[str, Any]:
    """Return a batch of one clip of noise, a segment or `time` samples long, with all that the data gives a batch."""
    if hasattr(plan.system, "stand_in"):
        return plan.system.stand_in()
    data = plan.data
    time = time or data.segment
    batch: dict[str, Any] = {"audio": 0.1 * torch.randn(1, 1, time), "key": ["noise"]}
    if data.f0_hop:
        batch["f0"] = torch.full((1, -(-time // data.f0_hop)), 220.0)
    if data.score_hop:
        batch["score"] = torch.zeros(1, MIDI_NUMBERS, -(-time // data.score_hop))
    return batch | {label: torch.zeros(1, dtype=torch.int64) for label in data.labels}
