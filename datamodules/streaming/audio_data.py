"""Audio from packed shards: random segments to train on, and whole held-out clips."""

import functools
import hashlib
import itertools
import logging
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from datamodules.shards.index import cached_index
from datamodules.shards.reader import Reader
from datamodules.shards.remote import RemoteCache, is_remote, local_path
from datamodules.shards.writer import SPLITS, read_data_set
from datamodules.streaming.bad_clips import BadClips
from datamodules.streaming.held_out import HeldOut
from datamodules.streaming.labels import Labels
from datamodules.streaming.loader import Batch, Batches, Loader, Scaling, finished
from datamodules.streaming.plan import Plan
from framework.annotations import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Range,
    Seed,
    UnitInterval,
)
from framework.data_module import DataModule
from framework.errors import InvalidValueError
from framework.hyperparameters import Hyperparameters, added, runtime

_log = logging.getLogger(__name__)
_SHOWN = 5
_IN_BATCHES = {"audio", "scale", "key", "clip", "start", "position", "bad", "f0", "score"}


class _Source(NamedTuple):
    """A shard: which part of a mixture it belongs to, where it is, and its entry in the manifest, if there is one."""

    part: int
    url: str
    record: dict[str, Any] | None


class AudioData(Hyperparameters, DataModule):
    """Audio from packed shards, in an order that depends on the seed alone.

    A training batch has `audio` float32 (batch, 1, segment), `key` (names of the clips), `clip` (their numbers, for
    `reader("train").member(...)`), `start` (of the segments, in samples) and `position` (epoch, step). Each clip comes
    once an epoch at a random place; the remainder that fills no batch is dropped, another one each epoch. The order
    does not change with workers or devices, and a run continues behind the last batch it was trained on.

    Where they are asked for, batches have `f0` float32 (batch, frames): the pitch in Hz at every `f0_hop`-th sample, 0
    where there is none, `ceil(time / f0_hop)` frames; `score` float32 (batch, 128, frames): 1 where a MIDI number
    sounds, at every `score_hop`-th sample; and each of `labels` as int64 (batch,). A held-out batch has one clip,
    `audio` and `key`, and these.

    A subclass says where its shards are by overriding `folder`, or `manifest` and `shards`.

    Args:
        sample_rate: Hz; clips of another rate are resampled on load, and several channels averaged.
        segment: Length of a training example in samples; shorter clips are padded with zeros.
        batch_size: Clips in a batch over all devices, which share it equally.
        peak: Each clip is scaled so that its greatest absolute value is this; None leaves it as it is.
        gain: Range of a random factor that each segment is multiplied by.
        crops_per_clip: How often a clip comes in an epoch, each time at another place.
        window: Number of clips among which the order is random, shards following in random order; 0 shuffles all. A
            window of a few shards' clips keeps few remote shards in use at a time.
        seed: Of order, places and gains.
        workers: Processes that read ahead; 0 for a thread of this one, which is faster except for heavy decoding.
        validation_clips: How many held-out clips are validated on: always the same ones.
        validation_seconds: Held-out clips are cut to this length: to their beginning, or, if that is silent, to the
            first segment with the most sound.
        bad_share: Part of the clips that may be unusable before the run stops; others take their places until then.
        cache_gigabytes: Room for copies of remote shards.
        f0_hop: Samples between two values of a batch's `f0`; 0 for a batch without.
        score_hop: Samples between two frames of a batch's `score`; 0 for a batch without.
        labels: Names of integers in the clips' json that a batch has as tensors.
    """

    sample_rate: PositiveInt = 22050
    segment: PositiveInt = 8192
    batch_size: PositiveInt = 16
    peak: Annotated[float, Range(above=0, most=1)] | None = 0.95
    gain: tuple[NonNegativeFloat, NonNegativeFloat] = (1.0, 1.0)
    crops_per_clip: PositiveInt = 1
    window: NonNegativeInt = 0
    seed: Seed = 0
    workers: NonNegativeInt = runtime(0)
    validation_clips: NonNegativeInt = 8
    validation_seconds: PositiveFloat = 4.0
    bad_share: UnitInterval = runtime(0.05)
    cache_gigabytes: NonNegativeFloat = runtime(50.0)
    f0_hop: NonNegativeInt = added(0)
    score_hop: NonNegativeInt = added(0)
    labels: tuple[str, ...] = added(())

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: gains in the wrong order, or a label that is called like something else in a batch.
        """
        if self.gain[0] > self.gain[1]:
            raise InvalidValueError(f"{self._name}.gain = {self.gain}: put the lesser first")
        if taken := set(self.labels) & _IN_BATCHES:
            raise InvalidValueError(f"{self._name}.labels: {min(taken)!r} is the name of something else in a batch")
        self._bad_before: dict[str, str] = {}
        self._readers: dict[str, Reader] = {}
        self._held_out: dict[tuple[Any, ...], HeldOut] = {}

    @functools.cached_property
    def folder(self) -> Path | str:
        """The packed data set, a path or URL of what has a `dataset.json`; known after `prepare_data`."""
        raise NotImplementedError(f"{self._name} has to say where its shards are")

    @functools.cached_property
    def manifest(self) -> dict[str, Any] | None:
        """The data set's `dataset.json`, or None for shards that have none."""
        return read_data_set(self.folder)

    def shards(self, split: str) -> list[str]:
        """Return paths or URLs of the shards of a split: train, validation or test."""
        return [f"{str(self.folder).rstrip('/')}/{shard['name']}" for shard in self._records(split) or ()]

    @functools.cached_property
    def parts(self) -> tuple["AudioData", ...]:
        """The data sets that the clips come from: this one alone, unless it is a `Mixture`."""
        return (self,)

    def fingerprint(self) -> str:
        """Return a hash of all clips; where there is a manifest, the same in whatever format they are packed."""
        if self.manifest is not None:
            return self.manifest["hash"][:16]
        hashes = [self.reader(split).hash for split in SPLITS if self.shards(split)]
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]

    @property
    def licences(self) -> set[str]:
        """Licences of the clips of all data sets, as they were given when these were packed."""
        return {found for part in self.parts if (found := (part.manifest or {}).get("licence"))}

    def summary(self) -> str:
        """Return one line on the number and the duration of the clips."""
        lengths = self.reader("train").lengths()
        hours = lengths.sum() / self.sample_rate / 3600
        short = (lengths < self.segment).mean()
        held_out = len(self.val_dataloader()) if self.holds_out else 0
        notes = f", {short:.0%} shorter than a segment (padded with zeros)" if short else ""
        return f"{len(lengths):,} clips, {hours:.2f} h at {self.sample_rate} Hz, {held_out} held out{notes}"

    def reader(self, split: str) -> Reader:
        """Return what reads the clips of a split by number: those of the first part, of the second, and so on.

        Raises:
            ValueError: the split has no shards, or one cannot be read.
        """
        if split not in self._readers:
            sources = self._sources(split)
            if not sources:
                raise InvalidValueError(f"{self._name}: there are no clips for {split}")
            known = [source.record for source in sources if source.record is not None]
            self._readers[split] = Reader(
                [source.url for source in sources],
                self.sample_rate,
                counts=[record["clips"] for record in known] if len(known) == len(sources) else None,
                hashes=[source.record["sha256"] if source.record else "" for source in sources],
                sizes=[source.record.get("bytes") if source.record else None for source in sources],
                prefixes=[f"{source.part + 1}_" if len(self.parts) > 1 else "" for source in sources],
                cache=RemoteCache(self.cache_gigabytes),
            )
        return self._readers[split]

    @functools.cached_property
    def plan(self) -> Plan:
        """The order of the training clips.

        Raises:
            ValueError: no clip is as long as a segment, or the cache is too small for the remote shards.
        """
        self._check_cache()
        reader, records = self.reader("train"), [source.record or {} for source in self._sources("train")]
        if all("longest" in record for record in records):
            longest = max(round(record["longest"] * self.sample_rate) for record in records)
        else:
            longest = int(reader.lengths().max(initial=0))
        if longest == 0:
            raise InvalidValueError(f"{self._name}: no clip can be used: {self._why_none(reader)}")
        if longest < self.segment:
            raise InvalidValueError(
                f"{self._name}: a segment has {self.segment} samples, but the longest clip only {longest} "
                f"at {self.sample_rate} Hz: lower --data.segment, or use longer recordings"
            )
        return Plan(reader.counts, self.seed, self.batch_size, self._crops(), self.window)

    @functools.cached_property
    def bad_clips(self) -> BadClips:
        """The account of training clips that this process could not use, before a resume too."""
        return BadClips(len(self.reader("train")), self.bad_share, self._bad_before)

    def bad_clip_counts(self) -> dict[str, int]:
        """Return how many training clips could not be used so far, by the kind of damage."""
        return self.bad_clips.counts

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, the same on every device."""
        return self.plan.steps

    def train_dataloader(self) -> Loader:
        """Return this rank's batches from the position on.

        While Lightning's Trainer trains, the batches have 16 bit `audio` with a `scale` for each clip, which
        `on_after_batch_transfer` turns into float32 on the device; else they are float32 from the start.

        Raises:
            ValueError: the data cannot be used, or not on this number of devices.
        """
        plan, reader = self.plan, self.reader("train")
        rank, world = self.rank_and_world
        plan.local(0, 0, 0, rank, world)
        known = {reader.key(clip): (error.kind, str(error)) for clip, error in reader.bad_clips().items()}
        self.bad_clips.add(known | self._cut("train"))
        self._warn_of_cut_clips(reader)
        self._labels.check(reader)
        batches = Batches(reader, plan, self.segment, Scaling(self.peak, self.gain), self._labels, rank, world)
        self.teardown("fit")
        training = getattr(self.trainer, "training", False)
        self._loader = Loader(batches, lambda: self.position, self.bad_clips, self.workers, as_stored=training)
        return self._loader

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make float32 audio of what has arrived on the device at half the size; called by Lightning."""
        return finished(batch)

    def held_out(self, split: str, clips: int | None = None) -> HeldOut:
        """Return the first held-out clips of a split, one a batch, the same on every rank.

        Without a number, `validation_clips` of the validation, and all of the test.
        """
        clips = self.validation_clips if clips is None and split == "validation" else clips
        reader = self.reader(split) if self._sources(split) else None
        longest = round(self.validation_seconds * self.sample_rate)
        # Kept, so that what is wrong with a clip is said once.
        key = split, clips, longest, self.segment, self.peak, self._labels
        if key not in self._held_out:
            found = HeldOut(reader, self._clips_of_parts(split), clips, longest, self.segment, self.peak, self._labels)
            found.bad.add(self._cut(split))
            self._held_out[key] = found
        return self._held_out[key]

    def state_dict(self) -> dict[str, Any]:
        """Return position and bad clips, and what has to be unchanged for the position to mean the same batches."""
        known = self.bad_clips.found if "bad_clips" in vars(self) else self._bad_before
        return super().state_dict() | {"bad_clips": dict(known)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a stored position.

        Raises:
            ValueError: the order is another one now; the message names what has changed.
        """
        super().load_state_dict(state_dict)
        self._bad_before = state_dict.get("bad_clips", {})
        vars(self).pop("bad_clips", None)

    def order(self) -> dict[str, Any]:
        """Return what has to be unchanged for a position to mean the same batches, by name."""
        return super().order() | {"crops_per_clip": self.crops_per_clip, "window": self.window}

    def _crops(self) -> float | tuple[float, ...]:
        """Return how often a clip comes in an epoch, one number for all shards or one for each."""
        return self.crops_per_clip

    def _sources(self, split: str) -> list[_Source]:
        """Return the shards of a split of all parts."""
        return [
            _Source(number, url, record)
            for number, part in enumerate(self.parts)
            for url, record in zip(part.shards(split), part._records(split) or itertools.repeat(None), strict=False)
        ]

    def _clips_of_parts(self, split: str) -> list[int]:
        """Return the number of clips of each part in a split."""
        clips, sources = [0] * len(self.parts), self._sources(split)
        for source, count in zip(sources, self.reader(split).counts if sources else (), strict=True):
            clips[source.part] += count
        return clips

    def _records(self, split: str) -> list[dict[str, Any]] | None:
        return None if self.manifest is None else self.manifest["shards"][split]

    def _cut(self, split: str) -> dict[str, tuple[str, str]]:
        """Return the ends of shards that are lost, where no manifest says how many clips they had."""
        local = [local_path(s.url) for s in self._sources(split) if s.record is None and not is_remote(s.url)]
        found = {f"what followed in {path}": cached_index(path).damages for path in local}
        return {name: (d.kind, d.detail) for name, damages in found.items() for d in damages if d.clip < 0}

    def _warn_of_cut_clips(self, reader: Reader) -> None:
        cut = reader.cut_short()
        if cut:
            listed = "; ".join(f"{name}: {detail}" for name, detail in list(cut.items())[:_SHOWN])
            _log.warning(
                "%s: %d clips are damaged or cut short, and used up to there: %s", self._name, len(cut), listed
            )

    def _why_none(self, reader: Reader) -> str:
        """Return what is wrong with clips of which none can be used."""
        reasons = {f"{reader.key(clip)}: {error}": None for clip, error in reader.bad_clips().items()}
        reasons |= {f"{name}: {detail}": None for name, (_, detail) in self._cut("train").items()}
        listed = list(reasons)
        more = f"; and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        return "; ".join(listed[:_SHOWN]) + more if listed else "the shards are empty"

    @property
    def _labels(self) -> Labels:
        return Labels(self._name, self.f0_hop, self.score_hop, self.labels)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_cache(self) -> None:
        remote = [source for source in self._sources("train") if source.record and is_remote(source.url)]
        size = sum(source.record["bytes"] for source in remote if source.record) / 1e9
        if not self.window and size > self.cache_gigabytes:
            raise InvalidValueError(
                f"{self._name}: {size:.1f} GB of remote shards exceed the cache of {self.cache_gigabytes:g} GB: "
                "raise --data.cache_gigabytes, or set --data.window to the number of clips in a few shards"
            )
