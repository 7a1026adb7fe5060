"""Loss balancer: gradient norms proportional to the loss weights, at any scale of the losses (EnCodec, section 3.4)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, distributed, nn

from framework.annotations import Decay
from framework.checks import checked


class Balancer(nn.Module):
    """Divides each loss by a moving average of the norm of its gradient at the generated audio (equation 4).

    Args:
        names: Names of the losses.
        decay: Decay of the moving averages of the gradient norms.
    """

    lengths: Tensor
    counted: Tensor

    @checked
    def __init__(self, names: Sequence[str], decay: Decay = 0.999) -> None:
        super().__init__()
        self.names, self.decay = tuple(names), decay
        self.weights: dict[str, Tensor] = {}
        self.register_buffer("lengths", torch.zeros(len(names)))
        self.register_buffer("counted", torch.zeros(len(names)))

    def weigh(self, fake: Tensor, terms: Mapping[str, Tensor], weight: Callable[[str], float], parts: int = 1) -> None:
        """Set `weights` so that average gradient norms at `fake` are proportional to the loss weights and sum to 1.

        Args:
            fake: Generated audio `(batch, 1, time)` that the losses were computed from.
            terms: Unweighted losses by name.
            weight: Function that returns the weight of a loss by its name.
            parts: Micro-batches over which gradients are averaged; norms are divided by this number.
        """
        total = sum(weight(name) for name in terms)
        for name, term in terms.items():
            if not term.requires_grad:
                continue
            (gradient,) = torch.autograd.grad(term, fake, retain_graph=True)
            length = gradient.float().flatten(1).norm(dim=1).mean() / parts
            if distributed.is_available() and distributed.is_initialized():
                distributed.all_reduce(length)
                length = length / distributed.get_world_size() ** 2
            place, counts = self.names.index(name), length.isfinite()
            self.lengths[place] = torch.where(counts, self.decay * self.lengths[place] + length, self.lengths[place])
            self.counted[place] = torch.where(counts, self.decay * self.counted[place] + 1, self.counted[place])
            usual = self.lengths[place] / self.counted[place]
            self.weights[name] = weight(name) / total / (usual + 1e-12)
