"""Batches in the plan's order, read ahead by a thread or by processes, from any position on."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.shards.index import BadClipError
from datamodules.shards.reader import Reader, as_float
from datamodules.shards.writer import FULL_SCALE
from datamodules.streaming.bad_clips import BadClips, TooManyBadClipsError
from datamodules.streaming.downloads import Downloads
from datamodules.streaming.labels import Labels
from datamodules.streaming.plan import Plan
from framework.processes import end_with_parent, killed_at_exit, leave_signals_to_parent

_AHEAD = 16  # batches
_HANDED = 4  # batches that the thread hands over at a time
_PLANNED = 128  # batches whose plan is worked out at a time
_ATTEMPTS = 100

Position = tuple[int, int]
Batch = dict[str, Any]


class Scaling(NamedTuple):
    """How loud a segment becomes: its clip's peak, or None to leave it, times a random gain in a range."""

    peak: float | None
    gain: tuple[float, float]


class Batches(Dataset):
    """One rank's part of the batch at any position: `batches[epoch, step]`. Any worker can make any of them.

    Args:
        reader: Where the clips are.
        plan: Which clips are in a batch.
        segment: Samples of a segment.
        scaling: How loud.
        labels: The labels that batches hold beside the audio.
        rank: Of this process.
        world: Number of ranks.
    """

    def __init__(
        self, reader: Reader, plan: Plan, segment: int, scaling: Scaling, labels: Labels, rank: int, world: int
    ) -> None:
        self.reader, self.plan, self.segment, self.scaling, self.labels = reader, plan, segment, scaling, labels
        self.rank, self.world = rank, world
        self._planned: tuple[int, int, _Drawn] = (-1, 0, self._draw_block(0, 0, 0))

    def __getitem__(self, position: Position) -> Batch:
        """Return `audio` (clips, 1, segment) as stored, `scale`, `key`, `clip`, `start`, `position`, `bad` and labels.

        `scale` (clips,) float32 is what the stored samples are to be multiplied by, see `finished`.
        """
        drawn = self._draw(*position)
        audio, starts, errors = self.reader.segments(drawn.clips, drawn.crops, self.segment)
        bad: dict[str, tuple[str, str]] = {}
        labels: list[dict[str, Any]] = [{}] * len(starts)
        if not self.labels.empty:
            labels, more = self._read_labels(drawn.clips.tolist(), starts.tolist())
            errors = more | errors
        for slot, error in errors.items():
            bad[self.reader.key(int(drawn.clips[slot]))] = error.kind, str(error)
            audio, starts[slot], labels[slot] = self._replace(position[0], slot, drawn, audio, bad)
        scale = drawn.gains * peak_scale(self.reader.peaks(drawn.clips), self.scaling.peak)
        scale = scale.astype(np.float32) / np.float32(FULL_SCALE if audio.dtype == np.int16 else 1)
        return {
            "audio": torch.from_numpy(audio[:, None]),
            "scale": torch.from_numpy(scale),
            "key": self.reader.keys(drawn.clips),
            "clip": torch.from_numpy(drawn.clips),
            "start": torch.from_numpy(starts),
            "position": position,
            "bad": bad,
        } | self.labels.stacked(labels)

    def _draw(self, epoch: int, step: int) -> "_Drawn":
        # Working out many batches at a time costs hardly more than one.
        known_epoch, first, block = self._planned
        if known_epoch != epoch or not first <= step < first + len(block.clips):
            first = step - step % _PLANNED
            block = self._draw_block(epoch, first, min(first + _PLANNED, self.plan.steps))
            self._planned = epoch, first, block
        row = step - first
        return _Drawn(block.clips[row].copy(), block.passes[row], block.crops[row], block.gains[row])

    def _draw_block(self, epoch: int, first: int, last: int) -> "_Drawn":
        clips, passes = self.plan.local(epoch, first, last, self.rank, self.world)
        low, high = self.scaling.gain
        gains = low + (high - low) * self.plan.gain(epoch, clips, passes)
        return _Drawn(clips, passes, self.plan.crop(epoch, clips, passes), gains)

    def _read_labels(self, clips: list[int], starts: list[int]) -> tuple[list[dict[str, Any]], dict[int, BadClipError]]:
        """Return the labels of segments, and by its place what is wrong with a clip."""
        rows: list[dict[str, Any]] = [{}] * len(clips)
        errors: dict[int, BadClipError] = {}
        for slot, (clip, start) in enumerate(zip(clips, starts, strict=True)):
            try:
                rows[slot] = self.labels.read(self.reader, clip, start, self.segment)
            except BadClipError as error:
                errors[slot] = error
        return rows, errors

    def _replace(
        self, epoch: int, slot: int, drawn: "_Drawn", audio: np.ndarray, bad: dict[str, tuple[str, str]]
    ) -> tuple[np.ndarray, int, dict[str, Any]]:
        """Read another clip in place of a bad one: which one depends on the position alone, not on rank or worker.

        Returns:
            The audio with the other clip's segment, where that begins, and its labels.

        Raises:
            TooManyBadClipsError: so many others are bad, too.
        """
        wanted, passed = int(drawn.clips[slot]), int(drawn.passes[slot])
        for attempt in range(_ATTEMPTS):
            clip = self.plan.replacement(epoch, wanted, passed, attempt)
            found = self.reader.segments(np.array([clip]), drawn.crops[slot : slot + 1], self.segment)
            start = int(found.starts[0])
            (row,), errors = self._read_labels([clip], [start])
            if not (errors := errors | found.errors):
                break
            bad[self.reader.key(clip)] = errors[0].kind, str(errors[0])
        else:
            raise TooManyBadClipsError(
                f"no clip can be used in the place of {self.reader.key(wanted)}: {_ATTEMPTS} others were tried, the "
                f"last of them is {self.reader.key(clip)} ({errors[0]})"
            )
        if audio.dtype != found.audio.dtype:
            audio, found = as_float(audio), found._replace(audio=as_float(found.audio))
        audio[slot], drawn.clips[slot] = found.audio[0], clip
        return audio, start, row


