"""What is known of a clip beside its sound: its pitch, and numbers that its json says."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.index import BadClipError
from datamodules.reader import Reader
from framework.audio.pitch_grid import at_hops


class Labels(NamedTuple):
    """Which labels a batch has, and of which data set.

    Attributes:
        data: Name of the data set, for messages.
        f0_hop: Samples between two values of the pitch; 0 for no pitch.
        fields: Integers in a clip's json.
    """

    data: str
    f0_hop: int
    fields: tuple[str, ...]

    def read(self, reader: Reader, clips: Sequence[int], starts: Sequence[int], samples: int) -> dict[str, Tensor]:
        """Return the labels of segments: `f0` float32 (clips, frames) in Hz, and int64 (clips,) for each field.

        Args:
            reader: Where the clips are.
            clips: Their numbers.
            starts: Where in the clips the segments begin, in samples at the reader's rate.
            samples: Length of the segments; there are `ceil(samples / f0_hop)` frames.

        Raises:
            ValueError: a clip lacks what is asked for; the message names the remedy.
        """
        if not self.f0_hop and not self.fields:
            return {}
        facts = [reader.metadata(clip) for clip in clips]
        found: dict[str, Tensor] = {}
        if self.f0_hop:
            rows = [self._f0(reader, *row, samples) for row in zip(clips, starts, facts, strict=True)]
            found["f0"] = torch.from_numpy(np.stack(rows))
        for field in self.fields:
            values = [self._value(reader.key(clip), known, field) for clip, known in zip(clips, facts, strict=True)]
            found[field] = torch.tensor(values, dtype=torch.int64)
        return found

    def check(self, reader: Reader) -> None:
        """Look at the first sound clip, so that what is missing everywhere is told before anything begins.

        Raises:
            ValueError: it lacks what is asked for.
        """
        if not self.f0_hop and not self.fields:
            return
        for clip in range(len(reader)):
            try:
                reader.clip(clip, 1)
            except BadClipError:
                continue
            self.read(reader, [clip], [0], self.f0_hop or 1)
            return

    def _f0(self, reader: Reader, clip: int, start: int, facts: dict[str, Any], samples: int) -> np.ndarray:
        contents = reader.member(clip, "f0.npy")
        rate = facts.get("frame_rate")
        if contents is None or not isinstance(rate, (int, float)):
            raise ValueError(
                f"{self.data}: the clip {reader.key(clip)} has no f0, which f0_hop = {self.f0_hop} asks for: "
                "pack the recordings with `ostinato pack --f0`, or set f0_hop to 0"
            )
        f0 = load_f0(contents)
        if f0.ndim > 1:
            raise ValueError(
                f"{self.data}: the clip {reader.key(clip)} has {len(f0)} voices at a time and so no one f0: "
                "train on single voices (datamodules.stems.BachStems), or set f0_hop to 0"
            )
        return at_hops(f0, rate, reader.sample_rate, int(start), -(-samples // self.f0_hop), self.f0_hop)

    def _value(self, key: str, facts: dict[str, Any], field: str) -> int:
        value = facts.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            known = sorted(name for name, v in facts.items() if isinstance(v, int) and not isinstance(v, bool))
            raise ValueError(
                f"{self.data}: the clip {key} has no whole number {field!r} in its json, which labels asks for: "
                f"it has {', '.join(known) or 'none'}"
            )
        return value


def load_f0(contents: bytes) -> np.ndarray:
    """Return the array in a clip's `f0.npy`: (values,), or (voices, values) for several voices at a time.

    Raises:
        ValueError: it is no such file.
    """
    f0 = np.load(io.BytesIO(contents), allow_pickle=False)
    if f0.ndim == 0 or f0.ndim > 2 or not f0.size or not np.issubdtype(f0.dtype, np.number):
        raise ValueError(f"f0.npy holds {f0.dtype} {f0.shape} instead of numbers (values,)")
    return f0[0] if len(f0) == 1 and f0.ndim == 2 else f0
