"""Header and track chunks of Standard MIDI Files, found even where their names or lengths are damaged."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from framework.music.midi.events import DamageError, is_proper

_TRACK, _HEADER, _END = b"MTrk", b"MThd", b"\xff\x2f\x00"
_HEADER_SIZE = 14
_FOREIGN = 4096
"""Bytes in front of a header that belong to other formats, such as MacBinary."""
_MOST_CHUNKS = 1 << 16
"""More than a header can announce."""


class Header(NamedTuple):
    """The header chunk: format, announced tracks and division, and where the first chunk begins and the last ends."""

    kind: int
    tracks: int
    division: int
    begin: int
    end: int


def header_of(data: bytes, remarks: Counter[str]) -> Header:
    """Find the header of a MIDI file, which may be inside a RIFF (RMID) file or behind foreign bytes.

    Raises:
        DamageError: there is none.
    """
    riff = data[:4] == b"RIFF"
    at = data.find(_HEADER, 0, None if riff else _FOREIGN)
    if at < 0 and _resembles(data[:4], _HEADER) and data[4:8] == bytes([0, 0, 0, 6]):
        at = 0
        remarks["damaged chunk names"] += 1
    if at < 0 or len(data) < at + _HEADER_SIZE:
        raise DamageError
    end = len(data)
    if riff:
        if data[at - 8 : at - 4] == b"data":
            end = min(end, at + int.from_bytes(data[at - 4 : at], "little"))
    elif at:
        remarks["bytes before the header"] += at
    length = int.from_bytes(data[at + 4 : at + 8])
    kind, tracks, division = (int.from_bytes(data[at + 8 + 2 * n : at + 10 + 2 * n]) for n in range(3))
    begin = at + 8 + length
    if length < 6 or not (begin == end or _is_chunk(data, begin)):
        remarks["wrong header lengths"] += length != 6
        found = data.find(_TRACK, at + _HEADER_SIZE)
        begin = found if found >= 0 else at + _HEADER_SIZE
    return Header(kind, tracks, division, begin, end)


def track_chunks(data: bytes, header: Header, remarks: Counter[str]) -> Iterator[bytes]:
    """Yield the contents of the track chunks.

    A length that leads to no chunk and not to the end of the file is wrong: that track ends where the next begins.
    """
    at, track = header.begin, -1
    for _ in range(_MOST_CHUNKS):
        if at + 8 > header.end:
            break
        name, begin = data[at : at + 4], at + 8
        if name == _HEADER:
            remarks["bytes of further MIDI files"] += header.end - at
            return
        end = begin + int.from_bytes(data[at + 4 : begin])
        if track < begin:
            # Once for all chunks in front of it.
            track = data.find(_TRACK, begin, header.end)
            track = track if track >= 0 else header.end
        if track < end and data.endswith(_END, begin, track):
            following = end = track
            remarks["wrong track lengths"] += 1
        elif end == header.end or _is_chunk(data, end):
            following = end
        elif end < track and data.endswith(_END, begin, end):
            following = track
            remarks["bytes outside of tracks"] += track - end
        else:
            following = end = track
            remarks["wrong track lengths"] += 1
        body = data[begin:end]
        if name == _TRACK:
            yield body
        elif is_proper(body, 0, 0):
            remarks["damaged chunk names"] += 1
            yield body
        else:
            remarks["unknown chunks"] += 1
        at = following
    if at < header.end:
        remarks["bytes outside of tracks"] += header.end - at


def _is_chunk(data: bytes, at: int) -> bool:
    """Return whether a chunk may begin at a position: there are four letters, or all but one of `MTrk`."""
    name = data[at : at + 4]
    return _resembles(name, _TRACK) or (len(name) == 4 and name.isascii() and name.decode().isprintable())


def _resembles(found: bytes, name: bytes) -> bool:
    """Return whether at most one byte of a chunk's name is damaged."""
    return len(found) == len(name) and sum(a != b for a, b in zip(found, name, strict=True)) <= 1
