"""Finding a user's recordings, and dividing them into splits and shards; their sound is not looked at yet."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from framework.errors import InvalidValueError
from framework.folders import Ignored, ignored, list_folder, printable
from framework.os_errors import explain

# How much larger 16 bit samples are than their files, roughly: only to make shards of similar size.
_EXPANSION = {".flac": 2.0, ".ogg": 10.0, ".oga": 10.0, ".opus": 10.0, ".mp3": 8.0}
_SMALLEST, _LARGEST, _SHARDS = 1 << 22, 1 << 28, 64
_PIECE = re.compile(r"(.+)-\d{4,}")  # the key of a piece of a long file


@dataclass(frozen=True)
class Recording:
    """An audio file: its path, the path as seen from the source folder, its size in bytes and when it was changed."""

    path: Path
    name: str
    size: int
    changed: int

    @property
    def expanded(self) -> float:
        """Roughly its size as 16 bit samples."""
        return self.size * _EXPANSION.get(self.path.suffix.lower(), 1.0)


class Skipped(NamedTuple):
    """A file that is left out, or part of one, and why.

    Attributes:
        file: Its name.
        reason: Why.
        kept: Seconds of it that are used.
        lost: Seconds of it that are missing, where that is known.
    """

    file: str
    reason: str
    kept: float = 0.0
    lost: float = 0.0


class Found(NamedTuple):
    """What is in a folder: recordings, files that cannot be used as such, and all else."""

    recordings: list[Recording]
    skipped: list[Skipped]
    ignored: Ignored


class Job(NamedTuple):
    """What becomes one shard: its split and number, and the recordings with the keys they get."""

    split: str
    number: int
    recordings: tuple[tuple[str, Recording], ...]


def find_recordings(source: Path) -> Found:
    """Find all audio files under a folder, or the one that `source` is.

    Copies of a file are left out: in two splits they would make a test of memory out of a test of music.

    Raises:
        ValueError: there is no such folder, or no audio file in it.
    """
    if not source.exists():
        raise InvalidValueError(f"{source}: no such file or folder")
    listing = list_folder(source)
    found = []
    skipped = [Skipped(_name(path, source), reason) for path, reason in listing.unusable]
    for path in listing.audio:
        try:
            facts = path.stat()
            found.append(Recording(path, _name(path, source), facts.st_size, facts.st_mtime_ns))
        except OSError as error:
            skipped.append(Skipped(_name(path, source), explain(error)))
    originals = _originals(found)
    skipped += [Skipped(r.name, f"is a copy of {originals[r].name}") for r in found if originals[r] != r]
    found = [r for r in found if originals[r] == r]
    others = ignored(listing, source)
    if not found:
        listed = [f"{len(skipped)} cannot be read: {skipped[0].file}: {skipped[0].reason}"] if skipped else []
        listed += others.messages
        details = f" ({'; '.join(listed)})" if listed else ""
        raise InvalidValueError(f"{source}: there is no wav, flac, ogg or mp3 file in it{details}")
    return Found(found, skipped, others)


def _name(path: Path, source: Path) -> str:
    return printable(path.relative_to(source).as_posix() if path != source else path.name)


def jobs(recordings: list[Recording], group: Literal["file", "folder"], validation: float, test: float) -> list[Job]:
    """Divide recordings into splits and shards. It depends on names and sizes alone.

    Files (or whole folders) are drawn into the splits by a hash of their names; there is at least one for validation
    if there are two, and one for test if there are three, unless the share is 0.
    """
    units: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        units[recording.name if group == "file" else recording.name.rpartition("/")[0]].append(recording)
    drawn = sorted(units, key=_draw)
    held_out = _count(len(drawn), validation, 2)
    tested = _count(len(drawn), test, 3) if len(drawn) > held_out + 1 else 0
    sizes = {"validation": held_out, "test": tested, "train": len(drawn) - held_out - tested}
    keys = _keys(recordings)
    shard_bytes = min(max(sum(r.expanded for r in recordings) / _SHARDS, _SMALLEST), _LARGEST)
    made: list[Job] = []
    for split, size in sizes.items():
        chosen, drawn = drawn[:size], drawn[size:]
        # Files in random order, so that what follows one another in a shard is unrelated.
        files = sorted((r for unit in chosen for r in units[unit]), key=lambda r: _draw(r.name))
        made += [
            Job(split, number, tuple((keys[r], r) for r in part))
            for number, part in enumerate(_parts(files, shard_bytes))
        ]
    return made


def _originals(recordings: list[Recording]) -> dict[Recording, Recording]:
    """Map each recording to the first with the same content; only files of equal size are read."""
    sizes = Counter(r.size for r in recordings)
    first: dict[tuple[int, str], Recording] = {}
    originals = {}
    for recording in recordings:
        if sizes[recording.size] == 1 or recording.size == 0:
            originals[recording] = recording
            continue
        try:
            with open(recording.path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            content = recording.name
        originals[recording] = first.setdefault((recording.size, content), recording)
    return originals


def _draw(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


def _count(units: int, share: float, at_least: int) -> int:
    """Return how many of some units are held out: one at least, if there are `at_least`, but never all."""
    return min(max(round(units * share), 1), units - 1) if share > 0 and units >= at_least else 0


def _keys(recordings: list[Recording]) -> dict[Recording, str]:
    """Name clips after their files, without what a key may not hold; where two would have one name, with a hash.

    So that `take-0001.wav` is no piece of `take.wav` either, should that be cut.
    """
    plain = {r: re.sub(r"[^\w+-]+", "_", str(Path(r.name).with_suffix("")), flags=re.ASCII) for r in recordings}
    uses = Counter(plain.values())

    def alone(key: str) -> bool:
        piece = _PIECE.fullmatch(key)
        return uses[key] == 1 and len(key) <= 120 and not (piece and uses[piece[1]] == 1)

    return {r: key if alone(key) else f"{key[:100]}_{_draw(r.name)[:12]}" for r, key in plain.items()}


def _parts(recordings: list[Recording], limit: float) -> Iterable[list[Recording]]:
    part: list[Recording] = []
    size = 0.0
    for recording in recordings:
        if part and size + recording.expanded > limit:
            yield part
            part, size = [], 0.0
        part.append(recording)
        size += recording.expanded
    if part:
        yield part
