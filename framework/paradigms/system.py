"""What every system shares, whatever its paradigm: hyperparameters, front end, averaged weights, copy-synthesis."""

from dataclasses import asdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from framework.audio.mel import MelSpectrogram, preset
from framework.hyperparameters import Hyperparameters, trainer


class System(Hyperparameters, L.LightningModule):
    """A generator of audio with its training recipe; an experiment is a subclass of one.

    Args:
        data: Data module that the experiment trains and is judged on.
        mel: Name of the pinned mel front end (see `framework/audio/mel.py`).
        ema_decay: Decay of the exponential moving average of the generator's weights that is judged and listened to
            instead of the last ones; 0 keeps none.
        max_steps: Training steps; one step is one generator update.
        val_check_interval: Steps between two validations, each with audio.
        precision: Arithmetic of the networks; losses are computed in float32 always.
        seed: Seed of the weights, the data order and the crops.
    """

    data: type[L.LightningDataModule]
    mel: str = "hifigan_22k"
    ema_decay: float = 0.0
    max_steps: int = trainer(1_000_000)
    val_check_interval: int = trainer(1_000)
    precision: str = trainer("32-true")
    seed: int = trainer(1234)

    def build(self) -> None:
        """Make the front end and the networks."""
        self.preset = preset(self.mel)
        self.front_end = MelSpectrogram(self.preset)
        self.generator = self.build_generator()
        hop = getattr(self.generator, "hop_length", self.preset.hop_length)
        if hop != self.preset.hop_length:
            raise ValueError(
                f"the generator makes {hop} samples of a frame, the mel {self.mel} has {self.preset.hop_length}"
            )
        if self.ema_decay:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.averaged_generator = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)

    def build_generator(self) -> nn.Module:
        """Return the network that is trained: conditioning -> audio `(batch, 1, time)`."""
        raise NotImplementedError(f"{type(self).__name__} has no build_generator()")

    def setup(self, stage: str) -> None:
        """Refuse data whose sample rate is not the front end's."""
        rate = getattr(self.trainer.datamodule, "sample_rate", self.preset.sample_rate)  # type: ignore[attr-defined]
        if rate != self.preset.sample_rate:
            raise ValueError(
                f"the data has {rate} Hz, the mel front end {self.preset.name} {self.preset.sample_rate} Hz: "
                "set --data.sample_rate or --model.mel so that they agree"
            )

    def condition(self, audio: Tensor) -> Tensor:
        """Return what the generator is given of audio `(batch, 1, time)`: its log-mel `(batch, mels, frames)`."""
        return self.front_end(audio)

    @torch.no_grad()
    def copy_synthesis(self, audio: Tensor) -> Tensor:
        """Generate audio `(batch, 1, time)` again from its own conditioning, with averaged weights if there are any."""
        generator = self.averaged_generator if self.ema_decay else self.generator
        padded = nn.functional.pad(audio, (0, -audio.shape[-1] % self.preset.hop_length))
        return generator(self.condition(padded))[..., : audio.shape[-1]].float()

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Any]:
        """Generate a held-out clip again; callbacks measure it, draw it and make it heard."""
        real = batch["audio"]
        return {
            "key": batch["key"][0],
            "real": real[0],
            "fake": self.copy_synthesis(real)[0],
            "sample_rate": self.preset.sample_rate,
            "preset": self.preset,
        }

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_index: int) -> None:
        """Tell the data module which batch has been trained on: its position counts those, not the fetched ones."""
        self.trainer.datamodule.advance(batch)  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the mel convention with the weights that only make sense with it."""
        checkpoint["front_end"] = asdict(self.preset)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that were trained on another mel convention.

        Raises:
            ValueError: naming each field that differs, with both values.
        """
        stored, own = checkpoint.get("front_end", {}), asdict(self.preset)
        differences = [f"{n} {stored[n]} (here {own[n]})" for n in own if n in stored and stored[n] != own[n]]
        if differences:
            raise ValueError(f"the checkpoint was trained on another mel front end: {', '.join(differences)}")
