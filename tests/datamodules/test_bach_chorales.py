from pathlib import Path

import pytest
import torch

from datamodules.bach_chorales import BachChorales
from datamodules.shards import read_manifest


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
