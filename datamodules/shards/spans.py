"""Spans of clips' stored samples, whatever the clips are encoded as: of many clips at a time."""

import io
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from datamodules.shards.files import ShardFiles
from datamodules.shards.flac import Cut, cut, join
from datamodules.shards.index import BadClipError, decode, decode_stretch
from datamodules.shards.remote import DownloadError
from framework.audio.decoding.contents import FileContents
from framework.os_errors import refused


class Span(NamedTuple):
    """Samples of a clip at its own rate: shard, the clip's row of an index (`CLIP`), first sample, how many."""

    shard: int
    row: np.void
    start: int
    length: int


Samples = np.ndarray | BadClipError
"""(length, channels), int16 where no more is stored, else float32 in [-1, 1]; or what is wrong with the clip."""


def read_plain(
    files: ShardFiles, shards: np.ndarray, offsets: np.ndarray, counts: np.ndarray, segment: int
) -> tuple[np.ndarray, list[int], dict[int, BadClipError]]:
    """Read segments of 16 bit mono samples, stored as they are wanted.

    Args:
        files: The shards.
        shards: In which each segment is (clips,).
        offsets: Where in the shard (clips,), in bytes; -1 for a clip that is stored otherwise.
        counts: How many samples of it there are (clips,); it is padded with zeros.
        segment: How many there should be.

    Returns:
        Segments (clips, segment) int16; the slots that are not among them; and what is wrong with a clip, by its slot.

    Raises:
        MachineError: a shard cannot be read though nothing is known to be wrong with it.
    """
    audio = np.empty((len(counts), segment), np.int16)
    buffer, read = audio.data.cast("B"), files.read
    rest: list[int] = []
    errors: dict[int, BadClipError] = {}
    of_clips = shards.tolist()
    places = zip(of_clips, offsets.tolist(), counts.tolist(), strict=True)
    for slot, (shard, offset, count) in enumerate(places):
        if offset < 0 or count == 0:
            rest.append(slot)
            continue
        begin = 2 * slot * segment
        if count < segment:
            audio[slot, count:] = 0
        try:
            read(shard, offset, buffer[begin : begin + 2 * count])
        except BadClipError as error:
            errors[slot] = error
        except DownloadError as error:
            errors[slot] = BadClipError("unreadable", str(error))
        except OSError as error:
            raise refused(f"the shard {files.urls[shard]}", error) from error
    if not files.unchanged(set(of_clips)):
        return read_plain(files, shards, offsets, counts, segment)
    return audio, rest, errors


def read_spans(files: ShardFiles, wanted: Sequence[Span]) -> list[Samples]:
    """Return the samples of spans. All that is FLAC of one format is decoded in one go."""
    found: list[Samples | Cut] = [_caught(_read, files, span) for span in wanted]
    slots = [slot for slot, samples in enumerate(found) if isinstance(samples, Cut)]
    slots.sort(key=lambda slot: found[slot].format)  # type: ignore[union-attr]
    for _, alike in itertools.groupby(slots, lambda slot: found[slot].format):  # type: ignore[union-attr]
        group = list(alike)
        decoded = _decoded([found[slot] for slot in group], [wanted[slot].length for slot in group])  # type: ignore[misc]
        for slot, samples in zip(group, decoded, strict=True):
            # Where this fails, the decoder's judgement of the whole file is the one to go by.
            found[slot] = _caught(_seek, files, wanted[slot]) if samples is None else samples
    if not files.unchanged({span.shard for span in wanted}):
        return read_spans(files, wanted)
    return found  # type: ignore[return-value]


def _caught(read: Any, files: ShardFiles, span: Span) -> Any:
    try:
        return read(files, span)
    except BadClipError as error:
        return error
    except DownloadError as error:
        return BadClipError("unreadable", str(error))
    except OSError as error:
        raise refused(f"the shard {files.urls[span.shard]}", error) from error


def _read(files: ShardFiles, span: Span) -> np.ndarray | Cut:
    """Read 16 bit samples as they are, cut FLAC, and have all else decoded."""
    shard, row, start, length = span
    if row["pcm"] >= 0:
        channels = int(row["channels"])
        samples = np.empty((length, channels), np.int16)
        files.read(shard, int(row["pcm"]) + 2 * channels * start, samples.data.cast("B"))
        return samples
    descriptor, offset, size = files.descriptor(shard), int(row["offset"]), int(row["size"])
    piece = cut(lambda at, length: os.pread(descriptor, min(length, size - at), offset + at), size, start, length)
    return piece or _seek(files, span)


def _decoded(cuts: Sequence[Cut], counts: Iterable[int]) -> Iterator[np.ndarray | None]:
    """Yield the samples wanted of each cut, all of one format; None where they cannot be decoded."""
    dtype = "int16" if cuts[0].bits <= 16 else "float32"
    try:
        audio = decode(io.BytesIO(join(cuts)), 0, sum(piece.samples for piece in cuts), dtype)
    except BadClipError:
        # One that is damaged may have damaged the others.
        for piece, count in zip(cuts, counts, strict=True):
            yield next(_decoded([piece], [count])) if len(cuts) > 1 else None
        return
    begin = 0
    for piece, count in zip(cuts, counts, strict=True):
        yield audio[begin + piece.skip :][:count]
        begin += piece.samples


def _seek(files: ShardFiles, span: Span) -> np.ndarray:
    """Have a decoder find its way in the whole file."""
    shard, row, start, length = span
    contents = FileContents(files.descriptor(shard), int(row["offset"]), int(row["size"]))
    return decode_stretch(contents, start, length, int(row["samples"]))
