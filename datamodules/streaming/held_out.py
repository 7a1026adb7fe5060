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
from framework.data_module import DataModule
from framework.errors import InvalidValueError

SILENCE = 1e-4
"""Peak below which a clip counts as silent: -80 dB."""
QUIET = 1e-3
"""Peak of a frame, as a part of its clip's, below which it counts as silent: -60 dB."""


RECORDING = ("recording", "piece", "speaker", "source")
"""Metadata of a clip that name what it is a part of, the first of them that is there: clips of one are not
independent."""


class NoHeldOutError(InvalidValueError):
    """Nothing is held out, so that a run could not be measured."""


class HeldOut:
    """Clips as batches of one: `audio` float32 (1, 1, time), `key`, and labels.

    They come in a fixed random order, so that the first few are of many pieces, and those of several data sets in turn.
    Clips that are damaged or silent are left out and logged; `bad` counts them. A clip longer than `longest` is cut to
    its beginning, or, if that is silent, to the first segment with the most sound. Clips shorter than a training
    segment are padded to it with zeros, as in training.

    Args:
        reader: Where they are; None for no clips.
        parts: How many clips each data set has, whose clips follow one another.
        clips: How many; None for all.
        longest: Samples that longer clips are cut to.
        shortest: Samples that shorter clips are padded to.
        peak: They are scaled to this; None leaves them as they are.
        labels: The labels that batches hold beside the audio.
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
        self.bad = BadClips(total, share=float("inf"))
        self._starts: dict[int, int] = {}
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
                audio, start = self._segment(clip)
                length = max(len(audio), self.shortest)
                labels = self.labels.read(self.reader, clip, start, length)
            except BadClipError as error:
                self.bad.add({self.reader.key(clip): (error.kind, str(error))})
                continue
            given += 1
            audio = audio * peak_scale(self.reader.peaks(np.array([clip])), self.peak).astype(np.float32)
            audio = np.pad(audio, (0, length - len(audio)))
            batch = {"audio": torch.from_numpy(audio)[None, None], "key": [self.reader.key(clip)]}
            batch |= self._recording(clip)
            yield batch | self.labels.stacked([labels])

    def _recording(self, clip: int) -> dict[str, list[str]]:
        """Return what a clip is a part of, where its metadata say so: a piece, a speaker, or the packed file."""
        assert self.reader is not None
        try:
            facts = self.reader.metadata(clip)
        except BadClipError:
            return {}
        named = next((facts[name] for name in RECORDING if isinstance(facts.get(name), str)), None)
        return {} if named is None else {"recording": [named]}

    def _segment(self, clip: int) -> tuple[np.ndarray, int]:
        """Return the samples of a clip that are measured, and where they begin.

        Raises:
            BadClipError: the clip cannot be used, or is silent.
        """
        assert self.reader is not None
        if clip not in self._starts:
            audio = self.reader.clip(clip, self.longest)
            peak = float(self.reader.peaks(np.array([clip]))[0])
            if np.abs(audio).max(initial=0) >= max(SILENCE, peak * QUIET):
                self._starts[clip] = 0
                return audio, 0
            self._starts[clip] = place_with_sound(self.reader, clip, self.longest)
        start = self._starts[clip]
        return self.reader.clip(clip, self.longest, start), start


def place_with_sound(reader: Reader, clip: int, samples: int) -> int:
    """Return the first place (in samples) from which a segment has the most frames of 0.1 s with sound.

    Raises:
        BadClipError: the clip cannot be read, or is silent.
    """
    frame = max(reader.sample_rate // 10, 1)
    length, block = reader.length(clip), 100 * frame
    peaks = []
    for begin in range(0, length, block):
        audio = np.abs(reader.clip(clip, min(block, length - begin), begin))
        peaks.append(np.pad(audio, (0, -len(audio) % frame)).reshape(-1, frame).max(1))
    highest = np.concatenate([*peaks, [0.0]])[:-1]
    if highest.max(initial=0) < SILENCE:
        raise BadClipError("silent", "no sample reaches -80 dB")
    sounding = np.cumsum([0, *(highest >= max(SILENCE, float(highest.max()) * QUIET))])
    frames = min(max(samples // frame, 1), len(highest))
    place = int(np.argmax(sounding[frames:] - sounding[:-frames])) * frame
    return max(min(place, length - samples), 0)


def check_held_out(data: DataModule) -> None:
    """Check that a held-out clip can be used, unless none is wanted.

    Raises:
        NoHeldOutError: none can be used; the message says why, and what to do.
    """
    if not data.holds_out:
        return
    clips = data.val_dataloader()
    for _ in clips:
        return
    bad = clips.bad.details if isinstance(clips, HeldOut) else {}
    found = f"no held-out clip can be used ({', '.join(bad)})" if bad else "no clip is held out"
    remedy = "add recordings, or cut the ones that there are into several files"
    if data.held_out_advice:
        remedy += f"; {data.held_out_advice}"
    raise NoHeldOutError(f"{type(data).__name__}: {found}, so nothing would be measured: {remedy}")
