"""MPEG audio (MP3): where the frames are, and how many, whatever a header claims.

A file without a length header (written to a pipe, recorded from a stream) has no length but the number of its frames.
Files that were joined have the headers and tags of each, and a decoder gives up at what is no frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from framework.audio.decoding.contents import Contents, Piece, View, patched
from framework.audio.decoding.layout import Layout, Part

_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}  # (MPEG version, layer): kbit/s by the index in the header, from 1 on
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_DECODER_DELAY = 529  # samples that a decoder removes at the beginning, beside the encoder's delay
_CHUNK = 1 << 20
_LARGEST_FRAME = 8192  # bytes
_SEARCHED = 1 << 20  # bytes without a frame at the beginning after which a file is no MPEG audio
_APPARENT = 4096  # times the true size: more than the spread of bit rates within a file
_LYRICS = 1 << 16  # bytes of the longest Lyrics3 tag


class _Header(NamedTuple):
    """Facts of a frame: bytes, what frames of one stream have in common, rate (Hz), samples, and bytes of side info."""

    size: int
    kind: tuple[int, int, int, bool]
    sample_rate: int
    samples: int
    side: int


@dataclass
class _Stream:
    """Frames that one encoder wrote.

    Attributes:
        kind: What the headers have in common.
        sample_rate: Hz.
        per_frame: Samples of a channel in a frame.
        ranges: Byte ranges of the frames.
        frames: Their number, without the one that holds the length.
        length_at: Position of the number of frames in that one; 0 where the decoder finds none.
        claimed: That number.
        has_size: Whether the size in bytes follows.
        delay: Samples of silence that the encoder has put before the sound.
        padding: The same behind it.
    """

    kind: tuple[int, int, int, bool]
    sample_rate: int
    per_frame: int
    ranges: list[list[int]] = field(default_factory=list)
    frames: int = 0
    length_at: int = 0
    claimed: int | None = None
    has_size: bool = False
    delay: int = 0
    padding: int = 0

    @property
    def samples(self) -> int:
        """Samples of a channel that a decoder gives."""
        total = self.frames * self.per_frame
        if not self.length_at:
            return total
        return max(total - self.delay - max(self.padding, _DECODER_DELAY), 0)

    def add(self, begin: int, end: int) -> None:
        """Add a range of bytes."""
        if self.ranges and self.ranges[-1][1] == begin:
            self.ranges[-1][1] = end
        else:
            self.ranges.append([begin, end])


def mpeg_layout(contents: Contents, begin: int = 0, end: int | None = None) -> Layout | None:
    """Return the layout of MPEG audio, of a whole file or within a range of it; None where there are no frames."""
    whole = begin == 0 and end is None
    end = contents.size if end is None else end
    walk = _Walk(contents, begin, end)
    streams = [stream for stream in walk.streams() if stream.frames]
    if not streams:
        return None
    faults = list(walk.faults)
    claimed = sum(max(s.claimed or 0, s.frames) * s.per_frame for s in streams)
    known = sum(s.frames * s.per_frame for s in streams)
    lost = claimed - known
    if lost:
        rate = streams[0].sample_rate
        faults.append(f"it ends before the {claimed / rate:.1f} s that its header states")
    elif walk.partial:
        faults.append("the last frame is incomplete")
    decoded = sum(s.samples for s in streams)
    if (
        len(streams) == 1
        and whole
        and not walk.gaps
        and streams[0].length_at
        and streams[0].claimed == streams[0].frames
    ):
        return Layout((Part(None, decoded),), None, 0.0, faults)
    parts = [_part(contents, stream) for stream in streams]
    return Layout(parts, decoded + lost if lost else None, 0.0, faults)


def _part(contents: Contents, stream: _Stream) -> Part:
    pieces: list[Piece] = [(a, b) for a, b in stream.ranges]
    view = View(contents, pieces)
    if stream.length_at:
        frames_at, patches = stream.length_at - stream.ranges[0][0], {}
        if stream.claimed is not None and stream.claimed < stream.frames:
            patches[frames_at] = stream.frames.to_bytes(4, "big")
        if stream.has_size:  # another size than the true one is complained of on the terminal
            patches[frames_at + 4] = min(view.size, 0xFFFFFFFF).to_bytes(4, "big")
        view = patched(view, patches, view.size)
    apparent = None if stream.length_at else view.size * _APPARENT
    # An encoder's delay that belongs to frames which are missing is not taken off the others.
    cut = stream.claimed is not None and stream.claimed > stream.frames
    return Part(view, None if cut else stream.samples, apparent_size=apparent)


class _Walk:
    """A walk over the frames of a range of bytes.

    Attributes:
        faults: What is no frame and no tag, as parts of a message.
        gaps: Whether anything but tags at the ends lies between and beside the frames.
        partial: Whether the last frame is incomplete.
    """

    def __init__(self, contents: Contents, begin: int, end: int) -> None:
        self._contents, self._begin, self._end = contents, begin, end
        self._chunk, self._chunk_at = b"", 0
        self.faults: list[str] = []
        self.gaps, self.partial = False, False

    def streams(self) -> Iterator[_Stream]:
        """Yield the streams in order."""
        stream: _Stream | None = None
        at, fresh = self._begin, True  # fresh: the next frame begins a stream
        while at < self._end:
            header = self._header(at)
            known = stream is not None and header is not None and header.kind == stream.kind
            if header is None or not (known or self._followed(at, header, 1 + (stream is None))):
                tag = self._tag(at)
                if tag:
                    fresh = fresh or self._bytes(at, 3) == b"ID3"
                    at += tag
                    self.gaps |= stream is not None and self._header(at) is not None
                    continue
                found = self._search(at + 1, first=stream is None)
                if self._odd(at, found):
                    self._complain(stream, at, found)
                at = found
                continue
            if at + header.size > self._end:
                self.partial = True
                return (yield from (stream,) if stream else ())
            length = self._length_header(at, header)
            if stream is None or fresh or length or header.kind != stream.kind:
                if stream is not None and stream.frames:
                    yield stream
                stream = _Stream(header.kind, header.sample_rate, header.samples)
            if length:
                stream.length_at, stream.claimed, stream.has_size, stream.delay, stream.padding = length
            else:
                stream.frames += 1
            if not length or stream.length_at:  # a header that the decoder does not know is left out
                stream.add(at, at + header.size)
            at, fresh = at + header.size, False
        if stream:
            yield stream

    def _complain(self, stream: _Stream | None, at: int, found: int) -> None:
        self.gaps = True
        second = f"{stream.frames * stream.per_frame / stream.sample_rate:.1f} s" if stream else "the beginning"
        rest = " and none follows" if found >= self._end else ""
        self.faults.append(f"{found - at:,} bytes at {second} are no frames{rest}")

    def _odd(self, at: int, found: int) -> bool:
        """Say whether bytes that are no frames are worth mentioning: filling with zeros is not."""
        return any(any(self._bytes(a, min(_CHUNK, found - a))) for a in range(at, found, _CHUNK))

    def _bytes(self, at: int, length: int) -> bytes:
        inside = at - self._chunk_at
        if inside < 0 or inside + length > len(self._chunk):
            self._chunk, self._chunk_at = self._contents.read(at, max(_CHUNK, length)), at
            inside = 0
        return self._chunk[inside : inside + min(length, max(self._end - at, 0))]

    def _header(self, at: int) -> _Header | None:
        return _parsed(self._bytes(at, 4))

    def _followed(self, at: int, header: _Header, frames: int = 1) -> bool:
        """Say whether more frames of the kind, or the end, follow: then this is no accident."""
        after = at + header.size
        following = self._header(after)
        if following is None:
            return after == self._end or (after < self._end and bool(self._tag(after)))
        alike = following.kind[:3] == header.kind[:3]
        return alike and (frames == 1 or self._followed(after, following, frames - 1))

    def _search(self, at: int, first: bool) -> int:
        """Return where the next frame or tag is; the end if there is none."""
        limit = min(self._end, self._begin + _SEARCHED) if first else self._end
        while at < limit:
            chunk = self._bytes(at, _LARGEST_FRAME)
            places = [p for p in map(chunk.find, (b"\xff", b"ID3", b"APETAGEX", b"TAG", b"LYRICSBEGIN")) if p >= 0]
            if not places:
                at += max(len(chunk) - 8, 1)
                continue
            at += min(places)
            header = self._header(at)
            if header is not None and self._followed(at, header, 1 + first):
                return at
            if chunk[min(places)] != 0xFF and self._tag(at):
                return at
            at += 1
        return self._end

    def _tag(self, at: int) -> int:
        """Return the size of a tag: ID3, APE, Lyrics3; 0 where there is none."""
        head = self._bytes(at, 32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 0x80:
            size = 10 + sum(byte << 7 * (3 - n) for n, byte in enumerate(head[6:10])) + 10 * bool(head[5] & 0x10)
            return size if at + size <= self._end else 0
        if head[:8] == b"APETAGEX" and len(head) == 32:
            size, flags = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:24], "little")
            size = size + 32 if flags & 1 << 29 else 32
            return size if at + size <= self._end else 0
        if head.startswith(b"LYRICSBEGIN"):
            lyrics = self._bytes(at, _LYRICS)
            return max(lyrics.find(b"LYRICS200"), lyrics.find(b"LYRICSEND")) + 9 or 11
        size = 227 if head[:4] == b"TAG+" else 128 if head[:3] == b"TAG" else 0
        return min(size, self._end - at)

    def _length_header(self, at: int, header: _Header) -> tuple[int, int | None, bool, int, int] | None:
        """Return position and value of the number of frames, whether the size in bytes follows, delay and padding.

        The position is 0 where the decoder does not find the number there. None for a frame of sound.
        """
        if header.kind[1] != 3:
            return None
        xing = 4 + header.side
        mark = self._bytes(at + xing, 4)
        if mark in (b"Xing", b"Info"):
            data = self._bytes(at, header.size)
            flags = int.from_bytes(data[xing + 4 : xing + 8], "big")
            if not flags & 1 or len(data) < xing + 12:
                return 0, None, False, 0, 0
            lame = xing + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
            gap = int.from_bytes(data[lame + 21 : lame + 24], "big") if data[lame : lame + 1] > b"\0" else 0
            frames = int.from_bytes(data[xing + 8 : xing + 12], "big")
            return at + xing + 8, frames, bool(flags & 2), gap >> 12, gap & 0xFFF
        if mark == b"VBRI" or self._bytes(at + 36, 4) == b"VBRI":
            return 0, int.from_bytes(self._bytes(at + 50, 4), "big"), False, 0, 0
        return None


def _parsed(header: bytes) -> _Header | None:
    """Return the facts in a frame's header; None where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3 or header[3] & 3 == 2:
        return None
    rate, mono = _RATES[version][rate_index], header[3] >> 6 == 3
    kbits = _KBITS[1 if version == 3 else 2, layer][index - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return _Header((12000 * kbits // rate + padding) * 4, (version, layer, rate, mono), rate, 384, 0)
    samples = 576 if layer == 3 and version != 3 else 1152
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return _Header(samples // 8 * 1000 * kbits // rate + padding, (version, layer, rate, mono), rate, samples, side)
