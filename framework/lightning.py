"""Lightning's modules, or what stands in for them where Lightning is not: systems can be used there, not trained."""

from typing import Any

import torch
from torch import nn

try:
    from lightning import LightningDataModule, LightningModule
except ImportError:

    class LightningModule(nn.Module):  # type: ignore[no-redef]
        """A torch module with as much of Lightning's as building a system and synthesis need."""

        @property
        def device(self) -> torch.device:
            """Where the weights are."""
            return next((tensor.device for tensor in self.parameters()), torch.device("cpu"))

        def save_hyperparameters(self, *_: Any, **__: Any) -> None:
            """Do nothing: there will be no checkpoint."""

    class LightningDataModule:  # type: ignore[no-redef]
        """What an experiment's data are described by."""

        def save_hyperparameters(self, *_: Any, **__: Any) -> None:
            """Do nothing."""


__all__ = ["LightningDataModule", "LightningModule"]
