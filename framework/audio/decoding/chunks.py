"""Formats that keep samples in one chunk or behind one header: WAV, RF64, BW64, W64, AIFF, AIFC, CAF and AU.

Programs that write to a pipe cannot come back and fill in the sizes, those that crash leave zeros, downloads end early,
and sizes of 32 bits overflow. So the size of the samples is taken from the file, not from its header.
"""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from framework.audio.decoding.contents import Contents, View, patched
from framework.audio.decoding.layout import DIRECT, Layout, Part
from framework.audio.decoding.mpeg import mpeg_layout

_STREAMED = ((0x7FFF0000, 0x80010000), (0xFFFF0000, 0x100000000))
"""Sizes in these ranges are what programs write to a pipe: 0x7FFFF000, 0x80000000, 0xFFFFFFFF and the like."""
_TAIL_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"cue ", b"smpl", b"PEAK", b"_PMX", b"JUNK", b"fact")
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_MOST_CHUNKS = 10_000
_GSM, _MPEG = 0x31, 0x55  # format tags in WAV files
_GSM_SAMPLES = 320  # in a block; of an odd number of blocks the decoder makes one too many


class _Family(NamedTuple):
    """How a family of formats writes chunks.

    Attributes:
        begin: Position of the first chunk.
        order: Byte order, as `struct` names it.
        wide: Whether sizes have 64 bits.
        guid: Whether names have 16 bytes, and sizes include the header.
        align: Chunks begin at multiples of this.
        data: First four bytes of the name of the chunk with the samples.
        lead: Bytes of that chunk before the samples.
    """

    begin: int
    order: str
    wide: bool
    guid: bool
    align: int
    data: bytes
    lead: int


_FAMILIES = {
    "RIFF": _Family(12, "<", False, False, 2, b"data", 0),
    "RIFX": _Family(12, ">", False, False, 2, b"data", 0),
    "W64": _Family(40, "<", True, True, 8, b"data", 0),
    "AIFF": _Family(12, ">", False, False, 2, b"SSND", 8),
    "CAF": _Family(8, ">", True, False, 1, b"data", 4),
}


class _Chunk(NamedTuple):
    """A chunk: name, position of its header, of its contents, and the size that it claims."""

    name: bytes
    header: int
    at: int
    size: int


class _Sound(NamedTuple):
    """Where the samples are.

    Attributes:
        at: Position of the first.
        claimed: Bytes that the header claims.
        size: Bytes that there are.
        known: Whether the header says a size at all.
        tail: Bytes behind the samples that are no chunk and no tag.
    """

    at: int
    claimed: int
    size: int
    known: bool
    tail: int


class Pcm(NamedTuple):
    """Samples of 16 bit PCM in a WAV file: position and size in bytes, channels, rate in Hz, and what is wrong."""

    at: int
    size: int
    channels: int
    sample_rate: int
    faults: tuple[str, ...]

    @property
    def message(self) -> str:
        """What is wrong and what is kept; "" where nothing is wrong."""
        seconds = self.size / (2 * self.channels * max(self.sample_rate, 1))
        return f"{'; '.join(self.faults)}: {seconds:.1f} s are kept" if self.faults else ""


def chunk_layout(contents: Contents) -> Layout | None:
    """Return the layout of a file of one of these formats; None for other files."""
    head = contents.read(0, 64)
    if head[:4] in (b".snd", b"dns."):
        return _au_layout(contents, head)
    family = _family(head)
    if family is None:
        return None
    sound = _sound(contents, family, head)
    if sound is None:
        return DIRECT
    tag, block = _coding(contents, family, head)
    if tag == _MPEG:
        return mpeg_layout(contents, sound.at, sound.at + sound.size) or DIRECT
    most = sound.size // block * _GSM_SAMPLES if tag == _GSM else None
    part = Part(trusted=most is None, samples=most, most=most)
    faults = _faults(sound)
    missing = max(sound.claimed - sound.size, 0) / sound.size if sound.known and sound.size else 0.0
    unpadded = _unpadded(contents, family, head)
    joined = _joined(contents, family, head)
    if sound.size == sound.claimed and head[:4] != b"BW64" and not unpadded and joined is None:
        return Layout((part,), None, missing, faults)
    view = _repaired(contents, family, head, sound)
    for number, at in enumerate(unpadded):
        view = View(view, [(0, at + number), b"\0", (at + number, view.size)])
    layout = Layout((part._replace(contents=view),), None, missing, faults)
    return layout if joined is None else _both(layout, joined)


def _joined(contents: Contents, family: _Family, head: bytes) -> View | None:
    """Return another file of chunks that follows the first one, whatever kind of WAV or AIFF both are."""
    end = _container_end(contents, family, head)
    other = _family(contents.read(end, 40))
    if family.guid or family.wide or other is None or other.guid or other.wide:
        return None
    return View(contents, [(end, contents.size)])


def _both(first: Layout, rest: View) -> Layout:
    following = chunk_layout(rest) or Layout(())
    parts = [part if part.contents else part._replace(contents=rest) for part in following.parts]
    return Layout([*first.parts, *parts], None, 0.0, [*first.faults, *following.faults])


