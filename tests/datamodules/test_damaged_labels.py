"""Training on damaged labels: a clip with one is replaced, counted and named like any bad clip, without any NaN."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import encode_audio, to_pcm

RATE, CLIPS, SAMPLES, FRAME_RATE = 16_000, 40, 8_000, 100


def npy(array, **header) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def f0(number: int) -> bytes:
    return npy(np.full(SAMPLES * FRAME_RATE // RATE, 100.0 + number, np.float32))


def told(number: int) -> dict:
    return {"sample_rate": RATE, "samples": SAMPLES, "peak": 0.6, "frame_rate": FRAME_RATE, "speaker": number}


def write(path, damaged):
    """Write clips; of those in `damaged`, by number, other bytes of `f0.npy` and `json`."""
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w") as tar:
        for number in range(CLIPS):
            sound = encode_audio(to_pcm(0.6 * np.sin(0.02 * (number + 3) * np.arange(SAMPLES))), RATE, "wav")
            pitch, facts = damaged.get(number, (f0(number), json.dumps(told(number)).encode()))
            for suffix, data in (("wav", sound), ("json", facts), ("f0.npy", pitch)):
                if data is not None:
                    info = tarfile.TarInfo(f"c{number}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


def data(folder, **values) -> AudioFolder:
    path = f"{folder}/shards/train.tar::{folder}/shards/validation.tar"
    options = {"sample_rate": RATE, "segment": 2_000, "batch_size": 4, "bad_share": 1.0, "validation_clips": CLIPS}
    asked = {"f0_hop": 200, "score_hop": 200, "labels": ("speaker",)}
    return AudioFolder(path=path, **(options | asked | values))


def check(folder, surely_bad, damaged, **values):
    """Go through an epoch and the held-out clips; return what is said of the bad clips."""
    module = data(folder, **values)
    batches = list(module.train_dataloader())
    held_out = module.val_dataloader()
    whole = list(held_out)
    assert len(batches) == CLIPS // 4
    assert len(whole) == CLIPS - len(held_out.bad.found)
    for batch in batches + whole:
        tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
        assert all(torch.isfinite(value).all() for value in tensors)
        for row, key in enumerate(batch["key"]):
            number = int(key[1:])
            assert number not in surely_bad
            if number not in damaged:
                assert batch["speaker"][row] == number
                assert (batch["f0"][row] == 100 + number).all()
                assert batch["score"][row].sum() == batch["score"].shape[-1], "one note at a time"
    for found in (module.bad_clips.found, held_out.bad.found):
        assert {f"c{number}" for number in surely_bad} <= set(found) <= {f"c{number}" for number in damaged}
    module.teardown("fit")
    return batches, module.bad_clips


def facts(number, **changed) -> bytes:
    return json.dumps(told(number) | changed).encode()


HUGE = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }".ljust(128) + b"0000"
DAMAGES = {
    "no file": (None, {}, "missing label"),
    "empty": (b"", {}, "damaged label"),
    "no array": (b"\0" * 300, {}, "damaged label"),
    "a cut header": (f0(0)[:40], {}, "damaged label"),
    "cut values": (f0(0)[:-7], {}, "damaged label"),
    "a size that is not there": (HUGE, {}, "damaged label"),
    "objects": (npy(np.array([{}, 1], object)), {}, "damaged label"),
    "text": (npy(np.array(["a"] * 50)), {}, "damaged label"),
    "complex numbers": (npy(np.ones(50, complex)), {}, "damaged label"),
    "three axes": (npy(np.ones((1, 1, 50))), {}, "damaged label"),
    "no value": (npy(np.ones(0)), {}, "damaged label"),
    "one number": (npy(np.float32(3)), {}, "damaged label"),
    "NaN": (npy(np.r_[np.full(49, 100.0), np.nan]), {}, "damaged label"),
    "infinity": (npy(np.r_[np.full(49, 100.0), np.inf]), {}, "damaged label"),
    "negative pitch": (npy(np.full(50, -100.0)), {}, "damaged label"),
    "a pitch above float32": (npy(np.full(50, 1e300)), {}, "damaged label"),
    "a pitch above hearing": (npy(np.full(50, 10**6)), {}, "damaged label"),
    "a tenth of the values": (npy(np.full(5, 100.0)), {}, "damaged label"),
    "several voices": (npy(np.full((4, 50), 100.0)), {}, "missing label"),
    "no frame rate": (f0(0), {"frame_rate": None}, "missing label"),
    "a frame rate of 0": (f0(0), {"frame_rate": 0}, "damaged label"),
    "a negative frame rate": (f0(0), {"frame_rate": -100}, "damaged label"),
    "an endless frame rate": (f0(0), {"frame_rate": float("inf")}, "damaged label"),
    "a frame rate that is NaN": (f0(0), {"frame_rate": float("nan")}, "damaged label"),
    "a frame rate in words": (f0(0), {"frame_rate": "100"}, "missing label"),
    "a field of text": (f0(0), {"speaker": "3"}, "missing label"),
    "a field that is not whole": (f0(0), {"speaker": 3.5}, "missing label"),
    "a field above 64 bits": (f0(0), {"speaker": 10**30}, "damaged label"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("workers", [0, 2])
def test_each_damage_is_replaced_counted_and_named_with_its_reason(tmp_path, workers):
    damaged = {number: (pitch, facts(number, **said)) for number, (pitch, said, _) in enumerate(DAMAGES.values(), 1)}
    for split in ("train", "validation"):
        write(tmp_path / "shards" / f"{split}.tar", damaged)
    _, bad = check(tmp_path, set(damaged), damaged, workers=workers)
    kinds = {name: bad.found[f"c{number}"] for number, name in enumerate(DAMAGES, 1)}
    assert kinds == {name: kind for name, (_, _, kind) in DAMAGES.items()}


def test_the_first_clip_may_be_the_damaged_one_and_the_reason_is_logged(tmp_path, caplog):
    for split in ("train", "validation"):
        write(tmp_path / "shards" / f"{split}.tar", {0: (b"junk", facts(0))})
    first, bad = check(tmp_path, {0}, {0})
    assert bad.counts == {"damaged label": 1}
    assert "c0 cannot be used (damaged label: has a damaged f0.npy" in caplog.text
    again, _ = check(tmp_path, {0}, {0}, workers=2)
    assert all(torch.equal(a["audio"], b["audio"]) for a, b in zip(first, again, strict=True))


def test_damage_that_was_not_there_when_the_shard_was_indexed(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "shards" / f"{split}.tar", {})
    module = data(tmp_path)
    loader = module.train_dataloader()
    path = tmp_path / "shards" / "train.tar"
    with tarfile.open(path) as tar:
        place = tar.getmember("c7.json").offset_data
    changed = bytearray(path.read_bytes())
    changed[place : place + 3] = b"\xff[["
    time = path.stat()
    path.write_bytes(changed)
    os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))
    batches = list(loader)
    assert "c7" not in {key for batch in batches for key in batch["key"]}
    assert module.bad_clips.counts == {"unreadable json": 1}


@pytest.mark.parametrize("seed", range(12))
def test_an_epoch_survives_random_damage(tmp_path, seed):
    draw = np.random.default_rng(seed)

    def hurt(whole: bytes) -> bytes | None:
        kind = draw.integers(6)
        if kind == 0:
            return None
        if kind == 1:
            return whole[: draw.integers(len(whole))]
        if kind == 2:
            return draw.bytes(int(draw.integers(1, 400)))
        changed = bytearray(whole)
        if kind == 3:
            changed[draw.integers(len(changed)) :] = draw.bytes(8)
        for place in draw.integers(len(changed), size=draw.integers(1, 20)):
            changed[place] = draw.choice([changed[place] ^ (1 << draw.integers(8)), 0xFF, 0x30 + draw.integers(10)])
        return bytes(changed)

    def random_facts(number: int) -> bytes:
        value = draw.choice(np.array([None, True, -1, 1e308, float("nan"), "x", [], {}, 10**40], object))
        return facts(number, **{str(draw.choice(["frame_rate", "speaker"])): value})

    damaged = {}
    for number in draw.choice(CLIPS, 15, replace=False).tolist():
        pitch, known = f0(number), facts(number)
        if draw.random() < 0.7:
            pitch = hurt(pitch)
        else:
            known = hurt(known) if draw.random() < 0.5 else random_facts(number)
        damaged[number] = pitch, known
    for split in ("train", "validation"):
        write(tmp_path / "shards" / f"{split}.tar", damaged)
    check(tmp_path, {number for number, (pitch, known) in damaged.items() if not pitch or not known}, damaged)
