"""Recordings of any format, decoded block by block to their end."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import soundfile

from framework.audio.decoding.chunks import chunk_layout
from framework.audio.decoding.contents import Contents, ContentsFile, FileContents
from framework.audio.decoding.flac import flac_layout
from framework.audio.decoding.kinds import CONVERT, foreign_kind
from framework.audio.decoding.layout import DIRECT, Layout, Part
from framework.audio.decoding.mpeg import mpeg_layout
from framework.audio.decoding.ogg import ogg_layout
from framework.errors import OstinatoError

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Hz; a rate outside is damage, or no recording of sound."""
MOST_CHANNELS = 256

LEAD_IN = {"MP3": 8 * 1152, "OGG": 8192}
"""Samples that these decoders need before those that are wanted, to decode them as they would from the beginning."""

_NOT_RECOGNISED = 1  # libsndfile's error for files of no format that it knows
_BLOCK = 1 << 18  # samples of all channels that are decoded at a time
_LARGEST_BLOCK = 4608  # samples of the longest usual frame, which a decoder may make of what follows the sound
_UNWRITTEN = np.uint32(0x7FC0DEAD)  # a NaN that no decoder writes


class DecodingError(OstinatoError, ValueError):
    """A recording cannot be decoded; `kind` is its category in reports."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


class Ending(NamedTuple):
    """How the decoding of a recording ended.

    Attributes:
        samples: Samples of a channel that were decoded.
        sample_rate: Hz.
        lost: Samples that are missing; 0 where their number is not known.
        faults: What is wrong, as parts of a message; nothing, if the recording is whole.
    """

    samples: int
    sample_rate: int
    lost: int
    faults: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def message(self) -> str:
        """What is wrong and what is kept."""
        kept, lost = self.samples / self.sample_rate, self.lost / self.sample_rate
        amount = f"{kept:.1f} of {kept + lost:.1f} s" if self.lost else f"{kept:.1f} s"
        return f"{'; '.join(self.faults)}: {amount} are kept"


class AudioReader:
    """A recording, whatever its format; its length is what decodes, not what its header states.

        with AudioReader.open("song.mp3") as recording:
            for block in recording.blocks():
                ...
            recording.ending.message

    Args:
        contents: The bytes.
        descriptor: The descriptor of the file that has these bytes and no others, where there is one.

    Raises:
        DecodingError: it is empty, is not audio of a known format, or has an impossible rate or number of channels.
    """

    def __init__(self, contents: Contents, descriptor: int | None = None) -> None:
        if contents.size == 0:
            raise DecodingError("empty", "the file has no bytes")
        self._contents, self._descriptor, self._owned = contents, descriptor, False
        self._layout = _layout(contents)
        try:
            with self._decoder(self._layout.parts[0]) as file:
                self._take(file)
        except soundfile.LibsndfileError as error:
            self._try_as_mpeg(error)
        check_bounds(self.sample_rate, self.channels)
        self.ending: Ending | None = None
        """How it ended; known when all blocks were decoded."""

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a file; to be closed, or used in a `with` statement.

        Raises:
            DecodingError: it cannot be decoded.
            OSError: it cannot be read.
        """
        # Opening a named pipe would block forever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            if not os.path.isfile(path):
                raise DecodingError("undecodable", "it is not a regular file")
            recording = cls(FileContents(descriptor), descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        recording._owned = True
        return recording

    def close(self) -> None:
        """Close the file that `open` has opened."""
        if self._owned and self._descriptor is not None:
            os.close(self._descriptor)
            self._owned, self._descriptor = False, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def claimed(self) -> int | None:
        """Samples of a channel that the header states, where it states a number."""
        return self._layout.claimed

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode from the beginning; yield float32 `(time, channels)`, each valid until the next.

        Integer samples are scaled to [-1, 1], floating-point ones are as they are. Decoding ends where the file is
        damaged, and `ending` says so.
        """
        self.ending = None
        decoded, faults = 0, list(self._layout.faults)
        for number, part in enumerate(self._layout.parts):
            try:
                with self._decoder(part) as file:
                    if number and (file.samplerate, file.channels) != (self.sample_rate, self.channels):
                        faults.append(self._other_shape(decoded, file))
                        continue
                    for block, error in _decode(file, part.most):
                        decoded += len(block)
                        yield block
                        if error is not None:
                            faults += self._damage(part, decoded, error)
            except soundfile.LibsndfileError as error:
                faults += self._damage(part, decoded, error)
        self.ending = self._end(decoded, faults)

    def read(self, start: int, count: int) -> np.ndarray:
        """Return samples `start` to `start + count`, or fewer at the end, float32 `(time, channels)`."""
        found: list[np.ndarray] = []
        for part in self._layout.parts:
            if count <= 0:
                break
            if part.samples is not None and start >= part.samples:
                start -= part.samples
                continue
            with self._decoder(part) as file:
                if (file.samplerate, file.channels) != (self.sample_rate, self.channels):
                    continue
                skipped = _skip(file, part, start)
                for block, _ in _decode(file, None if part.most is None else part.most - skipped):
                    piece = block[max(start - skipped, 0) :][:count]
                    skipped += len(block)
                    if len(piece):
                        found.append(piece.copy())
                        count -= len(piece)
                    if count <= 0:
                        break
                start = max(start - skipped, 0)
        return np.concatenate(found) if found else np.zeros((0, self.channels), np.float32)

    def proven_samples(self) -> int | None:
        """Return the number of samples, where the structure of the file proves it; decoding may still find damage."""
        total = 0
        for part in self._layout.parts:
            known = part.prove() if part.prove else part.samples
            if known is None and not part.trusted:
                return None
            if known is not None and len(self._layout.parts) == 1:
                return known
            # Parts that are damaged, or have another rate or number of channels, are left out in decoding.
            try:
                with self._decoder(part) as file:
                    if (file.samplerate, file.channels) != (self.sample_rate, self.channels):
                        return None
                    total += file.frames if known is None else known
            except soundfile.LibsndfileError:
                return None
        return total

    def measure(self) -> Ending:
        """Return how decoding ends, without decoding where the structure of the file proves its length."""
        known = self.proven_samples()
        if known is not None:
            return self._end(known, list(self._layout.faults))
        for _ in self.blocks():
            pass
        assert self.ending is not None
        return self.ending

    def _end(self, decoded: int, faults: list[str]) -> Ending:
        lost = round(self._layout.missing * decoded)
        if self._layout.claimed is not None and decoded < self._layout.claimed:
            lost = self._layout.claimed - decoded
            if not faults:
                stated = self._layout.claimed / self.sample_rate
                faults.append(f"it ends before the {stated:.1f} s that its header states")
        return Ending(decoded, self.sample_rate, lost, tuple(dict.fromkeys(faults)))

    def _damage(self, part: Part, decoded: int, error: soundfile.LibsndfileError) -> list[str]:
        """Return what a decoder's error means; nothing, if the sound was complete and a tag followed it."""
        claimed = self._layout.claimed
        if claimed is not None and claimed <= decoded < claimed + _LARGEST_BLOCK:
            return []
        reason = error.error_string.strip().removeprefix("Error : ").rstrip(".")
        return [f"it cannot be decoded from {decoded / self.sample_rate:.1f} s on" + (f" ({reason})" if reason else "")]

    def _other_shape(self, decoded: int, file: soundfile.SoundFile) -> str:
        return (
            f"what follows {decoded / self.sample_rate:.1f} s has {file.samplerate} Hz and {file.channels} channels "
            f"instead of {self.sample_rate} Hz and {self.channels}, and is left out"
        )

    def _take(self, file: soundfile.SoundFile) -> None:
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.format, self.subtype = file.format, file.subtype

    def _try_as_mpeg(self, error: soundfile.LibsndfileError) -> None:
        """Look for MPEG frames behind something else, in a file that the decoder does not recognise.

        Raises:
            DecodingError: there are none; saying what the file is, if that is known.
        """
        kind = foreign_kind(self._contents.read(0, 4096))
        layout = None if kind else mpeg_layout(self._contents)
        if layout is not None:
            try:
                with self._decoder(layout.parts[0]) as file:
                    self._take(file)
            except soundfile.LibsndfileError:
                pass
            else:
                self._layout = layout
                return
        reason = error.error_string.strip().removeprefix("Error : ").rstrip(".") or "unknown format"
        if error.code != _NOT_RECOGNISED:
            reason += f": {CONVERT}"
        raise DecodingError("undecodable", kind or reason) from None

    def _decoder(self, part: Part) -> "_Decoder":
        if part.contents is None and self._descriptor is not None:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            return _Decoder(self._descriptor, closefd=False)
        return _Decoder(ContentsFile(part.contents or self._contents, part.apparent_size))


def check_bounds(sample_rate: int, channels: int) -> None:
    """Check the sample rate and the number of channels before memory is allocated.

    Raises:
        DecodingError: the sample rate (Hz) or the number of channels is out of range.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise DecodingError(
            "impossible rate",
            f"a sample rate of {sample_rate:,} Hz is not between {LOWEST_RATE:,} and {HIGHEST_RATE:,} Hz",
        )
    if not 0 < channels <= MOST_CHANNELS:
        raise DecodingError("too many channels", f"{channels:,} channels, more than {MOST_CHANNELS}")


class _Decoder(soundfile.SoundFile):
    """A decoder that goes on from block to block; soundfile itself seeks after each, which some formats cannot."""

    sequential = False

    def seekable(self) -> bool:
        return not self.sequential and super().seekable()


def _layout(contents: Contents) -> Layout:
    head = contents.read(0, 10)
    behind = 0
    if head[:3] == b"ID3" and len(head) == 10:
        behind = 10 + sum((byte & 0x7F) << 7 * (3 - n) for n, byte in enumerate(head[6:10]))
    layout = chunk_layout(contents) or ogg_layout(contents) or flac_layout(contents, behind)
    if layout is None and (behind or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0)):
        layout = mpeg_layout(contents)
    return layout or DIRECT


def _decode(file: _Decoder, most: int | None) -> Iterator[tuple[np.ndarray, soundfile.LibsndfileError | None]]:
    """Yield blocks to the end or so many samples, the last one with the error that ends them, if one does."""
    file.sequential = True
    out = np.empty((max(_BLOCK // file.channels, 1), file.channels), np.float32)
    while most is None or most > 0:
        out = out if most is None else out[:most]
        out.view(np.uint32).fill(_UNWRITTEN)
        try:
            block = file.read(out=out)
        except soundfile.LibsndfileError as error:
            # What was decoded before the error is there, but how much is not told.
            unwritten = (out.view(np.uint32) == _UNWRITTEN).all(1)
            yield out[: int(unwritten.argmax()) if unwritten.any() else len(out)], error
            return
        if not len(block):
            return
        most = None if most is None else most - len(block)
        yield block, None


def _skip(file: _Decoder, part: Part, start: int) -> int:
    """Seek to a sample, or to one before it if the decoder cannot; return the position."""
    start -= LEAD_IN.get(file.format, 0)
    if not part.seekable or not file.seekable() or not 0 < start < file.frames:
        return 0
    try:
        return file.seek(start)
    except (soundfile.LibsndfileError, OSError, ValueError):
        file.seek(0)
        return 0
