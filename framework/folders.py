"""Lists the contents of a folder: recordings, unreadable audio, shards and other files."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from framework.os_errors import explain, of_the_machine, refused

AUDIO_SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc"),
    *(".au", ".snd", ".caf", ".w64", ".rf64"),
)
"""Suffixes of recordings, in lower or upper case."""

_CONVERT = (
    *(".m4a", ".m4b", ".aac", ".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".mka", ".wma", ".wmv", ".asf"),
    *(".ape", ".wv", ".mpc", ".alac", ".amr", ".ac3", ".dts", ".tta", ".dsf", ".dff", ".ra", ".spx", ".avi"),
)
_UNPACK = {
    ".zip": "unzip",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".tgz": "tar -xzf",
    ".gz": "gunzip",
    ".bz2": "bunzip2",
    ".xz": "unxz",
}
_SHOWN = 5


class Unusable(NamedTuple):
    """A file that may be a recording but cannot be read, with the reason and the remedy."""

    path: Path
    reason: str


class Listing(NamedTuple):
    """The contents of a folder.

    Attributes:
        audio: Recordings by their suffix, in order.
        unusable: Files that would have to be converted or unpacked, dead links, folders without permission.
        shards: Tar files.
        others: All other files.
        hidden: Files and folders whose names begin with a dot; what is in these is not looked at.
    """

    audio: list[Path]
    unusable: list[Unusable]
    shards: list[Path]
    others: list[Path]
    hidden: list[Path]


class Ignored(NamedTuple):
    """The files in a folder that are not recordings.

    Attributes:
        files: Number of files, by suffix.
        examples: Names of some of them.
        hidden: Names of hidden files and folders, which are skipped.
        shards: Names of tar files, which are not unpacked.
    """

    files: dict[str, int]
    examples: list[str]
    hidden: list[str]
    shards: list[str]

    @property
    def messages(self) -> Iterator[str]:
        """Sentences about the skipped files."""
        if self.files:
            kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in self.files.items())
            yield f"{sum(self.files.values())} files are not audio ({kinds}): {_names(self.examples)}"
        if self.hidden:
            yield f"{len(self.hidden)} hidden files or folders are skipped: {_names(self.hidden)}"
        if self.shards:
            yield f"{len(self.shards)} tar files beside the recordings are not used: {_names(self.shards)}"


def list_folder(path: Path) -> Listing:
    """List a folder at any depth, or the one file that `path` is, in a fixed order.

    Links to folders are followed, and each folder is listed once, so that a link back up does not lead to a loop.

    Raises:
        MachineError: the system cannot list a folder that may be sound.
    """
    found = Listing([], [], [], [], [])
    if not path.is_dir():
        _sort(path, found, named=True)
        return found
    seen = set()
    for folder, folders, names in os.walk(path, followlinks=True, onerror=lambda e: found.unusable.append(_denied(e))):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        found.hidden.extend(Path(folder, name) for name in folders if name.startswith("."))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            _sort(Path(folder, name), found)
    for paths in (found.audio, found.shards, found.others, found.hidden):
        paths.sort()
    return found


def ignored(listing: Listing, folder: Path) -> Ignored:
    """Return the files of a folder that are not recordings, with paths relative to the folder."""

    def names(paths: list[Path]) -> list[str]:
        return [printable(path.relative_to(folder).as_posix() if path != folder else path.name) for path in paths]

    kinds = Counter(path.suffix.lower() for path in listing.others)
    return Ignored(dict(kinds.most_common()), names(listing.others[:100]), names(listing.hidden), names(listing.shards))


def printable(path: str | Path) -> str:
    """Return a path as text that can be printed and stored, with `\\x..` for bytes that are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def remedy(name: str) -> str:
    """Return why a file with such a name cannot be read as a recording, and what to do; "" where it may be one."""
    suffix = Path(name).suffix.lower()
    if suffix in _CONVERT:
        return f"{suffix} files cannot be read: convert it with `ffmpeg -i FILE FILE.wav`"
    if suffix in _UNPACK:
        tar = name.lower().endswith((".tar.gz", ".tar.bz2", ".tar.xz"))
        return f"is an archive: unpack it with `{'tar -xf' if tar else _UNPACK[suffix]} FILE`"
    return ""


def _sort(path: Path, found: Listing, named: bool = False) -> None:
    """Put a file where it belongs; one that the user has named is a recording whatever its suffix."""
    if path.name.startswith(".") and not named:
        found.hidden.append(path)
        return
    reason = remedy(path.name)
    audio = path.suffix.lower() in AUDIO_SUFFIXES or (named and path.suffix.lower() != ".tar")
    if not reason and audio:
        reason = _not_regular(path)
    if reason:
        found.unusable.append(Unusable(path, reason))
    elif audio:
        found.audio.append(path)
    else:
        (found.shards if path.suffix.lower() == ".tar" else found.others).append(path)


def _not_regular(path: Path) -> str:
    """Return why a path is no file that could be read to an end; "" if it is one."""
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {os.readlink(path)}, which does not exist" if path.is_symlink() else "does not exist"
    except OSError as error:
        return f"cannot be read ({explain(error)})"
    return "" if stat.S_ISREG(kind) else "is not a regular file"


def _denied(error: OSError) -> Unusable:
    if of_the_machine(error):
        raise refused(error.filename, error) from error
    return Unusable(Path(error.filename), f"the folder cannot be read ({explain(error)})")


def _names(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
