"""Training batches: complete, the same after a stop as without, and bad clips replaced and counted."""

import logging

import numpy as np
import pytest
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import ShardWriter, write_manifest
from datamodules.streaming.audio_data import AudioData
from datamodules.streaming.bad_clips import TooManyBadClipsError

RATE = 22050


def packed(folder, clips=40, validation=5, seconds=(0.2, 0.6), **options):
    random = np.random.default_rng(0)
    for split, count in (("train", clips), ("validation", validation)):
        with ShardWriter(folder, split, shard_bytes=200_000, **options) as writer:
            for number in range(count):
                audio = random.uniform(-0.5, 0.5, int(RATE * random.uniform(*seconds)))
                writer.write(f"{split}{number}", audio, RATE, {"n": number})
    write_manifest(folder)
    return str(folder)


def epoch(data):
    found = []
    for batch in data.train_dataloader():
        data.advance(batch)
        found.append(batch)
    return found


def same(first, second):
    return (
        first["key"] == second["key"]
        and first["position"] == second["position"]
        and torch.equal(first["audio"], second["audio"])
        and torch.equal(first["start"], second["start"])
    )


def test_an_epoch_has_every_clip_once_as_loud_as_asked(tmp_path):
    data = AudioFolder(path=packed(tmp_path), batch_size=6, segment=4096)
    batches = epoch(data)
    keys = [key for batch in batches for key in batch["key"]]
    assert len(batches) == len(data.train_dataloader()) == 6
    assert len(set(keys)) == 36
    assert batches[0]["audio"].shape == (6, 1, 4096)
    assert batches[0]["audio"].dtype == torch.float32
    reader = data.reader("train")
    clip, start = int(batches[0]["clip"][2]), int(batches[0]["start"][2])
    whole = reader.clip(clip, 10**9)
    scaled = whole * 0.95 / np.abs(whole).max()
    np.testing.assert_allclose(batches[0]["audio"][2, 0], np.pad(scaled, (0, 4096))[start:][:4096], atol=1e-6)
    assert data.position == (1, 0)
    assert [key for batch in epoch(data) for key in batch["key"]] != keys


def test_gain_is_drawn_from_its_range(tmp_path):
    path = packed(tmp_path)
    plain, quiet = (
        epoch(AudioFolder(path=path, batch_size=40, segment=4096, gain=gain)) for gain in ((1.0, 1.0), (0.3, 1.0))
    )
    ratio = (quiet[0]["audio"].norm(dim=-1) / plain[0]["audio"].norm(dim=-1)).flatten()
    assert 0.3 <= ratio.min() < 0.4
    assert 0.9 < ratio.max() <= 1
    as_stored = epoch(AudioFolder(path=path, batch_size=40, segment=4096, peak=None))[0]["audio"]
    assert 0.3 < as_stored.abs().max() <= 0.5


@pytest.mark.parametrize("workers", [0, 2])
def test_continuing_equals_never_having_stopped(tmp_path, workers):
    path = packed(tmp_path)
    one = AudioFolder(path=path, batch_size=8, segment=2048)
    uninterrupted = epoch(one) + epoch(one) + epoch(one)
    assert len(uninterrupted) == 15
    state, seen = None, []
    for steps in (2, 3, 4, 6):
        data = AudioFolder(path=path, batch_size=8, segment=2048, workers=workers)
        if state:
            data.load_state_dict(state)
        while steps:
            for batch in data.train_dataloader():
                data.advance(batch)
                seen.append(batch)
                steps -= 1
                if not steps:
                    break
        state = data.state_dict()
        data.teardown("fit")
    assert all(same(*pair) for pair in zip(seen, uninterrupted, strict=True))


def test_what_was_read_ahead_but_not_trained_on_comes_again(tmp_path):
    data = AudioFolder(path=packed(tmp_path), batch_size=8, segment=2048)
    batches = iter(data.train_dataloader())
    data.advance(next(batches))
    lost = next(batches)
    assert data.state_dict()["step"] == 1
    assert same(next(iter(data.train_dataloader())), lost)


def test_changed_data_or_order_is_refused_by_name(tmp_path):
    path = packed(tmp_path / "a")
    state = AudioFolder(path=path, batch_size=8, segment=2048).state_dict()
    for change, name in (({"batch_size": 4}, "batch_size"), ({"seed": 1}, "seed"), ({"window": 9}, "window")):
        with pytest.raises(ValueError, match=name):
            AudioFolder(path=path, segment=2048, **{"batch_size": 8, **change}).load_state_dict(state)
    with pytest.raises(ValueError, match="data was"):
        AudioFolder(path=packed(tmp_path / "b", clips=41), batch_size=8, segment=2048).load_state_dict(state)
    AudioFolder(path=packed(tmp_path / "c", format="flac"), batch_size=8, segment=2048).load_state_dict(state)