def wav_pcm(contents: Contents) -> Pcm | None:
    """Return where the samples of a 16 bit PCM WAV file are; None for other files."""
    head = contents.read(0, 64)
    family = _family(head)
    if family is None or head[:4] not in (b"RIFF", b"RF64", b"BW64"):
        return None
    sound = _sound(contents, family, head)
    form = next((c for c in _chunks(contents, family, head) if c.name == b"fmt "), None)
    if sound is None or form is None or form.size < 16:
        return None
    fields = contents.read(form.at, 16)
    if len(fields) < 16:
        return None
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", fields)
    if tag != 1 or bits != 16 or channels == 0 or align != 2 * channels:
        return None
    return Pcm(sound.at, sound.size, channels, rate, _faults(sound))


def _family(head: bytes) -> _Family | None:
    magic, form = head[:4], head[8:12]
    if magic in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE":
        return _FAMILIES["RIFF"]
    if magic == b"RIFX" and form == b"WAVE":
        return _FAMILIES["RIFX"]
    if magic == b"riff" and head[24:28] == b"wave":
        return _FAMILIES["W64"]
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _FAMILIES["AIFF"]
    return _FAMILIES["CAF"] if magic == b"caff" else None


def _chunks(contents: Contents, family: _Family, head: bytes) -> Iterator[_Chunk]:
    """Yield the chunks up to the one with the samples, which is the last; fewer where one does not fit."""
    at, sizes = family.begin, _Sizes(contents, head)
    for _ in range(_MOST_CHUNKS):
        chunk = _chunk(contents, family, at)
        if chunk is None:
            return
        if chunk.name == b"ds64":
            sizes.read(chunk)
        elif chunk.name == family.data and sizes.data is not None and chunk.size == 0xFFFFFFFF:
            chunk = chunk._replace(size=sizes.data)
        yield chunk
        if chunk.name == family.data:
            return
        at = _next(contents, family, chunk)


class _Sizes:
    """The size of the samples in an RF64 file, which has a chunk of its own."""

    def __init__(self, contents: Contents, head: bytes) -> None:
        self._contents, self._wide = contents, head[:4] in (b"RF64", b"BW64")
        self.data: int | None = None

    def read(self, chunk: _Chunk) -> None:
        """Take the size from the chunk `ds64`."""
        field = self._contents.read(chunk.at + 8, 8)
        if self._wide and len(field) == 8:
            self.data = int.from_bytes(field, "little")


def _chunk(contents: Contents, family: _Family, at: int) -> _Chunk | None:
    name_bytes, size_bytes = 16 if family.guid else 4, 8 if family.wide else 4
    header = contents.read(at, name_bytes + size_bytes)
    if len(header) < name_bytes + size_bytes:
        return None
    size = int.from_bytes(header[name_bytes:], "little" if family.order == "<" else "big")
    if family.guid:
        size -= name_bytes + size_bytes
    return _Chunk(header[:4], at, at + name_bytes + size_bytes, size)


