"""Other loaders of segments of clips, used as their documentation recommends and with their best settings."""

import importlib.util
import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import webdataset as wds
from torch.utils.data import DataLoader, Dataset

Batch = dict[str, Any]
"""`audio`: float32 (batch, 1, segment); `key`: names of the clips; `start`: first samples of the segments."""
FULL_SCALE = 32768
_SHUFFLED = 200  # clips in the shuffle buffers of streaming loaders


def webdataset_batches(
    shards: list[str], format: str, segment: int, batch: int, *, dtype: str = "float32", workers: int = 0
) -> Iterator[Batch]:
    """Yield endless batches of webdataset: shuffled, decoded with soundfile, cropped.

    Clips are shuffled before decoding, because they are smaller then.

    Args:
        shards: Paths of the shards.
        format: Format of the clips: `wav` or `flac`.
        segment: Length of a segment (samples).
        batch: Number of segments in a batch.
        dtype: Type that whole clips are decoded to; with `int16`, only the segment is converted to float32.
        workers: Number of worker processes; 0 loads in this process.
    """
    random = np.random.default_rng(0)

    def crop(sample: dict[str, Any]) -> tuple[torch.Tensor, str, int]:
        audio = soundfile.read(io.BytesIO(sample[format]), dtype=dtype)[0]
        start = int(random.integers(len(audio) - segment + 1))
        found = audio[start : start + segment]
        return torch.from_numpy(found if dtype == "float32" else as_float(found)), sample["__key__"], start

    clips = wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).repeat().shuffle(_SHUFFLED).map(crop)
    made = clips.batched(batch, collation_fn=collate, partial=False)
    return iter(wds.WebLoader(made, batch_size=None, num_workers=workers, persistent_workers=workers > 0))


class Files(Dataset):
    """A random segment of each file, read with soundfile's seek."""

    def __init__(self, files: list[Path], segment: int) -> None:
        self.files, self.segment = files, segment
        self._random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, str, int]:
        with soundfile.SoundFile(self.files[number]) as file:
            start = int(self._random.integers(file.frames - self.segment + 1))
            file.seek(start)
            audio = file.read(self.segment, dtype="float32")
        return torch.from_numpy(audio), self.files[number].stem, start


def file_batches(files: list[Path], segment: int, batch: int) -> Iterator[Batch]:
    """Yield endless batches of PyTorch's DataLoader over plain files, loaded in this process."""
    loader = DataLoader(Files(files, segment), batch, shuffle=True, drop_last=True, collate_fn=collate)
    return itertools.chain.from_iterable(itertools.repeat(loader))


def rivals(files: list[Path], folder: Path, segment: int, batch: int) -> dict[str, Callable[[], Iterator[Batch]]]:
    """Write data sets in the formats of the other installed loaders, and return these loaders."""
    makers = {"litdata": ("litdata", litdata_batches), "mosaicml-streaming": ("streaming", mosaic_batches)}
    return {
        name: make(files, folder / name, segment, batch)
        for name, (module, make) in makers.items()
        if importlib.util.find_spec(module)
    }


def litdata_batches(files: list[Path], folder: Path, segment: int, batch: int) -> Callable[[], Iterator[Batch]]:
    """Write a litdata data set, and return a function that yields its endless batches."""
    import litdata
    from litdata.streaming.writer import BinaryWriter

    folder.mkdir(parents=True)
    writer = BinaryWriter(str(folder), chunk_bytes="16MB")
    for number, file in enumerate(files):
        writer[number] = stored(file)
    writer.done()
    writer.merge()
    random = np.random.default_rng(0)

    class Crops(litdata.StreamingDataset):
        def __getitem__(self, index: Any) -> tuple[torch.Tensor, str, int]:
            return crop_of(super().__getitem__(index), segment, random)

    def batches() -> Iterator[Batch]:
        dataset = Crops(str(folder), shuffle=True, drop_last=True)
        loader = litdata.StreamingDataLoader(dataset, batch_size=batch, num_workers=0, collate_fn=collate)
        return itertools.chain.from_iterable(itertools.repeat(loader))

    return batches


def mosaic_batches(files: list[Path], folder: Path, segment: int, batch: int) -> Callable[[], Iterator[Batch]]:
    """Write a data set of mosaicml-streaming, and return a function that yields its endless batches.

    Samples are read by index, which is about twice as fast as iterating over the data set.
    """
    import streaming

    rows = [stored(file) for file in files]
    columns = {name: "str" if name == "key" else "bytes" for name in rows[0]}
    with streaming.MDSWriter(out=str(folder), columns=columns, size_limit=1 << 24) as writer:
        for row in rows:
            writer.write(row)
    random = np.random.default_rng(0)

    class Crops(Dataset):
        def __init__(self) -> None:
            self.clips = streaming.StreamingDataset(local=str(folder), batch_size=batch)

        def __len__(self) -> int:
            return self.clips.num_samples

        def __getitem__(self, index: int) -> tuple[torch.Tensor, str, int]:
            return crop_of(self.clips[index], segment, random)

    def batches() -> Iterator[Batch]:
        loader = DataLoader(Crops(), batch, shuffle=True, drop_last=True, collate_fn=collate)
        return itertools.chain.from_iterable(itertools.repeat(loader))

    return batches


def stored(file: Path) -> dict[str, Any]:
    """Return a recording in the form that is fastest to read: raw samples of wav files, or the bytes of a FLAC file."""
    if file.suffix == ".flac":
        return {"key": file.stem, "flac": file.read_bytes()}
    return {"key": file.stem, "pcm": soundfile.read(file, dtype="int16")[0].tobytes()}


def crop_of(row: dict[str, Any], segment: int, random: np.random.Generator) -> tuple[torch.Tensor, str, int]:
    """Return a random segment of a recording that `stored` returned."""
    if "pcm" in row:
        pcm = np.frombuffer(row["pcm"], np.int16)
        start = int(random.integers(len(pcm) - segment + 1))
        return torch.from_numpy(as_float(pcm[start : start + segment])), row["key"], start
    with soundfile.SoundFile(io.BytesIO(row["flac"])) as file:
        start = int(random.integers(file.frames - segment + 1))
        file.seek(start)
        return torch.from_numpy(file.read(segment, dtype="float32")), row["key"], start


def collate(samples: list[tuple[torch.Tensor, str, int]]) -> Batch:
    """Collate segments to a batch."""
    audio, keys, starts = zip(*samples, strict=True)
    return {"audio": torch.stack(audio)[:, None], "key": list(keys), "start": list(starts)}


def as_float(pcm: np.ndarray) -> np.ndarray:
    """Return 16 bit samples as float32 in [-1, 1)."""
    return pcm.astype(np.float32) * np.float32(1 / FULL_SCALE)
