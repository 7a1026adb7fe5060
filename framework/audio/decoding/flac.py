"""FLAC: files whose header does not know their length, or states another one."""

from framework.audio.decoding.contents import Contents, View
from framework.audio.decoding.layout import Layout, Part

_TOTAL = (1 << 36) - 1


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
    return Layout((Part(view, seekable=False),), total or None)
