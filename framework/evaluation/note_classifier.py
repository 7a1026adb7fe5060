"""The classifier of instruments that some metrics use, trained once on the embedded notes."""

import contextlib
import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
from filelock import FileLock
from torch import Tensor

import framework.paradigms.classification
from datamodules.notes import Notes
from framework.audio.files import resample
from framework.cache import cache_folder
from framework.paradigms.classification import Classification
from framework.paradigms.system import seed_all
from framework.progress import busy
from framework.writing import replacing

INSTRUMENTS = (*Notes.instruments, "drums")


class NoteClassifier(Classification):
    """Classifies one second of a note as one of nine instruments or drums."""

    data = Notes.variant(
        instruments=INSTRUMENTS,
        labels=("instrument",),
        batch_size=32,
        validation_clips=200,
        validation_seconds=1.024,
    )
    mel = "ddsp_16k"
    num_classes = len(INSTRUMENTS)
    learning_rate = 3e-3
    schedule = "cosine"
    weight_decay = 0.01
    max_steps = 600
    val_check_interval = 200


class Trained(NamedTuple):
    """The classifier with its weights.

    Attributes:
        system: The classifier, in evaluation mode.
        accuracy: Share of the test clips, whose pairs of instrument and pitch it was not trained on, told right.
    """

    system: NoteClassifier
    accuracy: float

    def windows(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Return standardised log-mels `(windows, mels, frames)` of a clip `(1, 1, time)`, at its place.

        They are of 1.024 s, each brought to the peak that the notes have. A shorter clip is filled up with zeros, of a
        longer one the end that fills no window is left out.
        """
        length: int = NoteClassifier.data.segment  # type: ignore[attr-defined]
        mono = resample(audio[0, 0].cpu(), sample_rate, self.system.preset.sample_rate)
        count = max(1, len(mono) // length)
        padded = torch.nn.functional.pad(mono, (0, count * length - len(mono))).view(-1, 1, length)
        peak = padded.abs().amax(-1, keepdim=True).clamp(min=1e-3)
        return self.system.condition({"audio": 0.95 * padded / peak})


@functools.cache
def trained(cache: Path | None = None) -> Trained:
    """Return the classifier; it is trained at the first use, and its weights are stored in the cache folder.

    The file name contains a hash of the source code and of the notes.
    """
    sources = "".join(map(inspect.getsource, (framework.paradigms.classification, sys.modules[__name__])))
    data = NoteClassifier.data()
    name = hashlib.sha256(f"{sources} {data.folder.name}".encode()).hexdigest()[:12]  # type: ignore[attr-defined]
    path = (cache or cache_folder()) / "note_classifier" / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            _train(path)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    with torch.random.fork_rng():
        system = NoteClassifier().eval()  # type: ignore[call-arg]
    system.load_state_dict(stored["state_dict"])
    print(f"classifier of notes: {stored['accuracy']:.1%} of held-out notes told right ({path})", file=sys.stderr)
    return Trained(system, stored["accuracy"])


def _train(path: Path) -> None:
    """Train the classifier, measure its accuracy and write it atomically."""
    title = "training the note classifier that metrics need (once, a minute or two)"
    with busy(title, at_once=True), torch.random.fork_rng(), _seeded(NoteClassifier.seed), torch.enable_grad():
        data = NoteClassifier.data()
        data.prepare_data()
        seed_all("note classifier")
        system = NoteClassifier()  # type: ignore[call-arg]
        trainer = L.Trainer(
            max_steps=NoteClassifier.max_steps,
            accelerator="cpu",
            devices=1,
            logger=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        trainer.fit(system, datamodule=data)
    system.eval()
    right = [1 - float(system.measure(batch)["error"]) for batch in data.test_dataloader()]
    with replacing(path) as part:
        torch.save({"state_dict": system.state_dict(), "accuracy": sum(right) / len(right)}, part)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Context manager that sets the run's seed and restores the previous one."""
    before = os.environ.get("PL_GLOBAL_SEED")
    os.environ["PL_GLOBAL_SEED"] = str(seed)
    try:
        yield
    finally:
        os.environ.pop("PL_GLOBAL_SEED")
        if before is not None:
            os.environ["PL_GLOBAL_SEED"] = before
