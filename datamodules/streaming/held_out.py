"""Held-out clips: whole, in a fixed order, one at a time."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from datamodules.shards.index import BadClipError
from datamodules.shards.reader import Reader
from datamodules.streaming.bad_clips import BadClips
from datamodules.streaming.labels import Labels
from datamodules.streaming.loader import Batch, peak_scale
from datamodules.streaming.plan import VALIDATION, uniform


class HeldOut:
    """Clips as batches of one: `audio` float32 (1, 1, time), `key`, and labels.

    They come in a fixed random order, so that the first few are of many pieces, and those of several data sets in turn.
    Bad ones are left out and logged. Clips shorter than a training segment are padded to it with zeros, as in training.

    Args:
        reader: Where they are; None for no clips.
        parts: How many clips each data set has, whose clips follow one another.
        clips: How many; None for all.
        longest: Samples that longer clips are cut to.
        shortest: Samples that shorter clips are padded to.
        peak: They are scaled to this; None leaves them as they are.
        labels: What else is told of a clip.
    """

    def __init__(
        self,
        reader: Reader | None,
        parts: Sequence[int],
        clips: int | None,
        longest: int,
        shortest: int,
        peak: float | None,
        labels: Labels,
    ) -> None:
        self.reader, self.longest, self.shortest, self.peak = reader, longest, shortest, peak
        self.labels = labels
        total = len(reader) if reader else 0
        self.bad = BadClips(total, share=1.0)
        self.clips = total if clips is None else min(clips, total)
        turns = [np.argsort(np.argsort(uniform(VALIDATION, np.arange(part)), kind="stable")) for part in parts]
        self._order = np.argsort(np.concatenate([*turns, []]), kind="stable").tolist()

    def __len__(self) -> int:
        return self.clips

    def __iter__(self) -> Iterator[Batch]:
        given = 0
        if self.reader:
            self.labels.check(self.reader)
        for clip in self._order:
            if given == self.clips:
                return
            assert self.reader is not None
            try:
                audio = self.reader.clip(clip, self.longest)
                length = max(len(audio), self.shortest)
                labels = self.labels.read(self.reader, clip, 0, length)
            except BadClipError as error:
                self.bad.add({self.reader.key(clip): (error.kind, str(error))})
                continue
            given += 1
            audio = audio * peak_scale(self.reader.peaks(np.array([clip])), self.peak).astype(np.float32)
            audio = np.pad(audio, (0, length - len(audio)))
            batch = {"audio": torch.from_numpy(audio)[None, None], "key": [self.reader.key(clip)]}
            yield batch | self.labels.stacked([labels])
