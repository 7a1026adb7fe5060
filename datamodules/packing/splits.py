"""The shares of the splits, and the draw that decides which split a piece is in."""

from hashlib import blake2b

SPLITS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def draw(purpose: str, name: str) -> float:
    """Return a number in [0, 1) that depends on these two strings alone, on every machine and in every version."""
    return int.from_bytes(blake2b(f"{purpose}/{name}".encode(), digest_size=8).digest(), "big") / 2**64
