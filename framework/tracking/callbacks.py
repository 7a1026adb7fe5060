"""Callbacks for logging: step count, audio samples, throughput and progress."""

import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar

from framework.audio.files import safe_name, save_audio
from framework.private_names.of_lightning import set_batches_begun
from framework.progress import LATER_LINE_EVERY, Progress, print_above
from framework.runs.checkpoints import Checkpoints
from framework.tracking.csv_log import CSVLog
from framework.tracking.media import log_mel_picture, save_picture
from framework.tracking.wandb_log import WandbLog
from framework.writing import Tolerant


class StepCount(L.Callback):
    """Labels every logged row with the number of generator updates, and truncates logs to the checkpoint on resume.

    By default, Lightning labels a row with the index of its batch, and does not count a batch that was followed by a
    checkpoint.
    """

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remove the rows that an interrupted run logged after the checkpoint from which it resumes."""
        checkpoints = [callback for callback in trainer.callbacks if isinstance(callback, Checkpoints)]  # type: ignore[attr-defined]
        begins_with_validation = any(callback.validating for callback in checkpoints)
        for logger in trainer.loggers:
            if isinstance(logger, CSVLog):
                logger.rewind(trainer.global_step, validated=not begins_with_validation)
        # Lightning places validations by batches begun, and a resumed run has begun one twice.
        set_batches_begun(trainer, trainer.global_step)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Label the training row."""
        pl_module.log("step", float(trainer.global_step))

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Label the validation row; its maximum is exact, whereas a mean of large counts would be rounded."""
        pl_module.log("step", float(trainer.global_step), on_epoch=True, batch_size=1, reduce_fx="max")


class AudioSamples(L.Callback):
    """Logs audio and pictures of the first held-out clips after every validation, in files and on W&B.

    A validation step returns `{"key", "real" (1, time), "fake" (1, time), "pictures", "sample_rate", "preset",
    "reconstructs_input", "measures"}`. `truth.wav` is written once to `<folder>/<key>/`; at every validation
    `step_00001000.wav`, a `.png` of generated and true audio, and the pictures are added.

    Args:
        folder: The run's audio folder.
        clips: Number of clips.
    """

    def __init__(self, folder: str | Path, clips: int = 8) -> None:
        self.folder = Path(folder)
        self.clips = clips
        self._written: dict[str, Path] = {}
        self._tolerant = Tolerant("audio and pictures of held-out clips")

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the audio and pictures of a clip."""
        if not trainer.sanity_checking and trainer.is_global_zero and batch_idx < self.clips and outputs:
            with self._tolerant:
                self._written |= self.write(outputs, trainer.global_step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the written files to W&B as one row."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLog) and self._written:
                logger.log_files(self._written, trainer.global_step)
        self._written = {}

    def write(self, clip: dict[str, Any], step: int) -> dict[str, Path]:
        """Write the files of a clip and return the new ones by their names on W&B."""
        key, rate, real = clip["key"], clip["sample_rate"], clip["real"]
        # A network that has diverged does not end the run here.
        fake, is_finite = torch.nan_to_num(clip["fake"]).clamp(-1, 1), bool(torch.isfinite(clip["fake"]).all())
        folder, name = self.folder / safe_name(key), f"validation/audio/{key}"
        truth, audio, picture = (folder / f for f in ("truth.wav", f"step_{step:08d}.wav", f"step_{step:08d}.png"))
        written = {f"{name}/log_mel": picture}
        title = f"generated, step {step:,}"
        if is_finite:
            save_audio(audio, fake, rate)
            written[name] = audio
        else:
            title += ", NaN or infinite samples"
            print(f"warning: step {step:,}: {key} has NaN or infinite samples: no audio is written", file=sys.stderr)
        save_picture(picture, log_mel_picture({title: fake, "truth": real}, clip["preset"]))
        for title, drawn in clip["pictures"].items():
            written[f"{name}/{title}"] = folder / f"{safe_name(title)}_{step:08d}.png"
            save_picture(written[f"{name}/{title}"], drawn)
        if not truth.exists():
            save_audio(truth, real, rate)
            written[f"{name}/truth"] = truth
        return written


class Throughput(L.Callback):
    """Logs `speed/samples_per_second` and `speed/audio_seconds_per_second` of training, over all devices.

    A sample is one training example, a segment of a clip. Validation and the first step, which compiles and allocates,
    are not counted.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._examples = self._audio_seconds = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reset the counters."""
        self._since = None

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exclude the validation from the time."""
        self._since = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch, and log the rates at the logging interval."""
        now = time.perf_counter()
        if self._since is None:
            self._since, self._examples, self._audio_seconds = now, 0.0, 0.0
            return
        system: Any = pl_module
        self._examples += len(batch["key"]) * trainer.world_size
        if "audio" in batch:
            self._audio_seconds += batch["audio"].numel() * trainer.world_size / system.preset.sample_rate
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            seconds = now - self._since
            pl_module.log("speed/samples_per_second", self._examples / seconds)
            if self._audio_seconds:
                pl_module.log("speed/audio_seconds_per_second", self._audio_seconds / seconds)
            self._since, self._examples, self._audio_seconds = now, 0.0, 0.0


class StepProgress(ProgressBar):
    """Progress in generator updates toward `max_steps`, across epochs and resumes, and of each validation.

    On a terminal it is a bar with the values logged with `prog_bar=True`; otherwise (in the log of a batch system) a
    line every half minute.
    """

    VALUES_EVERY = 0.5
    """Interval (s) at which logged values are read, which may require copying them from the device."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._training: Progress | None = None
        self._validation: Progress | None = None
        self._looked = 0.0
        self._since = (0.0, 0)

    def disable(self) -> None:
        """Hide progress."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        print_above(kwargs.get("sep", " ").join(map(str, args)))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start at the step from which the run resumes."""
        self._since = (time.monotonic(), trainer.global_step)
        total = trainer.max_steps if trainer.max_steps > 0 else None
        if self._enabled:
            self._training = Progress("training", total, "steps", trainer.global_step, at_once=True)
            self._training.open()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Advance to the trainer's step."""
        if self._training is None:
            return
        now = time.monotonic()
        if now - self._looked > self.VALUES_EVERY:
            self._looked = now
            self._training.note(", ".join([*self._rate(trainer.global_step, now), *self._values(trainer)]))
        self._training.reach(trainer.global_step)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the clips of a validation."""
        if self._enabled and not trainer.sanity_checking:
            batches = sum(count for count in trainer.num_val_batches if isinstance(count, int))
            self._validation = Progress("validating", batches or None, "clips")
            self._validation.open()

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Count a clip."""
        if self._validation is not None:
            self._validation.update()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the training again."""
        if self._validation is not None:
            self._validation.close()
            self._validation = None

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the bars, also after an interruption."""
        self.on_validation_end(trainer, pl_module)
        if self._training is not None:
            self._training.close()
            self._training = None

    def _rate(self, step: int, now: float) -> list[str]:
        """Return the steps per second since the last plain line; on a terminal the bar has its own."""
        assert self._training is not None
        since, first = self._since
        if self._training.bar is not None or now <= since:
            return []
        if now - since > LATER_LINE_EVERY:
            self._since = (now, step)
        return [f"{(step - first) / (now - since):.2f} steps/s"]

    def _values(self, trainer: L.Trainer) -> list[str]:
        values = trainer.progress_bar_metrics
        return [f"{name.removeprefix('train/')} {value:.3g}" for name, value in values.items()]
