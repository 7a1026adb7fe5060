"""A user's own audio: a folder of recordings, a packed folder, or webdataset shards from anywhere."""

import functools
import glob
import re
import urllib.parse
from pathlib import Path
from typing import Any, ClassVar, Literal

from braceexpand import braceexpand

from datamodules.mixture import Mixture
from datamodules.packing.pack import pack, packing_hash
from datamodules.packing.recordings import Recording, find_recordings
from datamodules.shards.remote import is_remote, local_path
from datamodules.shards.writer import MANIFEST, read_data_set
from datamodules.streaming.audio_data import AudioData
from framework.annotations import PositiveFloat, UnitInterval
from framework.cache import cache_folder
from framework.errors import InvalidValueError
from framework.folders import list_folder
from framework.hyperparameters import runtime
from framework.os_errors import refused
from framework.runs.stored_commands import COMMAND, check_command


class AudioFolder(Mixture):
    """Audio of one's own.

    A folder of wav, flac, ogg or mp3 files at any depth is packed once, at `sample_rate`, into the cache folder, and
    again when files have changed. A folder or URL with a `dataset.json`, as `ostinato pack` makes it, is read as it is.
    So are other webdataset shards, `data/{000..009}.tar` or `https://host/{a,b}.tar` or `pipe:COMMAND`, several joined
    by `::`: those with the word `validation` or `test` in the name of their file or folder are held out, or else the
    last one for validation.

    With an `f0_hop` the pitch of the recordings (of one voice) is tracked when they are packed, for which torchcrepe
    has to be installed; what is packed already must have been packed with `ostinato pack --f0`.

    Several folders joined by `::` are a mixture: `speech::piano`, with shares of an epoch as `weights` say. With
    weights, shards joined by `::` are data sets of their own, too.

    Args:
        path: The folder, URL or shards.
        validation_share: Part of the files held out for validation when a folder is packed.
        test_share: The same for the test.
        group: Whether each file by itself, or each folder (of a speaker, an album) as a whole, goes into one split.
        clip_seconds: Longer files are packed as clips of equal length, at most this.
    """

    held_out_advice: ClassVar[str] = "`--data.validation_share 0` trains without measuring and without best.ckpt"

    path: str = runtime("")
    validation_share: UnitInterval = 0.05
    test_share: UnitInterval = 0.05
    group: Literal["file", "folder"] = "file"
    clip_seconds: PositiveFloat = 30.0

    @property
    def source(self) -> str:
        """The folder, URL or shards."""
        return self.path

    @property
    def holds_out(self) -> bool:
        """Whether held-out clips are wanted."""
        return super().holds_out and self.validation_share != 0

    def build_parts(self) -> tuple[AudioData, ...]:
        """Return a data set for each folder that `path` names; this one itself, if it is one."""
        paths = self.path.split("::")
        if len(paths) == 1 or (self._names_shards and not self.weights):
            return (self,)
        return tuple(type(self)(**{**self.hparams, "path": path, "weights": ()}) for path in paths)

    @functools.cached_property
    def folder(self) -> Path | str:
        """The packed folder: `path` itself, or a folder in the cache named after the recordings and their packing."""
        if not self.path:
            raise InvalidValueError("AudioFolder.path is empty: name a folder of recordings (--data FOLDER)")
        if is_remote(self.path):
            return self.path
        path = local_path(self.path).expanduser()
        if not path.exists():
            raise InvalidValueError(f"{path}: no such folder: name a folder of recordings by --data")
        if (path / MANIFEST).exists():
            return path
        if not self.recordings:
            find_recordings(path)  # says what there is instead
        name = packing_hash(self.recordings, self.sample_rate, *self._packing.values())
        return cache_folder() / "audio_folders" / f"{path.resolve().name[:40]}-{name[:12]}"

    @functools.cached_property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the packed folder, or None for shards named one by one."""
        return None if self._listed else read_data_set(self.folder)

    def prepare_data(self) -> None:
        """Pack the recordings if `path` is a folder of them and that was not done yet.

        Raises:
            ValueError: there is no such folder, or nothing in it that can be read.
        """
        if self._is_mixture:
            return super().prepare_data()
        if self._listed or is_remote(str(self.folder)) or (Path(self.folder) / MANIFEST).exists():
            return
        source = local_path(self.path).expanduser()
        pack(source, Path(self.folder), sample_rate=self.sample_rate, reuse=True, **self._packing)

    def shards(self, split: str) -> list[str]:
        """Return paths or URLs of the shards of a split."""
        if self._is_mixture:
            return super().shards(split)
        if not self._listed:
            return AudioData.shards(self, split)
        named = {url: _split_of(url) for url in self._listed}
        if set(named.values()) == {"train"} and len(named) > 1:
            named[self._listed[-1]] = "validation"
        return [url for url in self._listed if named[url] == split]

    def fingerprint(self) -> str:
        """Return a hash of all clips, and of a mixture's data sets."""
        return AudioData.fingerprint(self) if not self._is_mixture else super().fingerprint()

    @property
    def _is_mixture(self) -> bool:
        return self.parts != (self,)

    @functools.cached_property
    def _names_shards(self) -> bool:
        return bool(self.path) and all(map(_is_shards, self.path.split("::")))

    @functools.cached_property
    def _listed(self) -> list[str]:
        """The shards that `path` names one by one; none, if it is a folder."""
        if not self._names_shards:
            return [] if self.recordings or is_remote(self.path) else _shards_in(self.path)
        return [url for part in self.path.split("::") for url in _expanded(part)]

    @functools.cached_property
    def recordings(self) -> list[Recording]:
        """The audio files under `path`; none, if it is packed, or not a folder."""
        path = local_path(self.path).expanduser()
        if not self.path or is_remote(self.path) or (path / MANIFEST).exists():
            return []
        try:
            return find_recordings(path).recordings
        except ValueError:
            return []

    @property
    def _packing(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "validation": self.validation_share,
            "test": self.test_share,
            "clip_seconds": self.clip_seconds,
        } | ({"f0": True} if self.f0_hop else {})


def _split_of(url: str) -> str:
    words = re.findall("[a-z]+", "/".join(url.lower().split("/")[-2:]))
    return next((split for split in ("validation", "test") if split in words), "train")


def _is_shards(url: str) -> bool:
    """Say whether a path or URL names shards, rather than a folder or a recording."""
    if url.startswith(COMMAND):
        return True
    if is_remote(url):
        return urllib.parse.urlsplit(url).path.lower().endswith(".tar")
    path = local_path(url).expanduser()
    if path.is_dir():
        return False
    return url.lower().endswith(".tar") or (path.is_file() and _has_tar_magic(path))


def _has_tar_magic(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(262)[257:] == b"ustar"
    except OSError as error:
        raise refused(path, error) from error


def _expanded(part: str) -> list[str]:
    """Return the shards that a pattern with braces or stars means; a file of that very name is meant by itself."""
    check_command(part)
    if is_remote(part):
        return list(braceexpand(part))
    if local_path(part).expanduser().is_file():
        return [part]
    found: list[str] = []
    for pattern in braceexpand(part):
        found += sorted(glob.glob(str(Path(pattern).expanduser()))) if "*" in pattern else [pattern]
    if remote := next(filter(is_remote, found), None):
        raise InvalidValueError(f"{part}: means {remote!r}, no local file: write its beginning without braces")
    return found


def _shards_in(path: str) -> list[str]:
    folder = local_path(path).expanduser()
    return [] if not path or (folder / MANIFEST).exists() else sorted(map(str, list_folder(folder).shards))
