"""What stands in for Lightning's classes where Lightning is not: systems can be used there, not trained."""

from typing import Any

import torch
from torch import nn


class LightningModule(nn.Module):
    """A torch module with as much of Lightning's as building a system and synthesis need."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((tensor.device for tensor in self.parameters()), torch.device("cpu"))

    def save_hyperparameters(self, **_: Any) -> None:
        """Do nothing: there will be no checkpoint."""


class LightningDataModule:
    """What annotations name."""