def _next(contents: Contents, family: _Family, chunk: _Chunk) -> int:
    """Return where the next chunk begins; some programs forget the byte that evens out an odd size."""
    end = chunk.at + max(chunk.size, 0)
    padded = -(-end // family.align) * family.align
    known = (family.data, b"fmt ", b"COMM", *_TAIL_CHUNKS)
    forgotten = padded != end and contents.read(end, 4) in known and contents.read(padded, 4) not in known
    return end if forgotten else padded


def _unpadded(contents: Contents, family: _Family, head: bytes) -> list[int]:
    """Return where the byte is missing that evens out an odd size."""
    chunks = list(_chunks(contents, family, head))[:-1]
    ends = [(chunk.at + chunk.size, _next(contents, family, chunk)) for chunk in chunks]
    return [end for end, following in ends if end == following and end % family.align]


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _sound(contents: Contents, family: _Family, head: bytes) -> _Sound | None:
    """Return the position of the samples; None if only the decoder can determine it."""
    chunk = next((c for c in _chunks(contents, family, head) if c.name == family.data), None)
    if chunk is None:
        return None
    at, claimed = chunk.at + family.lead, chunk.size - family.lead
    whole = _container_end(contents, family, head)
    size, known = _extent(contents, family, at, claimed, whole)
    if size < claimed:
        size -= size % _coding(contents, family, head)[1]  # part of a coded block decodes to noise
    tail = _tail(contents, at + size) if known and at + size >= whole - 1 else 0
    return _Sound(at, claimed, size, known, tail)


def _coding(contents: Contents, family: _Family, head: bytes) -> tuple[int, int]:
    """Return the format tag of a WAV file, and how many bytes are decoded together; 0 and 1 for other files."""
    form = next((c for c in _chunks(contents, family, head) if c.name == b"fmt "), None)
    fields = contents.read(form.at, 14) if form else b""
    if len(fields) < 14:
        return 0, 1
    tag, block = struct.unpack(f"{family.order}H10xH", fields)
    return tag, max(block, 1)


def _container_end(contents: Contents, family: _Family, head: bytes) -> int:
    """Return where the chunks end by the size in the first bytes of the file."""
    if family.data == b"data" and family.begin == 8:  # CAF has no such size
        return contents.size
    if family.guid:
        end = int.from_bytes(head[16:24], "little")
    elif head[:4] in (b"RF64", b"BW64") and head[12:16] == b"ds64":
        size = int.from_bytes(head[20:28], "little")
        end = size + 8 if size else contents.size
    else:
        size = int.from_bytes(head[4:8], "little" if family.order == "<" else "big")
        end = size + 8 if size and not _streamed(size) else contents.size
    return min(end, contents.size) if end > family.begin else contents.size


def _extent(contents: Contents, family: _Family, at: int, claimed: int, whole: int) -> tuple[int, bool]:
    """Return the size of the samples in bytes, and whether the header says one.

    Args:
        contents: The file.
        family: The family of its format.
        at: Position of the samples.
        claimed: Their size by the header.
        whole: Where all chunks end by the header.
    """
    available = contents.size - at
    unknown = claimed >= 1 << 62 if family.wide else _streamed(claimed + family.lead)
    if available <= 0:
        return 0, not unknown
    if claimed > available:
        return available, not (unknown and whole == contents.size)
    if not family.wide and claimed < available and available >= 1 << 32:
        wraps = (available - claimed) >> 32  # a size of 32 bits that has overflowed
        claimed_bytes = claimed + (wraps << 32)
        if wraps and available - claimed_bytes < 1 << 16:
            return claimed_bytes, True
    if claimed >= 0 and (at + claimed >= whole - 1 or _chunks_follow(contents, family, at + claimed)):
        return claimed, True
    return max(whole - at, 0), False


def _streamed(size: int) -> bool:
    return any(low <= size < high for low, high in _STREAMED)


def _chunks_follow(contents: Contents, family: _Family, at: int) -> bool:
    """Say whether chunks fill the file from a position on."""
    if at % family.align and not _is_name(contents.read(at, 4)):
        at += -at % family.align
    for _ in range(_MOST_CHUNKS):
        chunk = _chunk(contents, family, at)
        if chunk is None:
            return contents.size <= at
        if chunk.name == b"RIFF":  # another file was joined
            return True
        if not _is_name(chunk.name) or chunk.size < 0:
            return chunk.name[:3] in _TAGS
        if chunk.at + chunk.size > contents.size:
            return chunk.name in _TAIL_CHUNKS or chunk.name[:3] in _TAGS
        at = _next(contents, family, chunk)
    return False


def _tail(contents: Contents, at: int) -> int:
    """Return how many bytes follow that are neither zero nor a tag nor a chunk."""
    beginning = contents.read(at, 1 << 16)
    beginning = beginning[1:] if beginning[:1] == b"\0" else beginning
    if beginning.startswith(_TAGS) or beginning[:4] in _TAIL_CHUNKS or not any(beginning):
        return 0
    if _is_name(beginning[:4]):
        return 0
    return contents.size - at


def _faults(sound: _Sound) -> tuple[str, ...]:
    found = []
    if sound.known and sound.claimed > sound.size:
        found.append(f"the file ends {sound.claimed - sound.size:,} bytes before the end that its header states")
    if sound.tail:
        found.append(f"{sound.tail:,} bytes behind the last chunk are no audio and are left out")
    return tuple(found)


def _repaired(contents: Contents, family: _Family, head: bytes, sound: _Sound) -> View:
    """Return the file with the true size of its samples in the header, and nothing behind them."""
    end, size, start = sound.at + sound.size, sound.size + family.lead, sound.at - family.lead
    order: Literal["little", "big"] = "little" if family.order == "<" else "big"
    patches: dict[int, bytes] = {}
    if family.guid:
        patches |= {16: end.to_bytes(8, order), start - 8: (size + 24).to_bytes(8, order)}
    elif family.wide:
        patches[start - 8] = size.to_bytes(8, order)
    else:
        # Of a size beyond 32 bits the decoder goes to the end of the file.
        patches |= {4: min(end - 8, 0xFFFFFFFF).to_bytes(4, order), start - 4: min(size, 0xFFFFFFFF).to_bytes(4, order)}
    if head[:4] in (b"RF64", b"BW64"):
        patches |= {0: b"RIFF"} | ({12: b"JUNK"} if head[12:16] == b"ds64" else {})
    return patched(contents, patches, end)


def _au_layout(contents: Contents, head: bytes) -> Layout:
    """Return the layout of an AU file: one header, then samples."""
    order: Literal["little", "big"] = "big" if head[:4] == b".snd" else "little"
    at, claimed = int.from_bytes(head[4:8], order), int.from_bytes(head[8:12], order)
    size = contents.size - at
    if size <= 0 or at < 24 or claimed == size:
        return Layout((Part(trusted=True),))
    part = Part(patched(contents, {8: min(size, 0xFFFFFFFF).to_bytes(4, order)}, contents.size), trusted=True)
    if claimed <= size or _streamed(claimed):
        return Layout((part,))
    fault = f"the file ends {claimed - size:,} bytes before the end that its header states"
    return Layout((part,), None, (claimed - size) / size, (fault,))
