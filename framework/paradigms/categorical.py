"""Diffusion of choices: what the clean example is follows by Bayes' rule (after Dieleman et al., 2022)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from framework.paradigms.noise_schedules import Distance, Objective


class PredictCategories(Objective):
    """Logits of what was chosen, of images `(batch, channels, time, pitch)`: 1 at what is chosen and -1 elsewhere.

    A voice is a group of channels, of whose places in a row one is chosen, or none; in a channel by itself any number
    are. The network says how likely each choice is by its context; what the noisy place itself tells of it is known,
    2 signal x / sigma^2 in nats, and is added. The clean example is what is to be expected: every step of the way back
    sees about one note a row, where places that are guessed one by one lose notes or double them. Trained by
    cross-entropy, in nats a row ("score interpolation", section 3.1).

    Args:
        groups: Channels of each group in order, 1 for a channel by itself.
        temperature: Sampling temperature of the categorical choices; below 1 they are less random.
    """

    def __init__(self, groups: tuple[int, ...], temperature: float = 1.0) -> None:
        self.groups, self.temperature = groups, temperature

    @property
    def outputs(self) -> int:
        """Channels that the network has to predict: one for each of the image's, and one for each voice's rest."""
        return sum(self.groups) + sum(group > 1 for group in self.groups)

    def logits(self, predicted: Tensor, noisy: Tensor, signal: Any, sigma: Any) -> list[Tensor]:
        """Return of each group the logits of its places `(batch, time, places)`, a voice's rest last."""
        channels = noisy.shape[1]
        places = (predicted[:, :channels] + 2 * signal / sigma**2 * noisy).split(self.groups, dim=1)
        rests = iter(predicted[:, channels:].mean(-1).unsqueeze(-1).unbind(1))
        rows = [group.transpose(1, 2).flatten(2) for group in places]
        return [torch.cat([r, next(rests)], -1) if n > 1 else r for n, r in zip(self.groups, rows, strict=True)]

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        expected = []
        found = self.logits(predicted / self.temperature, noisy, signal, sigma)
        for size, logits in zip(self.groups, found, strict=True):
            chosen = logits.softmax(-1)[..., :-1] if size > 1 else logits.sigmoid()
            expected.append(chosen.unflatten(-1, (size, -1)).transpose(1, 2))
        return 2 * torch.cat(expected, dim=1) - 1

    def loss(
        self, predicted: Tensor, clean: Tensor, noise: Tensor, signal: Any, sigma: Any, distance: Distance
    ) -> Tensor:
        """Return the cross-entropy (nats a row) of what was chosen, summed over groups."""
        total = predicted.new_zeros(())
        found = self.logits(predicted, signal * clean + sigma * noise, signal, sigma)
        for logits, image in zip(found, clean.split(self.groups, dim=1), strict=True):
            chosen = (image > 0).transpose(1, 2).flatten(2)
            if image.shape[1] > 1:
                rest = ~chosen.any(-1, keepdim=True)
                choice = torch.cat([chosen, rest], -1).float().argmax(-1)
                total = total + cross_entropy(logits.flatten(0, 1), choice.flatten())
            else:
                total = total + binary_cross_entropy_with_logits(logits, chosen.float()) * chosen.shape[-1]
        return total
