"""Streaming segments of clips out of shards, beside webdataset and other loaders."""

from collections.abc import Iterator
from pathlib import Path

from framework.bench.harness import Contest


def contests(peers: dict[str, Path]) -> Iterator[Contest]:
    """Yield nothing yet."""
    yield from ()
