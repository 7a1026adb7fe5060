"""Windows of songs as one level of whole-song generation sees them, in batches of a fixed order."""

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.streaming.bad_clips import BadClips
from datamodules.streaming.loader import Batch, Loader, Position
from datamodules.streaming.plan import VALIDATION, Plan, uniform
from framework.annotations import NonEmpty, NonNegativeFloat, NonNegativeInt, PositiveInt, Range, Seed
from framework.data_module import DataModule
from framework.errors import InvalidValueError
from framework.hyperparameters import Hyperparameters, runtime
from framework.music.layouts import Layout, window
from framework.music.songs import Song

# What a random number is drawn for, beside the plan's own purposes.
_SHIFT, _SEGMENTS = 101, 102


class SongLevel(Hyperparameters, DataModule):
    """Windows of songs at one level: what it makes, what the levels above made, and earlier segments to look back at.

    A batch has `image` float32 (batch, channels, window, pitch) with the level's own channels first, `segments`
    (batch, channels, segment_rows, pitch) if the level looks back, and `key`. The order is a function of seed, epoch
    and step; training goes on where it was left.

    Args:
        batch_size: Windows in a batch, over all ranks.
        shift: Least and greatest number of semitones by which a song is transposed, drawn anew each time.
        segment_shares: How often none, one, two ... earlier segments are looked back at.
        seed: Another seed is another order.
        workers: Processes that read ahead; 0 for a thread.
        validation_clips: Windows that are validated on.
    """

    layout: ClassVar[Layout]
    sample_rate: ClassVar[int] = 22_050
    """Hz at which a window is heard."""

    batch_size: PositiveInt = 16
    shift: tuple[Annotated[int, Range(-60, 60)], Annotated[int, Range(-60, 60)]] = (-6, 5)
    segment_shares: NonEmpty[NonNegativeFloat] = (0.1, 0.2, 0.7)
    seed: Seed = 0
    workers: NonNegativeInt = runtime(0)
    validation_clips: NonNegativeInt = 8

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: the shares of segments are not one more than there are segments.
        """
        super().build()
        if self.shift[0] > self.shift[1]:
            raise InvalidValueError(
                f"{type(self).__name__}.shift = {self.shift}: the first must not be above the second"
            )
        if self.layout.segments and len(self.segment_shares) != self.layout.segments + 1:
            raise InvalidValueError(
                f"{type(self).__name__}.segment_shares has {len(self.segment_shares)} shares: a level that looks back "
                f"at up to {self.layout.segments} segments needs {self.layout.segments + 1}"
            )

    @abstractmethod
    def songs(self, split: str) -> tuple[Song, ...]:
        """Return the songs of a split: `train`, `validation` or `test`."""

    @functools.cached_property
    def segment(self) -> int:
        """Rows of a window."""
        return self.layout.window

    @functools.cached_property
    def bad_clips(self) -> BadClips:
        """The account of bad clips: there are none."""
        return BadClips(len(self.windows("train")), 0.0)

    def windows(self, split: str) -> "Windows":
        """Return all windows of a split, one for each unit at which one can begin."""
        return Windows(self, self.songs(split))

    def fingerprint(self) -> str:
        """Return a hash of the songs as this level sees them."""
        return self._songs_hash

    @functools.cached_property
    def _songs_hash(self) -> str:
        digest = hashlib.sha256()
        for split in ("train", "validation", "test"):
            for song in self.songs(split):
                image = self.layout.image(song)
                digest.update(f"{split} {song.name} {image.shape}".encode() + np.packbits(image > 0).tobytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def plan(self) -> Plan:
        """The order of the training windows."""
        return Plan((len(self.windows("train")),), self.seed, self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, the same on every device."""
        return self.plan.steps

    def train_dataloader(self) -> Loader:
        """Return this rank's batches from the position on."""
        rank, world = self.rank_and_world
        self.plan.local(0, 0, 0, rank, world)
        batches: Any = Drawn(self.windows("train"), self.plan, self.seed, rank, world)
        self.teardown("fit")
        self._loader = Loader(batches, lambda: self.position, self.bad_clips, self.workers, as_stored=True)
        return self._loader

    def held_out(self, split: str, clips: int | None = None) -> "HeldOutWindows":
        """Return a window of each of the first songs of a split; of validation, `validation_clips` by default."""
        clips = self.validation_clips if clips is None and split == "validation" else clips
        return HeldOutWindows(self.windows(split), clips)


