"""Remote shards as local files: downloaded whole, checked, and kept in a cache of limited size."""

import contextlib
import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock

from datamodules.shards.tar import TarDamage, members
from framework.cache import cache_folder
from framework.errors import OstinatoError
from framework.liveness import alive
from framework.processes import output_of
from framework.runs.stored_commands import COMMAND, check_command
from framework.writing import FULL, part_of, remove_leftovers

TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as dead."""

_log = logging.getLogger(__name__)
_GIVE_UP = (400, 401, 403, 404, 410)


class DownloadError(OstinatoError, ValueError):
    """A remote file could not be had whole."""


class RemoteCache:
    """Local copies of remote files, safe for several processes at a time.

    Files are named by a hash of the whole URL (and of the expected content), so that no two are confused. The least
    recently used ones are removed when the cache is larger than its limit.

    Args:
        gigabytes: Limit of the cache's size, in 10^9 bytes.
        folder: Where the copies are; by default in the cache folder.
        attempts: How often a download is tried.
    """

    def __init__(self, gigabytes: float = 50.0, folder: Path | None = None, attempts: int = 4) -> None:
        self.limit = int(gigabytes * 1e9)
        self.folder = folder or cache_folder() / "shards"
        self.attempts = attempts

    def open(self, url: str, sha256: str = "") -> tuple[int, Path]:
        """Return a descriptor for reading and the path of a shard: the file itself if it is local, or its copy.

        Args:
            url: A path, or a URL `file:`, `http(s):`, `pipe:COMMAND` or of any kind that fsspec knows, if installed.
            sha256: Of the contents, where it is known.

        Raises:
            DownloadError: it cannot be had, or is not what it should be; the message names the URL.
            OSError: a local file cannot be opened.
        """
        if not is_remote(url):
            path = local_path(url)
            return os.open(path, os.O_RDONLY), path
        path = self.folder / f"{hashlib.sha256(f'{url} {sha256}'.encode()).hexdigest()[:32]}.tar"
        while True:
            # Another process may remove the file between our finding and our opening it.
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                os.utime(path)
                return descriptor, path
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    self._download(url, sha256, path)
            self._shrink(path)

    def _download(self, url: str, sha256: str, path: Path) -> None:
        for attempt in range(1, self.attempts + 1):
            part = part_of(path)
            try:
                with open(part, "w+b") as file:
                    _copy(url, file)
                    _check(file, sha256)
                os.replace(part, path)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    self._shrink(path, share=0.5)
                hopeless = isinstance(error, DownloadError) or getattr(error, "code", None) in _GIVE_UP
                if attempt == self.attempts or hopeless:
                    raise DownloadError(f"{url}: {error}") from None
                _log.warning("%s: %s: trying again", url, error)
                time.sleep(min(2.0**attempt, 30) * 0.25)
            else:
                return
            finally:
                part.unlink(missing_ok=True)

    def _shrink(self, newest: Path, share: float = 1.0) -> None:
        """Remove the files used least recently, down to the limit, or on a full disk to a share of what is there."""
        with FileLock(self.folder / "shrink.lock"):
            remove_leftovers(self.folder)
            files = []
            for path in self.folder.glob("*.tar"):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    files.append((stat.st_mtime_ns, stat.st_size, path))
            total = sum(size for _, size, _ in files)
            excess = total - min(self.limit, int(share * total))
            for _, size, path in sorted(files):
                if excess <= 0:
                    break
                if path != newest:
                    path.unlink(missing_ok=True)
                    path.with_name(f".{path.name}.index.npz").unlink(missing_ok=True)
                    excess -= size


def is_remote(url: str) -> bool:
    """Say whether a shard is anywhere else than in a local file."""
    return url.startswith(COMMAND) or ("://" in url and not url.startswith("file:"))


def local_path(url: str) -> Path:
    """Return the path of a local shard, given as a path or as a `file:` URL."""
    return Path(urllib.request.url2pathname(url[5:].removeprefix("//")) if url.startswith("file:") else url)


def read_url(url: str) -> bytes:
    """Return the contents of a small remote file.

    Raises:
        DownloadError: it cannot be had.
    """
    try:
        with _stream(url) as source:
            return source.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}: {error}") from None


def _copy(url: str, target: IO[bytes]) -> None:
    with _stream(url) as source:
        while block := source.read(1 << 20):
            target.write(block)
            alive()
        expected = getattr(source, "headers", {}).get("Content-Length")
    target.flush()
    if expected is not None and target.tell() != int(expected):
        raise ConnectionError(f"the connection broke after {target.tell()} of {expected} bytes")


@contextlib.contextmanager
def _stream(url: str) -> Iterator[IO[bytes]]:
    if url.startswith(COMMAND):
        check_command(url)
        with output_of(url.removeprefix(COMMAND)) as output:
            yield output
    elif url.startswith(("http://", "https://")):
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            yield response
    else:
        try:
            import fsspec
        except ModuleNotFoundError:
            raise DownloadError(f"reading {url.partition(':')[0]}: URLs needs fsspec: pip install fsspec") from None
        try:
            with fsspec.open(url, "rb") as file:
                yield file
        except ImportError as error:
            raise DownloadError(str(error)) from None


def _check(file: IO[bytes], sha256: str) -> None:
    try:
        for _ in members(file.fileno()):
            pass
    except TarDamage as error:
        raise ConnectionError(f"what arrived is no whole tar file ({error})") from None
    if sha256:
        with open(file.name, "rb") as again:
            found = hashlib.file_digest(again, "sha256").hexdigest()
        if found != sha256:
            raise ConnectionError("what arrived is not what the manifest says (another hash)")
