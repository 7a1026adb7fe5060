"""What is known of a clip beside its sound: its pitch, the notes that sound, and numbers that its json says."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.shards.arrays import load_array
from datamodules.shards.index import BadClipError
from datamodules.shards.reader import Reader
from framework.audio.pitch_grid import MIDI_NUMBERS, at_hops
from framework.errors import InvalidValueError

MISSING, DAMAGED = "missing label", "damaged label"
"""Kinds of clips that cannot be used because of a label."""
_LOOKED_AT = 100
"""Sound clips without the labels that are asked for after which it is taken that no clip has them."""
_LARGEST = 1 << 28
"""Bytes of an f0.npy."""
_HIGHEST = 24_000
"""Hz; a pitch above is no pitch."""
_MOST_FRAMES = 1e6
"""Values of the pitch per second."""
_LEAST_COVERED = 0.5
"""Part of a clip that its pitch has to cover: less is the pitch of something else, or at another frame rate."""


class BadLabelError(BadClipError):
    """A clip whose label is missing or damaged.

    Args:
        kind: `MISSING` or `DAMAGED`.
        detail: What is wrong, as it follows "the clip ...".
        remedy: What to do where all clips are like this one.
    """

    def __init__(self, kind: str, detail: str, remedy: str = "") -> None:
        super().__init__(kind, detail)
        self.detail, self.remedy = detail, f": {remedy}" if remedy else ""


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

    def read(self, reader: Reader, clip: int, start: int, samples: int) -> dict[str, Any]:
        """Return the labels of a segment.

        These are `f0` float32 (frames,) in Hz, `score` float32 (128, frames), which is 1 where a MIDI number sounds,
        and an integer for each field.

        Args:
            reader: Where the clip is.
            clip: Its number.
            start: Where in the clip the segment begins, in samples at the reader's rate.
            samples: Length of the segment; there are `ceil(samples / hop)` frames of each hop.

        Raises:
            BadLabelError: the clip lacks what is asked for, or it is damaged.
            BadClipError: its json, or its shard, is damaged.
        """
        if self.empty:
            return {}
        facts = reader.metadata(clip)
        found: dict[str, Any] = {}
        if self.f0_hop:
            found["f0"] = self._f0(reader, clip, start, facts, samples)
        if self.score_hop:
            found["score"] = self._score(reader, clip, start, facts, samples)
        return found | {field: _whole_number(facts, field) for field in self.fields}

    def stacked(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return the labels of several segments as tensors: `f0` (clips, frames), `score` (clips, 128, frames), and
        int64 (clips,) for each field.
        """
        found: dict[str, Tensor] = {}
        for name in ("f0", "score"):
            if rows and name in rows[0]:
                found[name] = torch.from_numpy(np.stack([row[name] for row in rows]))
        return found | {f: torch.tensor([row[f] for row in rows], dtype=torch.int64) for f in self.fields}

    @property
    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.f0_hop or self.score_hop or self.fields)

    def check(self, reader: Reader) -> None:
        """Check that a clip has the labels that are asked for, so that training does not begin without them.

        Raises:
            ValueError: none of the first clips that can be decoded has them.
        """
        if self.empty:
            return
        message, looked_at = "", 0
        for clip in range(len(reader)):
            try:
                reader.clip(clip, 1)
            except BadClipError:
                continue
            try:
                self.read(reader, clip, 0, max(self.f0_hop, self.score_hop, 1))
                return
            except BadLabelError as error:
                message = message or f"{self.data}: the clip {reader.key(clip)} {error.detail}{error.remedy}"
            except BadClipError as error:
                message = message or f"{self.data}: the clip {reader.key(clip)} has no labels: {error}"
            looked_at += 1
            if looked_at == _LOOKED_AT:
                break
        if message:
            raise InvalidValueError(message)

    def _f0(self, reader: Reader, clip: int, start: int, facts: dict[str, Any], samples: int) -> np.ndarray:
        voices, rate = self._voices(reader, clip, facts, f"f0_hop = {self.f0_hop}")
        if len(voices) > 1:
            raise BadLabelError(
                MISSING,
                f"has {len(voices)} voices at a time and so no one f0",
                "train on single voices (datamodules.stems.BachStems), or set --data.f0_hop 0",
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
        contents, rate = reader.member(clip, "f0.npy", _LARGEST), facts.get("frame_rate")
        if contents is None or isinstance(rate, bool) or not isinstance(rate, (int, float)):
            lacking = "f0" if contents is None else "frame_rate in its json"
            raise BadLabelError(
                MISSING,
                f"has no {lacking}, which {asker} asks for",
                f"pack the recordings with `ostinato pack SOURCE DESTINATION --f0`, or set --data.{asker.split()[0]} 0",
            )
        try:
            voices = np.atleast_2d(load_f0(contents))
        except ValueError as error:
            raise BadLabelError(DAMAGED, f"has a damaged f0.npy: {error}") from None
        if not 0 < rate <= _MOST_FRAMES:
            raise BadLabelError(DAMAGED, f"has an impossible frame_rate in its json: {rate!r}")
        seconds, labelled = reader.seconds(clip), voices.shape[1] / rate
        if labelled < _LEAST_COVERED * seconds - 1 / rate:
            raise BadLabelError(DAMAGED, f"has an f0.npy that ends after {labelled:.2f} of {seconds:.2f} s")
        return voices, rate


def _whole_number(facts: Mapping[str, Any], field: str) -> int:
    value = facts.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        known = sorted(name for name, v in facts.items() if isinstance(v, int) and not isinstance(v, bool))
        raise BadLabelError(
            MISSING,
            f"has no whole number {field!r} in its json, which labels asks for: it has {', '.join(known) or 'none'}",
        )
    if not -(2**63) <= value < 2**63:
        raise BadLabelError(DAMAGED, f"has a number {field!r} in its json that is too large: {str(value)[:20]}...")
    return value


def load_f0(contents: bytes) -> np.ndarray:
    """Return the array in a clip's `f0.npy`: (values,), or (voices, values) for several voices at a time.

    Raises:
        ValueError: it is no such file, or a value is no frequency in Hz.
    """
    f0 = load_array(contents)
    if f0.ndim == 0 or f0.ndim > 2 or not f0.size or f0.dtype.kind not in "iuf":
        raise InvalidValueError(f"it holds {f0.dtype} {f0.shape} instead of numbers (values,)")
    if not np.isfinite(f0).all():
        raise InvalidValueError("it has values that are NaN or infinite")
    low, high = f0.min(), f0.max()
    if low < 0 or high > _HIGHEST:
        raise InvalidValueError(f"it has values from {low:.6g} to {high:.6g} Hz, outside of 0 to {_HIGHEST:,} Hz")
    return f0[0] if len(f0) == 1 and f0.ndim == 2 else f0
