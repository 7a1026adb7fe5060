"""Measuring the held-out clips at every validation."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from framework.evaluation.distances import log_mel_error, stft_distance


class Distances(Callback):
    """Logs the mean distances between the held-out clips and their copies under `validation/`."""

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Measure one clip."""
        fake, real = outputs["fake"], outputs["real"]
        distances = {
            "validation/log_mel_error": log_mel_error(fake, real, outputs["preset"]),
            "validation/stft_distance": stft_distance(fake, real),
        }
        pl_module.log_dict(distances, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
