"""Remote shards as local files: downloaded whole, checked, and kept in a cache of limited size."""

import contextlib
import hashlib
import http.client
import io
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from filelock import FileLock

from datamodules.shards.tar import TarDamage, members
from framework.cache import cache_folder
from framework.errors import OstinatoError
from framework.json_text import LARGEST
from framework.liveness import alive
from framework.processes import output_of
from framework.runs.stored_commands import COMMAND, check_command
from framework.writing import FULL, part_of, remove_leftovers

TIMEOUT = 60.0
"""Seconds without a byte after which a server counts as dead."""

PIPE_TIMEOUT = 600.0
"""Seconds without a byte after which a command counts as hanging; it may have to prepare its output."""
LEAST_RATE = 10_000
"""Bytes per second below which a download counts as hanging."""

_BLOCK = 1 << 20
_LARGEST = 1 << 32
"""Bytes that a shard of unknown size may have, however small the cache is."""
_log = logging.getLogger(__name__)
_GIVE_UP = (400, 401, 403, 404, 410)


class DownloadError(OstinatoError, ValueError):
    """A remote file could not be had whole."""


class RemoteCache:
    """Local copies of remote files, safe for several processes at a time.

    Files are named by a hash of the whole URL (and of the expected content), so that no two are confused. The first
    time that a process uses a copy, the copy's hash is checked, and a damaged one is downloaded again. The least
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
        self._hashes: dict[str, str] = {}
        """Hashes of the copies that this process has used, by their names."""

    def open(
        self, url: str, sha256: str = "", size: int | None = None, abandoned: Callable[[], bool] = lambda: False
    ) -> tuple[int, Path]:
        """Return a descriptor for reading and the path of a shard: the file itself if it is local, or its copy.

        Args:
            url: A path, or a URL `file:`, `http(s):`, `pipe:COMMAND` or of any kind that fsspec knows, if installed.
            sha256: Of the contents, where it is known.
            size: Bytes of the contents, where they are known.
            abandoned: Says whether the download is not wanted any more.

        Raises:
            DownloadError: it cannot be had, or is not what it should be; the message names the URL.
            OSError: a local file cannot be opened.
        """
        if not is_remote(url):
            path = local_path(url)
            return os.open(path, os.O_RDONLY), path
        path = self._path(url, sha256)
        while True:
            # Another process may remove the file between our finding and our opening it.
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY)
                if self._is_sound(descriptor, path, url, sha256):
                    # The time of the last access says what was used least recently, that of the last change is the
                    # index's.
                    os.utime(path, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))
                    return descriptor, path
                os.close(descriptor)
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    self._download(url, sha256, size, path, abandoned)
            self._shrink(path)

    def discard(self, url: str, sha256: str = "") -> None:
        """Remove the copy of a remote file, so that it is downloaded again; it has to be what it was."""
        self._path(url, sha256).unlink(missing_ok=True)

    def _path(self, url: str, sha256: str) -> Path:
        return self.folder / f"{hashlib.sha256(f'{url} {sha256}'.encode()).hexdigest()[:32]}.tar"

    def _is_sound(self, descriptor: int, path: Path, url: str, sha256: str) -> bool:
        """Say whether a copy is what it should be; remove it if it is not."""
        if path.name in self._hashes:
            return True
        found = hash_of(descriptor)
        expected = sha256 or _read_text(path.with_suffix(".sha256")) or found
        if found == expected:
            self._hashes[path.name] = found
            return True
        _log.warning("%s: its copy in the cache is damaged: downloading it again", url)
        with FileLock(path.with_suffix(".lock")), contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                path.unlink()
        return False

    def _download(self, url: str, sha256: str, size: int | None, path: Path, abandoned: Callable[[], bool]) -> None:
        remove_leftovers(self.folder)
        limits = Limits(size, max(self.limit, _LARGEST), abandoned)

        def attempt() -> None:
            part = part_of(path)
            try:
                with open(part, "w+b") as file:
                    _copy(url, file, limits)
                    found = _check(file, sha256)
                    os.fsync(file.fileno())
                if found != self._hashes.setdefault(path.name, found):
                    raise DownloadError(
                        "it has changed since the run began: make the data another data set, and start another run"
                    )
                path.with_suffix(".sha256").write_text(found)
                os.replace(part, path)
            except OSError as error:
                if error.errno in FULL:
                    self._shrink(path, share=0.5)
                raise
            finally:
                part.unlink(missing_ok=True)

        again(url, attempt, self.attempts)

    def _shrink(self, newest: Path, share: float = 1.0) -> None:
        """Remove the files used least recently, down to the limit, or on a full disk to a share of what is there."""
        with FileLock(self.folder / "shrink.lock"):
            remove_leftovers(self.folder)
            files = []
            for path in self.folder.glob("*.tar"):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    files.append((stat.st_atime_ns, stat.st_size, path))
            total = sum(size for _, size, _ in files)
            excess = total - min(self.limit, int(share * total))
            for _, size, path in sorted(files):
                if excess <= 0:
                    break
                if path != newest:
                    for name in (path, path.with_name(f".{path.name}.index.npz"), path.with_suffix(".sha256")):
                        name.unlink(missing_ok=True)
                    excess -= size


class Limits(NamedTuple):
    """What a download may be.

    Attributes:
        size: Bytes that it has to have; None if that is not known.
        most: Bytes that it may have, where `size` is not known.
        abandoned: Says whether it is not wanted any more.
    """

    size: int | None
    most: int
    abandoned: Callable[[], bool] = lambda: False

    @property
    def allowed(self) -> str:
        """How many bytes there may be, in words."""
        if self.size is not None:
            return f"the {self.size:,} bytes that the manifest states"
        return f"the {self.most:,} bytes that are allowed"


def again(url: str, attempt: Callable[[], Any], attempts: int = 4) -> Any:
    """Return what an attempt gives, which is made again after trouble of the network that may pass.

    Raises:
        DownloadError: the last attempt failed, or one in a way that another one will, too.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except (OSError, ValueError, http.client.HTTPException) as error:
            hopeless = isinstance(error, DownloadError) or getattr(error, "code", None) in _GIVE_UP
            if number == attempts or hopeless:
                raise DownloadError(f"{url}: {error}") from None
            _log.warning("%s: %s: trying again", url, error)
            time.sleep(min(2.0**number, 30) * 0.25)
    raise AssertionError


