"""Several data sets in one run: shares as asked for, in one order, and known by one fingerprint."""

from collections import Counter

import numpy as np
import pytest
import soundfile

from datamodules.audio_folder import AudioFolder
from datamodules.mixture import Mixture
from datamodules.shards.writer import ShardWriter, write_manifest


def packed(folder, train, validation):
    random = np.random.default_rng(train)
    for split, count in (("train", train), ("validation", validation)):
        with ShardWriter(folder, split, shard_bytes=20_000) as writer:
            for number in range(count):
                writer.write(f"{split}{number}", random.uniform(-0.5, 0.5, 3000), 22050)
    write_manifest(folder)
    return str(folder)


@pytest.fixture
def paths(tmp_path):
    return packed(tmp_path / "speech", 60, 9), packed(tmp_path / "piano", 20, 3)


def keys(data):
    return [key for batch in data.train_dataloader() for key in batch["key"] if data.advance(batch) is None]


def mixed(paths, **values):
    return AudioFolder(path="::".join(paths), batch_size=8, segment=1024, **values)


def test_shares_of_an_epoch_are_the_weights(paths):
    data = mixed(paths, weights=(1, 3))
    epochs = [keys(data) for _ in range(6)]
    for epoch in epochs:
        assert Counter(key[0] for key in epoch) == {"1": 20, "2": 60}
        assert set(Counter(key for key in epoch if key[0] == "2").values()) == {3}
    assert len({key for epoch in epochs for key in epoch if key[0] == "1"}) > 50, "another third each epoch"
    assert keys(mixed(paths, weights=(1, 3))) == epochs[0]
    assert keys(mixed(paths, weights=(1, 3), workers=2)) == epochs[0]
    assert Counter(key[0] for key in keys(mixed(paths))) == {"1": 60, "2": 20}, "without weights each clip once"


def test_held_out_clips_come_from_all_parts_in_turn(paths):
    found = [batch["key"][0] for batch in mixed(paths, validation_clips=8).val_dataloader()]
    assert [key[0] for key in found] == list("12121211")
    alone = [batch["key"][0] for batch in AudioFolder(path=paths[0], validation_clips=5, segment=1024).val_dataloader()]
    assert [key[2:] for key in found if key[0] == "1"] == alone


def test_a_mixture_is_known_by_all_its_parts_and_their_weights(paths):
    data = mixed(paths, weights=(1, 3))
    assert len({data.fingerprint(), mixed(paths[::-1]).fingerprint(), AudioFolder(path=paths[0]).fingerprint()}) == 3
    with pytest.raises(ValueError, match="weights"):
        mixed(paths, weights=(1, 2)).load_state_dict(data.state_dict())
    with pytest.raises(ValueError, match="data was"):
        mixed(paths[::-1], weights=(1, 3)).load_state_dict(data.state_dict())
    assert "weights" not in AudioFolder(path=paths[0]).resolved(), "runs on one data set keep their identity"
    with pytest.raises(ValueError, match="set a positive one for each of 2"):
        mixed(paths, weights=(1, 2, 3)).prepare_data()


def test_an_experiment_builds_its_own_of_anything(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    for number in range(4):
        (tmp_path / "own").mkdir(exist_ok=True)
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 22050)
        soundfile.write(tmp_path / "own" / f"take{number}.wav", noise, 22050)

    class Both(Mixture):
        weights = (0.5, 0.5)

        def build_parts(self):
            shards = f"{paths[0]}/train/{{000000..000004}}.tar"
            return AudioFolder(path=str(tmp_path / "own")), AudioFolder(path=shards), AudioFolder(path=paths[1])

    class Equal(Both):
        weights = (1.0, 1.0, 1.0)

    with pytest.raises(ValueError, match="3 data sets"):
        Both().prepare_data()
    data = Equal(batch_size=6, segment=1024)
    data.prepare_data()
    shares = Counter(key[0] for key in keys(data))
    assert max(shares.values()) - min(shares.values()) <= 6, "but for the remainder that fills no batch"
    assert data.parts[1].shards("train")
    assert len(list(data.val_dataloader())) >= 3
