"""Reading bytes out of shards that stay open."""

import collections
import errno
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from datamodules.shards.index import BadClipError
from datamodules.shards.remote import RemoteCache, hash_of, is_remote
from framework.os_errors import refused

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

_log = logging.getLogger(__name__)
_MOST_OPEN = 256
_LEAST_OPEN = 4


def _allowed() -> int:
    """Return how many shards may be open at a time: a part of what the process may open, as others need some too."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 1024
    return _MOST_OPEN if limit < 0 else min(max(limit // 4, _LEAST_OPEN), _MOST_OPEN)


class ShardFiles:
    """The files of shards by number: opened when they are needed, the ones opened longest ago closed again.

    Args:
        urls: Paths or URLs of the shards.
        hashes: SHA-256 of each, or "" where unknown.
        cache: Where copies of remote shards are kept.
        sizes: Bytes of each, or None where unknown; for remote shards.
    """

    def __init__(
        self,
        urls: Sequence[str],
        hashes: Sequence[str],
        cache: RemoteCache,
        sizes: Sequence[int | None] | None = None,
    ) -> None:
        self.urls, self._hashes, self._cache = tuple(urls), tuple(hashes), cache
        self._sizes = tuple(sizes) if sizes else (None,) * len(self.urls)
        self._stamps: dict[int, tuple[int, int]] = {}
        """Size and time of the shards as they were when they were first opened."""
        self._overwritten: set[int] = set()
        self._open: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._allowed = _allowed()

    def __getstate__(self) -> dict[str, Any]:
        # A descriptor means nothing in another process.
        return self.__dict__ | {"_open": collections.OrderedDict()}

    def path(self, shard: int, abandoned: Callable[[], bool] = lambda: False) -> Path:
        """Return where a shard is, or its copy; a remote one is downloaded. Safe beside reading in another thread.

        Args:
            shard: Its number.
            abandoned: Says whether a download is not wanted any more.

        Raises:
            OSError: it cannot be opened.
            DownloadError: it cannot be had.
        """
        descriptor, path = self._cache.open(self.urls[shard], self._hashes[shard], self._sizes[shard], abandoned)
        self._stamps.setdefault(shard, _stamp(descriptor))
        os.close(descriptor)
        return path

    def descriptor(self, shard: int) -> int:
        """Return the descriptor of a shard.

        Raises:
            BadClipError: it was overwritten while it was in use.
            OSError: it cannot be opened.
            DownloadError: it cannot be had.
        """
        descriptor = self._open.get(shard)
        if descriptor is None:
            if shard in self._overwritten:
                raise BadClipError("unreadable", "its shard was overwritten while it was in use")
            while len(self._open) >= self._allowed:
                os.close(self._open.popitem(last=False)[1])
            descriptor = self._opened(shard)
            self._open[shard] = descriptor
            if is_remote(self.urls[shard]):
                # Its hash was checked, or it was downloaded again and is what it was.
                self._stamps[shard] = _stamp(descriptor)
            self._stamps.setdefault(shard, _stamp(descriptor))
            if not self.unchanged((shard,)):
                return self.descriptor(shard)
        return descriptor

    def unchanged(self, shards: Iterable[int]) -> bool:
        """Say whether open shards are still what they were when they were indexed, to be asked after reading.

        A remote shard whose copy was overwritten is closed and its copy removed: it is downloaded again when it is
        read again. A local one may have been written again with the same contents; of another one nothing is read
        any more.
        """
        changed = [s for s in shards if (d := self._open.get(s)) is not None and _stamp(d) != self._stamps[s]]
        for shard in changed:
            descriptor, known = self._open[shard], self._hashes[shard]
            stamp = _stamp(descriptor)
            if not is_remote(self.urls[shard]) and known and hash_of(descriptor) == known:
                self._stamps[shard] = stamp
                continue
            os.close(self._open.pop(shard))
            if is_remote(self.urls[shard]):
                self._cache.discard(self.urls[shard], known)
            else:
                _log.warning(
                    "the shard %s was overwritten while it was in use: it is not read any more", self.urls[shard]
                )
                self._overwritten.add(shard)
        return not changed

    def _opened(self, shard: int) -> int:
        while True:
            try:
                return self._cache.open(self.urls[shard], self._hashes[shard], self._sizes[shard])[0]
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE) or not self._open:
                    raise
            # Other parts of the program hold more open than was thought: make room.
            self._allowed = max(len(self._open) // 2, 1)
            while len(self._open) >= self._allowed and self._open:
                os.close(self._open.popitem(last=False)[1])

    def read(self, shard: int, offset: int, into: memoryview) -> None:
        """Fill a buffer with the bytes of a shard from an offset on.

        Raises:
            BadClipError: the shard ends before.
        """
        got = os.preadv(self._open.get(shard) or self.descriptor(shard), (into,), offset)
        if got != len(into):
            raise BadClipError("unreadable", f"the shard ends {len(into) - got} bytes too early")

    def contents(self, shard: int, offset: int, size: int) -> bytes:
        """Return bytes of a shard.

        Raises:
            BadClipError: the shard ends before.
            MachineError: it cannot be read.
        """
        try:
            data = os.pread(self.descriptor(shard), size, offset)
        except OSError as error:
            raise refused(f"the shard {self.urls[shard]}", error) from error
        if not self.unchanged((shard,)):
            return self.contents(shard, offset, size)
        if len(data) != size:
            raise BadClipError("unreadable", f"the shard ends {size - len(data)} bytes too early")
        return data

    def close(self) -> None:
        """Close all shards; they are opened again when they are needed."""
        while self._open:
            os.close(self._open.popitem()[1])


def _stamp(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
