"""Lightning's modules, or substitutes without Lightning, with which systems can be used but not trained."""

from typing import Any

import torch
from torch import nn

try:
    from lightning import LightningDataModule, LightningModule
except ImportError:

    class LightningModule(nn.Module):  # type: ignore[no-redef]
        """Substitute of LightningModule with the parts that building a system and synthesis need."""

        @property
        def device(self) -> torch.device:
            """The device of the weights."""
            return next((tensor.device for tensor in self.parameters()), torch.device("cpu"))

        def save_hyperparameters(self, *_: Any, **__: Any) -> None:
            """Do nothing, because no checkpoint is written."""

    class LightningDataModule:  # type: ignore[no-redef]
        """What an experiment's data are described by."""

        def save_hyperparameters(self, *_: Any, **__: Any) -> None:
            """Do nothing."""


__all__ = ["LightningDataModule", "LightningModule"]
