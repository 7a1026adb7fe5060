"""Ogg: Vorbis, Opus and FLAC in pages, and files of several recordings one after another.

A decoder reads the first recording of a chain alone, and takes its length from the last page of the file.
"""

import bisect
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from framework.audio.decoding.contents import Contents, Piece, View, patched
from framework.audio.decoding.flac import flac_layout
from framework.audio.decoding.layout import Layout, Part

_CHUNK = 1 << 16
_CODECS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC"}
_NONE = -1
"""Position of a page on which no packet ends."""
_LARGEST_PAGE = 255 * 5760
"""Samples of a channel that a page can hold: as many of Opus's longest packets as it has room for."""
_FLAC_MAPPING = 9  # bytes before the native FLAC header in the first packet


class _Page(NamedTuple):
    """A page: its range, where its payload begins, whether it is a stream's first or last, the stream, its number, and
    the samples of the stream up to its end (-1: no packet ends on it).
    """

    begin: int
    end: int
    payload: int
    first: bool
    last: bool
    serial: int
    number: int
    position: int


@dataclass
class _Link:
    """One recording of a chain: the pages of its first stream of audio.

    Attributes:
        serial: Number of that stream; None while there is none.
        codec: Its codec.
        pages: Byte ranges of its pages.
        payloads: Byte ranges of the payloads of these.
        positions: Where each page begins in the file, and the position in the stream that it states.
        others: Whether there are pages of other streams between.
        lost: Pages that are missing.
        damaged: Pages whose checksum is wrong, which a decoder of Vorbis or Opus leaves out.
        ended: Whether the last page is marked as such.
        begun: Whether pages have come that begin no stream.
    """

    serial: int | None = None
    codec: str = ""
    pages: list[list[int]] = field(default_factory=list)
    payloads: list[tuple[int, int]] = field(default_factory=list)
    positions: list[tuple[int, int]] = field(default_factory=list)
    others: bool = False
    lost: int = 0
    damaged: int = 0
    ended: bool = False
    begun: bool = False
    number: int = -1

    def add(self, page: _Page) -> None:
        """Add a page of the stream."""
        if self.number >= 0:
            self.lost += max(page.number - self.number - 1, 0)
        self.number, self.ended = page.number, page.last
        self.payloads.append((page.payload, page.end))
        self.positions.append((page.begin, page.position))
        if self.pages and self.pages[-1][1] == page.begin:
            self.pages[-1][1] = page.end
        else:
            self.pages.append([page.begin, page.end])


def ogg_layout(contents: Contents) -> Layout | None:
    """Return the layout of an Ogg file; None for other files, and for those without a codec that is known."""
    if contents.read(0, 4) != b"OggS":
        return None
    walk = _Pages(contents)
    links = [link for link in _links(contents, walk) if link.serial is not None]
    if not links:
        return None
    faults = list(walk.faults)
    if damaged := sum(link.damaged for link in links):
        faults.append(f"{damaged} pages are damaged")
    lost = sum(link.lost for link in links)
    if lost:
        faults.append(f"{lost} pages are missing")
    if not links[-1].ended:
        faults.append("the stream has no end mark, as if a download had stopped")
    wrong = {begin: stated for link in links if link.codec != "FLAC" for begin, stated in _corrected(link).items()}
    if wrong:
        faults.append(f"{len(wrong)} pages state an impossible position, which is not believed")
        contents = patched(contents, _patches(contents, wrong), contents.size)
    alone = links[0]
    if len(links) == 1 and alone.codec != "FLAC" and not alone.others and not walk.gaps:
        return Layout((Part(contents if wrong else None, trusted=not faults),), None, 0.0, faults)
    layouts = [_link_layout(contents, link) for link in links]
    claims = [layout.claimed for layout in layouts]
    claimed = sum(claim or 0 for claim in claims) if all(claims) else None
    return Layout([part for layout in layouts for part in layout.parts], claimed, 0.0, faults)


def _corrected(link: _Link) -> dict[int, int]:
    """Return the positions to put in the place of those that go back in a stream, by where their pages begin.

    They follow from the greatest number of pages whose positions do not contradict each other. Of a last page, after
    which a decoder stops, all packets are wanted; any other page need not state one.
    """
    stated = [(number, position) for number, (_, position) in enumerate(link.positions) if position != _NONE]
    # The headers' pages state 0; a stream that was cut out of another may begin at any position, below 0 too.
    stated = list(itertools.dropwhile(lambda page: page[1] == 0, stated))
    last = len(link.positions) - 1
    is_open = link.ended and link.positions[last][1] == _NONE
    if not is_open and all(a <= b for (_, a), (_, b) in itertools.pairwise(stated)):
        return {}
    tops: list[int] = []  # the lowest position that a consistent row of each length can end with
    ends: list[int] = []  # and which of `stated` that is
    before: dict[int, int] = {}
    for which, (_, position) in enumerate(stated):
        length = bisect.bisect_right(tops, position)
        before[which] = ends[length - 1] if length else -1
        tops[length:] = [position, *tops[length + 1 :]]
        ends[length:] = [which, *ends[length + 1 :]]
    kept, which = set(), ends[-1] if ends else -1
    while which >= 0:
        kept.add(stated[which][0])
        which = before[which]
    wrong = [number for number, _ in stated if number not in kept] + [last] * is_open
    highest = tops[-1] if tops else 0
    return {link.positions[n][0]: highest + _LARGEST_PAGE if n == last else _NONE for n in wrong}


