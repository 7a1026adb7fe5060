"""Packing a folder of recordings into shards, and checking packed data."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from datamodules.packing.parallel import in_parallel
from datamodules.packing.recordings import Job, Recording, Skipped, find_recordings, jobs
from datamodules.packing.segmenting import Packed, Scaled, Treatment, pack_shard
from datamodules.shards.index import index_shard
from datamodules.shards.writer import MANIFEST, SPLITS, read_data_set, read_manifest, write_json, write_manifest
from framework.errors import InvalidValueError
from framework.folders import Ignored
from framework.progress import Progress, print_above, progress

VERSION = 1
_SMALL = 16e6  # bytes that are not worth starting processes for
_TRACKING = 40  # times the work of packing alone
_SHOWN = 10


def pack(
    source: Path,
    destination: Path,
    *,
    sample_rate: int | None = None,
    format: Literal["wav", "flac"] = "wav",
    group: Literal["file", "folder"] = "file",
    validation: float = 0.05,
    test: float = 0.05,
    clip_seconds: float = 30.0,
    trim: float | None = None,
    loudness: float | None = None,
    licence: str = "",
    f0: bool = False,
    reuse: bool = False,
) -> dict[str, Any]:
    """Pack all audio files under a folder, with progress shown, and return the manifest.

    Files that cannot be used are left out; they are counted in a warning and named in the manifest's `skipped`. So are
    files that are damaged or cut short, with the seconds that are kept and lost: what decodes of them is packed. A file
    that goes beyond full scale is scaled down as a whole, and named in the manifest's `scaled`. A
    packing that was killed goes on where it was when it is called again; `destination` appears when it is whole.

    Args:
        source: A folder of wav, flac, ogg, mp3, ... at any depth, or one file.
        destination: Folder to make.
        sample_rate: Hz to resample to; None keeps each file's own.
        format: `wav` is read fastest, `flac` is about half as large.
        group: Whether each file by itself, or each folder (of a speaker, an album) as a whole, goes into one split.
        validation: Share of the files (folders) held out for validation, one at least.
        test: The same for the test.
        clip_seconds: Longer files are cut into clips of equal length, at most this.
        trim: Cut off begin and end of a file while they are this many dB below its peak; None keeps them.
        loudness: Bring each file to this loudness in LUFS (ITU-R BS.1770), all its clips by one factor; a file whose
            peaks would exceed -1 dB stays quieter, and is named in the manifest's `quieter`. None leaves it.
        licence: The licence of the recordings, for the manifest.
        f0: Track the pitch of recordings of one voice (by CREPE, 50 to 2000 Hz, 100 values a second), for data modules
            with an `f0_hop`; it needs torchcrepe, and a third of the recordings' length on one processor.
        reuse: Return the manifest of what another process has packed there in the meantime, instead of refusing.

    Raises:
        ValueError: there is no audio to pack, `destination` is in use, an argument is out of range, or torchcrepe is
            missing.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise InvalidValueError(f"validation {validation} and test {test} are shares: their sum must be below 1")
    if clip_seconds <= 0 or (sample_rate is not None and sample_rate <= 0):
        raise InvalidValueError(f"clip_seconds {clip_seconds} and sample_rate {sample_rate} must be positive")
    if loudness is not None and not -70 < loudness <= 0:
        raise InvalidValueError(f"loudness {loudness} must be in LUFS: above -70, at most 0")
    if f0:
        from framework.audio.pitch import require_torchcrepe

        require_torchcrepe()
    source, destination = Path(source).expanduser(), Path(destination).expanduser()
    recordings, skipped, ignored = find_recordings(source)
    todo = jobs(recordings, group, validation, test)
    treatment = Treatment(sample_rate, format, clip_seconds, trim, loudness, f0)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(destination.with_name(f".{destination.name}.lock")):
        if reuse and (destination / MANIFEST).exists():
            return read_manifest(destination)
        _check_free(destination)
        partial = _partial(destination, packing_hash(recordings, treatment, group, validation, test))
        packed = _pack_shards(partial, todo, treatment, f"packing {source.name or source}")
        skipped += packed.skipped
        if not any(partial.glob("*/*.tar")):
            shutil.rmtree(partial)
            raise InvalidValueError(f"{source}: not one file could be used: {_listed(skipped)}")
        facts = {"source": str(source), "packed": treatment._asdict(), "skipped": [s._asdict() for s in skipped]}
        facts["quieter"] = packed.quieter
        facts["scaled"] = [s._asdict() for s in packed.scaled]
        facts["ignored"] = ignored._asdict()
        manifest = write_manifest(partial, licence=licence, **facts)
        shutil.rmtree(partial / "packing")
        if destination.exists():
            destination.rmdir()
        partial.replace(destination)
    for message in _messages(skipped, packed, ignored, loudness):
        print_above(f"{destination}: {message}")
    return manifest