def test_ranks_share_each_batch(tmp_path):
    class Ranked(AudioFolder):
        rank: int = 0

        @property
        def trainer(self):
            return type("Trainer", (), {"global_rank": self.rank, "world_size": 4})

        @trainer.setter
        def trainer(self, value):
            pass

    path = packed(tmp_path)
    whole = epoch(AudioFolder(path=path, batch_size=8, segment=2048))
    ranks = [epoch(Ranked(path=path, batch_size=8, segment=2048, rank=rank)) for rank in range(4)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([rank[step]["audio"] for rank in ranks]), batch["audio"])
    with pytest.raises(ValueError, match="multiple of 4"):
        Ranked(path=path, batch_size=6, segment=2048).train_dataloader()


def test_bad_clips_are_replaced_counted_and_named(tmp_path, caplog):
    path = packed(tmp_path, clips=60)
    clean = epoch(AudioFolder(path=path, batch_size=6, segment=2048))
    shard = sorted((tmp_path / "train").glob("*.tar"))[1]
    data = bytearray(shard.read_bytes())
    data[len(data) // 4 :] = b""
    shard.write_bytes(bytes(data))
    tolerant = AudioFolder(path=path, batch_size=6, segment=2048, bad_share=0.5)
    with caplog.at_level(logging.WARNING):
        batches = epoch(tolerant)
    lost = tolerant.bad_clips.counts["lost with its shard"]
    assert tolerant.bad_clips.counts == {"lost with its shard": lost}
    assert 0 < lost < 30
    assert str(shard) in caplog.text
    different = [
        (a, b) for x, y in zip(clean, batches, strict=True) for a, b in zip(x["key"], y["key"], strict=True) if a != b
    ]
    assert 0 < len(different) <= lost
    assert all(batch["audio"].abs().amax(-1).min() > 0.1 for batch in batches)
    assert all(same(*pair) for pair in zip(batches, epoch(_fresh(tolerant)), strict=True))
    with pytest.raises(
        TooManyBadClipsError, match=rf"{lost} of 60 clips cannot be used \({lost} lost with its shard\)"
    ):
        AudioFolder(path=path, batch_size=6, segment=2048).train_dataloader()


def _fresh(data):
    return type(data)(**dict(data.hparams))


def test_held_out_clips_are_the_same_ones_whole_up_to_a_length(tmp_path):
    path = packed(tmp_path, validation=30, seconds=(0.1, 0.6))
    data = AudioFolder(path=path, segment=4096, validation_clips=6, validation_seconds=0.5, seed=3)
    first, again = list(data.val_dataloader()), list(_fresh(data).val_dataloader())
    assert len(data.val_dataloader()) == len(first) == 6
    assert [batch["key"] for batch in first] == [batch["key"] for batch in again]
    assert all(batch["audio"].shape[:2] == (1, 1) for batch in first)
    assert all(4096 <= batch["audio"].shape[-1] <= RATE // 2 for batch in first)
    assert {key for batch in first for key in batch["key"]} <= {f"validation{n}" for n in range(30)}
    more = AudioFolder(path=path, segment=4096, validation_clips=9, seed=5)
    assert [batch["key"] for batch in more.val_dataloader()][:6] == [batch["key"] for batch in first]
    assert len(data.test_dataloader()) == len(list(data.test_dataloader())) == 0


def test_unusable_settings_are_one_clear_line(tmp_path):
    path = packed(tmp_path, seconds=(0.2, 0.2))
    with pytest.raises(ValueError, match=r"a segment has 8192 samples, but the longest clip only 4410"):
        AudioFolder(path=path).train_dataloader()
    with pytest.raises(ValueError, match="no such folder"):
        AudioFolder(path=str(tmp_path / "nothing")).prepare_data()
    with pytest.raises(ValueError, match="segment = 0"):
        AudioFolder(path=path, segment=0)
    with pytest.raises(NotImplementedError, match="where its shards are"):
        AudioData().train_dataloader()


def test_fewer_clips_than_a_batch(tmp_path):
    data = AudioFolder(path=packed(tmp_path, clips=3, seconds=(1, 1)), batch_size=16, segment=2048)
    (batch,) = epoch(data)
    assert batch["audio"].shape == (16, 1, 2048)
    assert len({(k, s) for k, s in zip(batch["key"], batch["start"].tolist(), strict=True)}) == 16
    assert sorted(batch["key"].count(key) for key in set(batch["key"])) in ([5, 5, 6], [4, 6, 6])
