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

        def save_hyperparameters(self, values: dict[str, Any], **_: Any) -> None:
            """Store the hyperparameters."""
            self.hparams = values

    class LightningDataModule:  # type: ignore[no-redef]
        """A class that names data; there are no loaders."""

        trainer = None

        def save_hyperparameters(self, values: dict[str, Any], **_: Any) -> None:
            """Store the hyperparameters."""
            self.hparams = values


__all__ = ["LightningDataModule", "LightningModule"]