class _Drawn(NamedTuple):
    """What was drawn for some places of an epoch's order: clips, which time they come, place of the crop, gain."""

    clips: np.ndarray
    passes: np.ndarray
    crops: np.ndarray
    gains: np.ndarray


class Loader:
    """The training batches of one rank, from the module's position to the end of the epoch.

    `position` is asked when the first batch is asked for, after any restoring, and batches go on being read ahead from
    one epoch to the next. Every rank has the same number of batches, `len(loader)`.

    Args:
        batches: What is at each position.
        position: Returns where to begin.
        bad_clips: Where bad clips are counted.
        workers: Processes that read ahead; 0 for a thread, which is faster unless decoding is heavy.
        as_stored: Whether `finished` is left to whoever gets the batches, once they are on the device.
    """

    def __init__(
        self,
        batches: Batches,
        position: Callable[[], Position],
        bad_clips: BadClips,
        workers: int = 0,
        as_stored: bool = False,
    ) -> None:
        self.batches, self.position, self.bad_clips, self.workers = batches, position, bad_clips, workers
        self.as_stored = as_stored
        self._ahead: Iterator[Batch] | None = None
        self._next: Position | None = None
        self._downloads: Downloads | None = None

    def __len__(self) -> int:
        return self.batches.plan.steps

    def __iter__(self) -> Iterator[Batch]:
        epoch, step = self.position()
        if self._ahead is None or self._next != (epoch, step):
            self.close()
            self._ahead = self._read_ahead((epoch, step))
            self._downloads = Downloads.needed(self.batches.reader, self.batches.plan, (epoch, step))
        for current in range(step, len(self)):
            batch = next(self._ahead)
            self._next = (epoch, current + 1) if current + 1 < len(self) else (epoch + 1, 0)
            if self._downloads:
                self._downloads.position = self._next
            self.bad_clips.add(batch.pop("bad"))
            yield batch

    def close(self) -> None:
        """Stop reading ahead."""
        if self._ahead is not None and hasattr(self._ahead, "close"):
            self._ahead.close()
        if self._downloads:
            self._downloads.stop()
        self._downloads = None
        self._ahead = self._next = None

    def _read_ahead(self, start: Position) -> Iterator[Batch]:
        positions = _Positions(start, len(self))
        if not self.workers:
            return _in_thread(positions, self._make)
        made = DataLoader(
            self.batches,
            batch_size=None,
            sampler=positions,
            num_workers=self.workers,
            prefetch_factor=max(2, _AHEAD // self.workers),
            collate_fn=_as_is,
            worker_init_fn=_become_worker,
        )
        with killed_at_exit():
            batches = iter(made)
        return batches if self.as_stored else map(finished, batches)

    def _make(self, position: Position) -> Batch:
        batch = self.batches[position]
        return batch if self.as_stored else finished(batch)


class _Positions:
    """All positions from one on, without end, so that workers stay over the end of an epoch."""

    def __init__(self, start: Position, steps: int) -> None:
        self.start, self.steps = start, steps

    def __iter__(self) -> Iterator[Position]:
        epoch, step = self.start
        while True:
            yield epoch, step
            epoch, step = (epoch, step + 1) if step + 1 < self.steps else (epoch + 1, 0)


def finished(batch: Batch) -> Batch:
    """Make `audio` float32 (batch, 1, segment), as loud as it should be, of the samples as they are stored.

    That is done behind the border between processes and on the device, to which 16 bit samples go at half the size. A
    batch that is finished already stays as it is.
    """
    if "scale" not in batch:
        return batch
    audio = batch["audio"].float().mul_(batch["scale"][:, None, None])
    return {name: value for name, value in batch.items() if name != "scale"} | {"audio": audio}


def peak_scale(peaks: np.ndarray, peak: float | None) -> np.ndarray:
    """Return the factors that bring clips of these peaks to one peak; silence stays as it is."""
    return np.where(peaks > 0, peak / np.maximum(peaks, 1e-9), 1.0) if peak is not None else np.ones_like(peaks)


def _in_thread(positions: Iterable[Position], make: Callable[[Position], Batch]) -> Iterator[Batch]:
    """Yield what `make` makes of the positions, made ahead by a thread that ends with the iterator."""
    # Several batches are handed over at a time, as each handing over makes the two threads wait for one another.
    made: queue.Queue[list[Batch | BaseException]] = queue.Queue(_AHEAD // _HANDED)
    stopped = threading.Event()

    def work() -> None:
        left = iter(positions)
        failed = False
        while not (failed or stopped.is_set()):
            items: list[Batch | BaseException] = []
            while len(items) < _HANDED and not failed:
                try:
                    items.append(make(next(left)))
                except BaseException as error:
                    items.append(error)
                    failed = True
            while not stopped.is_set():
                with contextlib.suppress(queue.Full):
                    made.put(items, timeout=0.2)
                    break

    thread = threading.Thread(target=work, daemon=True, name="reading ahead")
    thread.start()
    try:
        while True:
            for item in made.get():
                if isinstance(item, BaseException):
                    raise item
                yield item
    finally:
        stopped.set()
        thread.join(timeout=5)


def _as_is(batch: Any) -> Any:
    return batch


def _become_worker(number: int) -> None:
    leave_signals_to_parent()
    end_with_parent()
