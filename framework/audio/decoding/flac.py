"""FLAC: files whose header does not know their length, or states another one."""

from framework.audio.decoding.contents import Contents, View
from framework.audio.decoding.flac_headers import block_length, frame_checksum, number_in
from framework.audio.decoding.layout import Layout, Part

_TOTAL = (1 << 36) - 1
_LARGEST_FRAME = 1 << 17  # bytes that are searched for the last frame
_ID3V1 = 128  # bytes of a tag at the end


def flac_layout(contents: Contents, begin: int = 0) -> Layout | None:
    """Return the layout of a FLAC file that begins at a position; None for other files.

    The decoder would stop at the length in the header, so it is told that this is unknown.
    """
    head = contents.read(begin, 26)
    if head[:4] != b"fLaC" or head[4] & 0x7F != 0 or len(head) < 26:
        return None
    facts = int.from_bytes(head[18:26], "big")
    total = facts & _TOTAL
    view = View(contents, [(begin, begin + 18), (facts ^ total).to_bytes(8, "big"), (begin + 26, contents.size)])
    return Layout((Part(view, prove=lambda: _proven(contents, begin, head, total), seekable=False),), total or None)


def _proven(contents: Contents, begin: int, head: bytes, total: int) -> int | None:
    """Return the length in the header, if the last frame of the file is whole and ends there."""
    return total if total and _last_sample(contents, begin, head) == total else None


def _last_sample(contents: Contents, begin: int, head: bytes) -> int:
    """Return with how many samples the last frame of a file ends; -1 if it is not whole."""
    block = int.from_bytes(head[8:10], "big") if head[8:10] == head[10:12] else 0
    largest = int.from_bytes(head[15:18], "big") or _LARGEST_FRAME
    size = min(largest + 64 + _ID3V1, _LARGEST_FRAME, contents.size - begin)
    tail = contents.read(contents.size - size, size)
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
