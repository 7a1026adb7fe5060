"""What a file of audio consists of, as far as its structure shows it without decoding."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from framework.audio.decoding.contents import Contents


class Part(NamedTuple):
    """Bytes that a decoder takes for one file.

    Attributes:
        contents: The bytes; None for those of the whole file, unchanged.
        samples: Samples of a channel that decoding gives, where the structure proves the number.
        prove: Finds that number, where it takes a while.
        trusted: Whether the number of samples that the decoder announces is what it will decode.
        apparent_size: Size in bytes that the decoder is told, where it would otherwise stop before the end.
        seekable: Whether a decoder can go to any sample of it.
        most: Samples of a channel that there can be, where the decoder gives more.
    """

    contents: Contents | None = None
    samples: int | None = None
    prove: Callable[[], int | None] | None = None
    trusted: bool = False
    apparent_size: int | None = None
    seekable: bool = True
    most: int | None = None


class Layout(NamedTuple):
    """The parts of a file, and what is wrong with it.

    Attributes:
        parts: One, or several that were joined.
        claimed: Samples of a channel that the file should have by its own account, where it has one.
        missing: Bytes of sound that are missing at the end, relative to those that are there.
        faults: What is wrong, as parts of a message.
    """

    parts: Sequence[Part]
    claimed: int | None = None
    missing: float = 0.0
    faults: Sequence[str] = ()


DIRECT = Layout((Part(),))
"""The layout of a file that the decoder opens without changes."""
