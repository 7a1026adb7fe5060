"""Gradients in the proportions that their losses' weights say, whatever the losses' scales (EnCodec, section 3.4)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, distributed, nn

from framework.annotations import Decay
from framework.checks import checked


class Balancer(nn.Module):
    """Keeps how long each loss's gradient at the generated audio is, and weighs losses by it (equation 4).

    Args:
        names: The losses.
        decay: The decay of the moving averages of the lengths.
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
        """Set `weights` such that the gradients at `fake`, as they usually are, have lengths as the weights and sum 1.

        Args:
            fake: Generated audio `(batch, 1, time)`, in the graph.
            terms: Losses of it, unweighted.
            weight: Says the weight of a loss by its name.
            parts: In how many a device goes through its share of a batch: what is averaged later is longer before.
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