class Windows:
    """The windows of some songs by number.

    Args:
        data: Whose layout is asked.
        songs: The songs.
    """

    def __init__(self, data: SongLevel, songs: tuple[Song, ...]) -> None:
        self.data, self.songs = data, songs
        layout = data.layout
        # A window may begin where half of it, at least, is filled (the official code's choice).
        self.places = [
            (number, start)
            for number, song in enumerate(songs)
            for start in self._starts(song.units * layout.rows(song), layout.rows(song))
        ]

    def __len__(self) -> int:
        return len(self.places)

    def _starts(self, length: int, rows: int) -> range:
        layout = self.data.layout
        if not layout.segments:
            return range(1) if length <= layout.window else range(0)
        return range(0, max(length - layout.window // 2, 1), rows)

    def window(self, number: int, semitones: int, segments: int) -> dict[str, Any]:
        """Return a window, of its song transposed, with some earlier segments."""
        which, start = self.places[number]
        layout, song = self.data.layout, self.songs[which]
        song = song.transposed(semitones) if semitones else song
        image = layout.image(song)
        found: dict[str, Any] = {"image": torch.from_numpy(window(image, start, layout.window))}
        if layout.segments:
            found["segments"] = torch.from_numpy(layout.earlier(image, song, start, segments))
        return found | {"key": f"{song.name}-{start:04d}"}


class Drawn(Dataset):
    """One rank's part of the batch at any position: `drawn[epoch, step]`."""

    urls = ()

    def __init__(self, windows: Windows, plan: Plan, seed: int, rank: int, world: int) -> None:
        self.windows, self.plan, self.seed, self.rank, self.world = windows, plan, seed, rank, world

    @property
    def reader(self) -> "Drawn":
        """What is asked for shards to download: this, which has none."""
        return self

    def __getitem__(self, position: Position) -> Batch:
        """Return `image`, `segments` if the level looks back, `key`, `position` and `bad`, which is empty."""
        epoch, step = position
        clips, passes = (row[0] for row in self.plan.local(epoch, step, step + 1, self.rank, self.world))
        data = self.windows.data
        low, high = data.shift
        shifts = low + np.floor(uniform(self.seed, epoch, _SHIFT, clips, passes) * (high - low + 1)).astype(int)
        shares = np.cumsum(data.segment_shares) / sum(data.segment_shares)
        segments = np.searchsorted(shares, uniform(self.seed, epoch, _SEGMENTS, clips, passes), "right")
        drawn = [
            self.windows.window(clip, shift, count)
            for clip, shift, count in zip(clips.tolist(), shifts.tolist(), segments.tolist(), strict=True)
        ]
        return together(drawn) | {"position": position, "bad": {}}


class HeldOutWindows:
    """A window of each song as batches of one, the same each time, with as many earlier segments as there are.

    Args:
        windows: Of the songs.
        clips: How many; None for one of each song.
    """

    def __init__(self, windows: Windows, clips: int | None) -> None:
        self.windows = windows
        places: dict[int, list[int]] = {}
        for number, (song, _) in enumerate(windows.places):
            places.setdefault(song, []).append(number)
        self.numbers = [numbers[int(uniform(VALIDATION, song)[0] * len(numbers))] for song, numbers in places.items()][
            :clips
        ]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch]:
        most = self.windows.data.layout.segments
        return (together([self.windows.window(number, 0, most)]) for number in self.numbers)


def together(windows: list[dict[str, Any]]) -> Batch:
    """Return windows as one batch."""
    return {
        name: torch.stack([w[name] for w in windows]) if name != "key" else [w[name] for w in windows]
        for name in windows[0]
    }
