import io
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.bach_chorales import BachChorales
from datamodules.shards.writer import read_manifest


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def small(cache: str, **values) -> BachChorales:
    data = BachChorales(instruments=("guitar",), pieces=3, segment=4096, batch_size=4, cache=cache, **values)
    data.prepare_data()
    return data


def test_it_trains_and_validates(cache):
    data = small(cache)
    batch = next(iter(data.train_dataloader()))
    assert batch["audio"].shape == (4, 1, 4096)
    assert batch["audio"].dtype == torch.float32
    assert batch["audio"].abs().max() <= 1
    held_out = [key for batch in data.val_dataloader() for key in batch["key"]]
    assert held_out == [key for batch in data.val_dataloader() for key in batch["key"]]
    assert not set(held_out) & set(batch["key"])


def test_the_score_is_that_of_the_notes(cache):
    data = small(cache, score_hop=256, labels=("tonality",))
    batch, reader = next(iter(data.train_dataloader())), data.reader("train")
    assert batch["score"].shape == (4, 128, 16)
    for clip, start, score, tonality in zip(*(batch[n] for n in ("clip", "start", "score", "tonality")), strict=True):
        times = (int(start) + 256 * np.arange(16)) / 22050
        expected = np.zeros((128, 16))
        for _, onset, duration, midi in np.load(io.BytesIO(reader.member(int(clip), "notes.npy"))):
            expected[int(midi), (onset <= times) & (times < onset + duration)] = 1
        # The pitch is kept at 100 frames a second: a change may come one frame of the score early or late.
        wrong = np.flatnonzero((expected != score.numpy()).any(0))
        changes = np.append(np.flatnonzero((np.diff(expected) != 0).any(0)), np.inf)
        assert expected.sum() > 16
        assert all(np.abs(changes + 0.5 - frame).min() < 1 for frame in wrong)
        tonic, mode = reader.metadata(int(clip))["key_signature"].split()
        assert ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"][tonality % 12] == tonic
        assert ("major", "minor")[tonality // 12] == mode


def test_it_is_packed_once_and_known_by_its_manifest(cache, monkeypatch):
    data = small(cache)
    assert read_manifest(data.folder)["hash"].startswith(data.fingerprint())
    assert all(Path(shard).exists() for split in ("train", "validation", "test") for shard in data.shards(split))
    monkeypatch.setattr("datamodules.bach_chorales.pack_chorales", None)
    assert small(cache).fingerprint() == data.fingerprint()


def test_the_cache_folder_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    assert BachChorales(pieces=3).folder.parent == tmp_path / "bach_chorales"
    assert "cache" not in BachChorales(pieces=3, cache="elsewhere").resolved()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruments": ("string",)}, "did you mean strings"),
        ({"instruments": ()}, "name some of strings"),
        ({"pieces": 2}, "at least 3 pieces"),
        ({"clip_seconds": 0.1}, "at least 1 second"),
    ],
)
def test_wrong_values_are_told_in_one_line(values, message):
    with pytest.raises(ValueError, match=message) as error:
        BachChorales(**values)
    assert "\n" not in str(error.value)
