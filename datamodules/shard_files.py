"""Reading bytes out of shards that stay open."""

import collections
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.index import BadClipError
from datamodules.remote import RemoteCache

_OPEN_SHARDS = 256


class ShardFiles:
    """The files of shards by number: opened when they are needed, the ones opened longest ago closed again.

    Args:
        urls: Paths or URLs of the shards.
        hashes: SHA-256 of each, or "" where unknown; for remote shards.
        cache: Where copies of remote shards are kept.
    """

    def __init__(self, urls: Sequence[str], hashes: Sequence[str], cache: RemoteCache) -> None:
        self.urls, self._hashes, self._cache = tuple(urls), tuple(hashes), cache
        self._open: collections.OrderedDict[int, int] = collections.OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        # A descriptor means nothing in another process.
        return self.__dict__ | {"_open": collections.OrderedDict()}

    def path(self, shard: int) -> Path:
        """Return where a shard is, or its copy; a remote one is downloaded. Safe beside reading in another thread.

        Raises:
            OSError: it cannot be opened.
            DownloadError: it cannot be had.
        """
        descriptor, path = self._cache.open(self.urls[shard], self._hashes[shard])
        os.close(descriptor)
        return path

    def descriptor(self, shard: int) -> int:
        """Return the descriptor of a shard.

        Raises:
            OSError: it cannot be opened.
            DownloadError: it cannot be had.
        """
        descriptor = self._open.get(shard)
        if descriptor is None:
            if len(self._open) >= _OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
            descriptor, _ = self._cache.open(self.urls[shard], self._hashes[shard])
            self._open[shard] = descriptor
        return descriptor

    def read(self, shard: int, offset: int, into: memoryview) -> None:
        """Fill a buffer with the bytes of a shard from an offset on.

        Raises:
            BadClipError: the shard ends before.
        """
        got = os.preadv(self._open.get(shard) or self.descriptor(shard), (into,), offset)
        if got != len(into):
            raise BadClipError("unreadable", f"the shard ends {len(into) - got} bytes too early")

    def close(self) -> None:
        """Close all shards; they are opened again when they are needed."""
        while self._open:
            os.close(self._open.popitem()[1])