def _patches(contents: Contents, positions: dict[int, int]) -> dict[int, bytes]:
    """Return what is to be replaced for pages to state other positions: these, and the pages' checksums."""
    patches: dict[int, bytes] = {}
    for begin, position in positions.items():
        head = contents.read(begin, 27 + 255)
        page = bytearray(contents.read(begin, 27 + head[26] + sum(head[27 : 27 + head[26]])))
        patches[begin + 6] = page[6:14] = position.to_bytes(8, "little", signed=True)
        page[22:26] = bytes(4)
        patches[begin + 22] = _checksum(page).to_bytes(4, "little")
    return patches


def _checksum(page: bytes | bytearray) -> int:
    """Return the CRC of a page (RFC 3533, section 6), which is zlib's with all bits in the opposite order."""
    found = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(found.to_bytes(4, "little").translate(_REVERSED), "big")


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the opposite order."""


def _link_layout(contents: Contents, link: _Link) -> Layout:
    if link.codec == "FLAC":  # the packets are the native stream
        (begin, end), *rest = link.payloads
        native = flac_layout(View(contents, [(begin + _FLAC_MAPPING, end), *rest]))
        if native is not None:
            return native
    pieces: list[Piece] = [(begin, end) for begin, end in link.pages]
    return Layout((Part(View(contents, pieces), trusted=link.ended and not link.lost),))


def _links(contents: Contents, walk: "_Pages") -> Iterator[_Link]:
    link = _Link()
    for page in walk.pages():
        if page.first and link.begun:
            yield link
            link = _Link()
        link.begun |= not page.first
        if page.first and link.serial is None:
            start = contents.read(page.payload, 8)
            codec = next((name for mark, name in _CODECS.items() if start.startswith(mark)), "")
            if codec:
                link.serial, link.codec = page.serial, codec
        if page.serial == link.serial:
            link.add(page)
            link.damaged += link.codec != "FLAC" and not walk.is_sound(page)
        else:
            link.others = True
    yield link


class _Pages:
    """A walk over the pages of a file.

    Attributes:
        faults: What is no page, as parts of a message.
        gaps: Whether there is such between pages.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self.faults: list[str] = []
        self.gaps = False

    def pages(self) -> Iterator[_Page]:
        """Yield the whole pages in order."""
        at, size = 0, self._contents.size
        while at < size:
            page = self._page(at)
            if page is None:
                found = self._search(at + 1)
                if self._partial(at):
                    self.faults.append("the last page is incomplete")
                elif any(self._contents.read(at, min(found - at, _CHUNK))):
                    self.faults.append(f"{found - at:,} bytes from byte {at:,} on are no pages")
                self.gaps = self.gaps or found < size
                at = found
                continue
            yield page
            at = page.end

    def _page(self, at: int) -> _Page | None:
        head = self._contents.read(at, 27 + 255)
        if head[:5] != b"OggS\0" or len(head) < 27 or len(head) < 27 + head[26]:
            return None
        payload = at + 27 + head[26]
        end = payload + sum(head[27 : 27 + head[26]])
        if end > self._contents.size:
            return None
        serial, number = int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little")
        position = int.from_bytes(head[6:14], "little", signed=True)
        return _Page(at, end, payload, bool(head[5] & 2), bool(head[5] & 4), serial, number, position)

    def is_sound(self, page: _Page) -> bool:
        """Say whether the checksum of a page is right."""
        data = bytearray(self._contents.read(page.begin, page.end - page.begin))
        stated, data[22:26] = int.from_bytes(data[22:26], "little"), bytes(4)
        return _checksum(data) == stated

    def _partial(self, at: int) -> bool:
        """Say whether a page begins here that the end of the file cuts off."""
        head = self._contents.read(at, 27 + 255)
        return b"OggS".startswith(head[:4]) and self._search(at + 1) == self._contents.size

    def _search(self, at: int) -> int:
        """Return where the next page begins; the end if there is none."""
        while chunk := self._contents.read(at, _CHUNK):
            found = chunk.find(b"OggS")
            while found >= 0:
                if self._page(at + found) is not None:
                    return at + found
                found = chunk.find(b"OggS", found + 1)
            at += max(len(chunk) - 3, 1)
        return self._contents.size
