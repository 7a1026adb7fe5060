"""What is known of a clip beside its sound: its pitch, the notes that sound, and numbers that its json says."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.arrays import load_array
from datamodules.index import BadClipError
from datamodules.reader import Reader
from framework.audio.pitch_grid import MIDI_NUMBERS, at_hops
from framework.errors import InvalidValueError


class Labels(NamedTuple):
    """Which labels a batch has, and of which data set.

    Attributes:
        data: Name of the data set, for messages.
        f0_hop: Samples between two values of the pitch; 0 for no pitch.
        score_hop: Samples between two frames of the notes that sound; 0 for no notes.
        fields: Integers in a clip's json.
    """

    data: str
    f0_hop: int
    score_hop: int
    fields: tuple[str, ...]

    def read(self, reader: Reader, clips: Sequence[int], starts: Sequence[int], samples: int) -> dict[str, Tensor]:
        """Return the labels of segments.

        These are `f0` float32 (clips, frames) in Hz, `score` float32 (clips, 128, frames), which is 1 where a MIDI
        number sounds, and int64 (clips,) for each field.

        Args:
            reader: Where the clips are.
            clips: Their numbers.
            starts: Where in the clips the segments begin, in samples at the reader's rate.
            samples: Length of the segments; there are `ceil(samples / hop)` frames of each hop.

        Raises:
            ValueError: a clip lacks what is asked for; the message names the remedy.
        """
        if self.empty:
            return {}
        facts = [reader.metadata(clip) for clip in clips]
        found: dict[str, Tensor] = {}
        if self.f0_hop:
            rows = [self._f0(reader, *row, samples) for row in zip(clips, starts, facts, strict=True)]
            found["f0"] = torch.from_numpy(np.stack(rows))
        if self.score_hop:
            rolls = [self._score(reader, *row, samples) for row in zip(clips, starts, facts, strict=True)]
            found["score"] = torch.from_numpy(np.stack(rolls))
        for field in self.fields:
            values = [self._value(reader.key(clip), known, field) for clip, known in zip(clips, facts, strict=True)]
            found[field] = torch.tensor(values, dtype=torch.int64)
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.f0_hop or self.score_hop or self.fields)

    def check(self, reader: Reader) -> None:
        """Look at the first sound clip, so that what is missing everywhere is told before anything begins.

        Raises:
            ValueError: it lacks what is asked for.
        """
        if self.empty:
            return
        for clip in range(len(reader)):
            try:
                reader.clip(clip, 1)
            except BadClipError:
                continue
            self.read(reader, [clip], [0], max(self.f0_hop, self.score_hop, 1))
            return

    def _f0(self, reader: Reader, clip: int, start: int, facts: dict[str, Any], samples: int) -> np.ndarray:
        voices, rate = self._voices(reader, clip, facts, f"f0_hop = {self.f0_hop}")
        if len(voices) > 1:
            raise InvalidValueError(
                f"{self.data}: the clip {reader.key(clip)} has {len(voices)} voices at a time and so no one f0: "
                "train on single voices (datamodules.stems.BachStems), or set --data.f0_hop 0"
            )
        return at_hops(voices[0], rate, reader.sample_rate, int(start), -(-samples // self.f0_hop), self.f0_hop)

    def _score(self, reader: Reader, clip: int, start: int, facts: dict[str, Any], samples: int) -> np.ndarray:
        voices, rate = self._voices(reader, clip, facts, f"score_hop = {self.score_hop}")
        times = int(start) + self.score_hop * np.arange(-(-samples // self.score_hop))
        # The nearest value, not between two: a change of note would pass through all that lie between.
        places = np.rint(times * (rate / reader.sample_rate)).astype(int)
        roll = np.zeros((MIDI_NUMBERS, len(times)), np.float32)
        for voice in voices:
            f0 = np.append(voice, 0.0)[np.minimum(places, len(voice))]
            sounding = np.flatnonzero(f0)
            numbers = np.rint(69 + 12 * np.log2(f0[sounding] / 440)).astype(int)
            roll[numbers.clip(0, MIDI_NUMBERS - 1), sounding] = 1
        return roll

    def _voices(self, reader: Reader, clip: int, facts: dict[str, Any], asker: str) -> tuple[np.ndarray, float]:
        contents, rate = reader.member(clip, "f0.npy"), facts.get("frame_rate")
        if contents is None or not isinstance(rate, (int, float)):
            raise InvalidValueError(
                f"{self.data}: the clip {reader.key(clip)} has no f0, which {asker} asks for: "
                f"pack the recordings with `ostinato pack SOURCE DESTINATION --f0`, or set --data.{asker.split()[0]} 0"
            )
        return np.atleast_2d(load_f0(contents)), rate

    def _value(self, key: str, facts: dict[str, Any], field: str) -> int:
        value = facts.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            known = sorted(name for name, v in facts.items() if isinstance(v, int) and not isinstance(v, bool))
            raise InvalidValueError(
                f"{self.data}: the clip {key} has no whole number {field!r} in its json, which labels asks for: "
                f"it has {', '.join(known) or 'none'}"
            )
        return value


def load_f0(contents: bytes) -> np.ndarray:
    """Return the array in a clip's `f0.npy`: (values,), or (voices, values) for several voices at a time.

    Raises:
        ValueError: it is no such file.
    """
    f0 = load_array(contents)
    if f0.ndim == 0 or f0.ndim > 2 or not f0.size or not np.issubdtype(f0.dtype, np.number):
        raise InvalidValueError(f"f0.npy holds {f0.dtype} {f0.shape} instead of numbers (values,)")
    return f0[0] if len(f0) == 1 and f0.ndim == 2 else f0