def _messages(skipped: list[Skipped], packed: Packed, ignored: Ignored, loudness: float | None) -> Iterator[str]:
    """Yield what is to be known of a packing that did not use everything as it was."""
    left_out = [entry for entry in skipped if not entry.kept]
    cut = [entry for entry in skipped if entry.kept]
    if left_out:
        yield f"{len(left_out)} left out: {_listed(left_out)}"
    if cut:
        yield f"{len(cut)} damaged or cut short, kept up to there: {_listed(cut)}"
    if packed.scaled:
        least = min(packed.scaled, key=lambda entry: entry.factor)
        yield (
            f"{len(packed.scaled)} go beyond full scale and are scaled down, each as a whole: "
            f"by {least.factor:.3g} at most ({least.file})"
        )
    if packed.quieter:
        yield f"{len(packed.quieter)} stay quieter than {loudness:g} LUFS, as their peaks would be clipped"
    yield from ignored.messages


def verify(folder: Path) -> list[str]:
    """Read every byte of a packed data set and return what is wrong with it, a line each; nothing, if it is sound.

    Raises:
        ValueError: the folder has no manifest.
    """
    folder = Path(folder)
    manifest = read_data_set(folder)
    problems: list[str] = []
    keys: Counter[bytes] = Counter()
    records = [record for split in SPLITS for record in manifest["shards"][split]]
    for record in progress(records, f"verifying {folder.name or folder}", unit="shards"):
        path = folder / record["name"]
        try:
            with open(path, "rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            index = index_shard(path)
        except OSError as error:
            problems.append(f"{path}: cannot be read ({error.strerror})")
            continue
        # The clips of written music have no audio.
        damages = [d for d in index.damages if not ("ticks" in manifest and d.kind == "no audio")]
        problems += [f"{path}: {_clip_name(index.keys, d.clip)}{d.kind}: {d.detail}" for d in damages]
        keys.update(index.keys.tolist())
        if len(index) != record["clips"]:
            problems.append(f"{path}: has {len(index)} clips instead of {record['clips']}")
        elif sha256 != record["sha256"]:
            problems.append(f"{path}: its bytes have changed since it was packed")
    known = {folder / record["name"] for record in records}
    problems += [f"{path}: is not in the manifest" for path in sorted(folder.glob("*/*.tar")) if path not in known]
    return problems + [f"{folder}: the key {key.decode()} is used {n} times" for key, n in keys.items() if n > 1]


def _check_free(destination: Path) -> None:
    if (destination / MANIFEST).exists():
        raise InvalidValueError(f"{destination}: is packed already: remove it, or choose another folder")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InvalidValueError(f"{destination}: is in use for something else: choose another folder")


def packing_hash(recordings: Iterable[Recording], *determining: Any) -> str:
    """Return a hash of the files (path, size, time) and of whatever else determines what is packed of them."""
    files = [(str(r.path.resolve()), r.name, r.size, r.changed) for r in recordings]
    return hashlib.sha256(json.dumps([VERSION, files, determining]).encode(errors="surrogateescape")).hexdigest()


def _partial(destination: Path, plan: str) -> Path:
    """Return the folder to pack into; what an unfinished packing of the very same left there is kept."""
    partial = destination.with_name(f".{destination.name}.partial")
    mark = partial / "packing" / "plan.json"
    if not mark.exists() or json.loads(mark.read_text()) != plan:
        shutil.rmtree(partial, ignore_errors=True)
        mark.parent.mkdir(parents=True)
        write_json(mark, plan)
    return partial


def _pack_shards(folder: Path, todo: list[Job], treatment: Treatment, title: str) -> Packed:
    marks = [folder / "packing" / f"{job.split}-{job.number:06d}.json" for job in todo]
    left = [(job, mark) for job, mark in zip(todo, marks, strict=True) if not mark.exists()]
    arguments = [(folder, job, treatment) for job, _ in left]
    work = sum(r.expanded for job, _ in left for _, r in job.recordings) * (_TRACKING if treatment.f0 else 1)
    results: Iterable[Packed] = (
        in_parallel(pack_shard, arguments) if work > _SMALL else (pack_shard(*a) for a in arguments)
    )
    files = sum(len(job.recordings) for job in todo)
    done = files - sum(len(job.recordings) for job, _ in left)
    with Progress(title, files, "files", done) as shown:
        for (job, mark), packed in zip(left, results, strict=True):
            write_json(mark, packed)
            shown.update(len(job.recordings))
    done_all = [Packed(*json.loads(mark.read_text())) for mark in marks]
    skipped = [Skipped(*entry) for packed in done_all for entry in packed.skipped]
    quieter = [name for packed in done_all for name in packed.quieter]
    return Packed(skipped, quieter, [Scaled(*entry) for packed in done_all for entry in packed.scaled])


def _clip_name(keys: Any, clip: int) -> str:
    return f"{keys[clip].decode(errors='replace')}: " if clip >= 0 else ""


def _listed(skipped: list[Skipped]) -> str:
    shown = "; ".join(f"{entry.file}: {entry.reason}" for entry in skipped[:_SHOWN])
    return shown + (f"; and {len(skipped) - _SHOWN} more (all in {MANIFEST})" if len(skipped) > _SHOWN else "")