def is_remote(url: str) -> bool:
    """Say whether a shard is anywhere else than in a local file."""
    return url.startswith(COMMAND) or ("://" in url and not url.startswith("file:"))


def local_path(url: str) -> Path:
    """Return the path of a local shard, given as a path or as a `file:` URL."""
    return Path(urllib.request.url2pathname(url[5:].removeprefix("//")) if url.startswith("file:") else url)


def read_url(url: str) -> bytes:
    """Return the contents of a small remote file.

    Raises:
        DownloadError: it cannot be had, or is larger than JSON may be.
    """

    def attempt() -> bytes:
        file = io.BytesIO()
        _copy(url, file, Limits(None, LARGEST))
        return file.getvalue()

    contents: bytes = again(url, attempt)
    return contents


def _copy(url: str, target: IO[bytes], limits: Limits) -> None:
    """Copy what is behind a URL, within the limits and at a speed that makes sense.

    Raises:
        DownloadError: it is larger than it may be, or is not wanted any more.
        OSError, HTTPException: the connection broke, or is too slow.
    """
    began, got, most = time.monotonic(), 0, limits.most if limits.size is None else limits.size
    with _stream(url) as source:
        stated = getattr(source, "headers", {}).get("Content-Length")
        expected = int(stated) if stated is not None else None
        if expected is not None and expected > most:
            raise DownloadError(f"it has {expected:,} bytes, more than {limits.allowed}")
        read = getattr(source, "read1", source.read)
        while block := read(_BLOCK):
            got += len(block)
            if got > most:
                raise DownloadError(f"it has more than {limits.allowed}")
            target.write(block)
            alive()
            if limits.abandoned():
                raise DownloadError("it is not needed any more")
            if time.monotonic() - began > TIMEOUT + got / LEAST_RATE:
                raise TimeoutError(f"only {got:,} bytes arrived in {time.monotonic() - began:.0f} s")
    target.flush()
    if expected is not None and got != expected:
        raise ConnectionError(f"the connection broke after {got} of {expected} bytes")
    if limits.size is not None and got != limits.size:
        raise ConnectionError(f"{got:,} bytes arrived instead of {limits.allowed}")


@contextlib.contextmanager
def _stream(url: str) -> Iterator[IO[bytes]]:
    if url.startswith(COMMAND):
        check_command(url)
        with output_of(url.removeprefix(COMMAND), PIPE_TIMEOUT) as output:
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


def _check(file: IO[bytes], sha256: str) -> str:
    """Return the hash of a shard that has arrived.

    Raises:
        ConnectionError: it is not whole, or another one.
    """
    try:
        for _ in members(file.fileno()):
            pass
    except TarDamage as error:
        raise ConnectionError(f"what arrived is no whole tar file ({error})") from None
    found = hash_of(file.fileno())
    if sha256 and found != sha256:
        raise ConnectionError("what arrived is not what the manifest says (another hash)")
    return found


def hash_of(descriptor: int) -> str:
    """Return the SHA-256 of an open file."""
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
