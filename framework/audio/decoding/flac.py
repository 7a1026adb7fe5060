"""FLAC: files whose header does not know their length, or states another one."""

from framework.audio.decoding.contents import Contents, View
from framework.audio.decoding.flac_headers import block_length, frame_checksum, number_in
from framework.audio.decoding.layout import Layout, Part

_TOTAL = (1 << 36) - 1
_LARGEST_FRAME = 1 << 17  # bytes that are searched for the last frame
_PIECE = 1 << 20  # bytes that are searched at once for the header of another file
_ID3V1 = 128  # bytes of a tag at the end


def flac_layout(contents: Contents, begin: int = 0) -> Layout | None:
    """Return the layout of a FLAC file that begins at a position, and of those joined to it; None for other files.

    The decoder would stop at the length in the header, so it is told that this is unknown.
    """
    if not _is_header(contents.read(begin, 26)):
        return None
    begins = [begin, *_further_headers(contents, begin + 26)]
    found = [_part(contents, *ends) for ends in zip(begins, [*begins[1:], contents.size], strict=True)]
    claimed = sum(total for _, total in found) if all(total for _, total in found) else None
    return Layout(tuple(part for part, _ in found), claimed)


def _is_header(head: bytes) -> bool:
    return head[:4] == b"fLaC" and len(head) == 26 and head[4] & 0x7F == 0


def _further_headers(contents: Contents, begin: int) -> list[int]:
    """Return the positions of all further files in one: of the marker with a stream header of 34 bytes behind it."""
    found = []
    while len(piece := contents.read(begin, _PIECE)) > 3:
        at = -1
        while (at := piece.find(b"fLaC", at + 1)) >= 0:
            head = contents.read(begin + at, 26)
            if _is_header(head) and head[5:8] == b"\0\0\x22":
                found.append(begin + at)
        begin += len(piece) - 3
    return found


def _part(contents: Contents, begin: int, end: int) -> tuple[Part, int]:
    """Return one file, and the number of samples that it should have; 0 where that is not known."""
    head = contents.read(begin, 26)
    facts = int.from_bytes(head[18:26], "big")
    total = facts & _TOTAL
    last = _last_sample(contents, begin, end, head)
    view = View(contents, [(begin, begin + 18), (facts ^ total).to_bytes(8, "big"), (begin + 26, end)])
    # The header is believed if the last frame is whole and ends there.
    part = Part(view, prove=lambda: total if total and last == total else None, seekable=False)
    return part, max(total, last) if total else 0


def _last_sample(contents: Contents, begin: int, end: int, head: bytes) -> int:
    """Return with how many samples the last frame of a file ends; -1 if it is not whole."""
    block = int.from_bytes(head[8:10], "big") if head[8:10] == head[10:12] else 0
    largest = int.from_bytes(head[15:18], "big") or _LARGEST_FRAME
    size = min(largest + 64 + _ID3V1, _LARGEST_FRAME, end - begin)
    tail = contents.read(end - size, size)
    if tail[-_ID3V1:].startswith(b"TAG"):
        tail = tail[:-_ID3V1]
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        header = tail[at : at + 16]
        number = number_in(header) if header[1:2] in (b"\xf8", b"\xf9") else -1
        if number >= 0 and frame_checksum(tail[at:-2]) == int.from_bytes(tail[-2:], "big"):
            first = number if header[1] & 1 else number * block
            return first + block_length(header) if block or header[1] & 1 else -1
    return -1
