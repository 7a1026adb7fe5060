"""Streaming segments of clips out of shards, beside webdataset, plain files, litdata and mosaicml-streaming."""

import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from datamodules.streaming.audio_data import AudioData
from datamodules.streaming.loader import finished
from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.bench.loaders import FULL_SCALE, Batch, file_batches, rivals, webdataset_batches
from framework.bench.recordings import SAMPLE_RATE, pack_recordings, recordings

CLIPS = 512
SEGMENT = 8192
BATCH = 16
_RUN = 1.0  # seconds; long enough that the batches read ahead and discarded at the end of a run do not matter
_CHECKED = 8  # batches
_PASSES = 1000
NOTES = (
    f"Segments of {SEGMENT} samples at random places of {CLIPS} clips of 5 to 10 s at {SAMPLE_RATE} Hz, in batches of "
    f"{BATCH}; all files are in the page cache. MB are those of the segments as 16 bit samples, audio-seconds those of "
    "the whole clips that the segments are taken from. webdataset shuffles, and decodes whole clips with soundfile, in "
    "this process; `decoding to int16` makes only the segment float32. `to a GPU`: as the Trainer gets the batches, 16 "
    "bit samples that become float32 on the device. `reading all bytes` is no loader: the shards read through in order."
)


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield a benchmark with wav shards and one with FLAC shards of the same recordings; `peers` are not used."""
    clips = list(recordings(CLIPS))
    seconds = sum(len(audio) for _, audio in clips) / SAMPLE_RATE / CLIPS
    with tempfile.TemporaryDirectory(prefix="ostinato-bench-") as folder:
        for format in ("wav", "flac"):
            pack_recordings(Path(folder) / format, format, clips)
        del clips
        for format in ("wav", "flac"):
            yield _benchmark(format, Path(folder) / format, seconds)


def _benchmark(format: str, folder: Path, seconds: float) -> Benchmark:
    """Return the benchmark of data sets in one format; `seconds` is the mean length of a clip."""
    files = sorted((folder / "files").iterdir())
    shards = sorted(str(shard) for shard in (folder / "shards").glob("train/*.tar"))
    webdataset = functools.partial(webdataset_batches, shards, format, SEGMENT, BATCH)
    others: dict[str, Callable[[], Iterator[Batch]]] = {
        "webdataset": webdataset,
        "webdataset, decoding to int16": functools.partial(webdataset, dtype="int16"),
        "webdataset, 1 worker": functools.partial(webdataset, workers=1),
        "DataLoader over files": functools.partial(file_batches, files, SEGMENT, BATCH),
        **rivals(files, folder / "rivals", SEGMENT, BATCH),
    }
    streams: dict[str, Endless | Ours] = {
        "ostinato": Ours(folder / "shards", False),
        "ostinato, to a GPU": Ours(folder / "shards", True),
        **{name: Endless(make) for name, make in others.items()},
    }
    samplers = {name: stream.batches for name, stream in streams.items()}
    candidates = [Candidate(name, stream.run) for name, stream in streams.items()]
    candidates.append(Candidate("reading all bytes", functools.partial(_read_through, shards, len(files))))
    return Benchmark(
        f"Segments of {format} clips",
        "clips",
        "webdataset",
        tuple(candidates),
        functools.partial(_check, samplers, files),
        NOTES,
        also={"MB": 2 * SEGMENT / 1e6, "audio-seconds": seconds},
    )


class Endless:
    """An endless loader that continues from run to run; `make` creates its iterator at the first use."""

    def __init__(self, make: Callable[[], Iterator[Batch]]) -> None:
        self._make = make

    @functools.cached_property
    def _iterator(self) -> Iterator[Batch]:
        return self._make()

    def run(self) -> float:
        """Load batches for `_RUN` seconds and return their number of clips."""
        clips, end = 0, time.perf_counter() + _RUN
        while True:
            clips += len(next(self._iterator)["audio"])
            if time.perf_counter() >= end:
                return clips

    def batches(self, count: int) -> list[Batch]:
        """Return the next `count` batches."""
        return [next(self._iterator) for _ in range(count)]


class Ours:
    """Our loader, restarted for each run: it reads ahead, which would disturb the turns of the other loaders."""

    def __init__(self, folder: Path, as_stored: bool) -> None:
        data = _Packed(batch_size=BATCH, segment=SEGMENT, peak=None, crops_per_clip=_PASSES)
        data.folder = folder
        self._loader = data.train_dataloader()
        self._loader.as_stored = as_stored

    def run(self) -> float:
        """Load batches for `_RUN` seconds and return their number of clips."""
        clips, end = 0, time.perf_counter() + _RUN
        for batch in self._loader:
            clips += len(batch["audio"])
            if time.perf_counter() >= end:
                break
        self._loader.close()
        return clips

    def batches(self, count: int) -> list[Batch]:
        """Return `count` batches, as they are after the transfer to the device."""
        return [finished(batch) for _, batch in zip(range(count), self._loader, strict=False)]


class _Packed(AudioData):
    """The data module of a packed folder."""


def _read_through(shards: list[str], clips: int) -> float:
    """Read all shards completely, 1 MiB at a time into the same buffer, and return their number of clips."""
    buffer = bytearray(1 << 20)
    for shard in shards:
        descriptor = os.open(shard, os.O_RDONLY)
        while os.readv(descriptor, [buffer]):
            pass
        os.close(descriptor)
    return clips


def _check(samplers: Mapping[str, Callable[[int], list[Batch]]], files: list[Path]) -> str:
    """Check that batches of all loaders equal the decoded clips, and return a sentence that says so."""
    known = {file.stem: file for file in files}
    for name, sample in samplers.items():
        keys: list[str] = []
        for batch in sample(_CHECKED):
            if batch["audio"].shape != (BATCH, 1, SEGMENT):
                raise BenchError(f"{name} returns audio of a wrong shape: {tuple(batch['audio'].shape)}")
            keys += batch["key"]
            for key, start, audio in zip(batch["key"], batch["start"], batch["audio"].numpy()[:, 0], strict=True):
                pcm = soundfile.read(known[key], dtype="int16", start=int(start), frames=SEGMENT)[0]
                if not np.array_equal(audio, pcm.astype(np.float32) / FULL_SCALE):
                    raise BenchError(f"{name} returns wrong samples for clip {key} from sample {int(start)}")
        if len(set(keys)) < min(len(keys), len(files)) // 2:
            raise BenchError(f"{name} repeats the same clips")
    return f"{_CHECKED} batches of each loader hold the decoded clips' samples, bit by bit."
