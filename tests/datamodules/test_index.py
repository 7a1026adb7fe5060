"""Shards as others read them, and every kind of damage found."""

import contextlib
import io
import json
import resource
import tarfile

import numpy as np
import pytest
import soundfile
import webdataset

from datamodules.packing.pack import verify
from datamodules.shards.index import cached_index, index_shard
from datamodules.shards.tar import BLOCK
from datamodules.shards.writer import ShardWriter, encode_audio, read_manifest, to_pcm, write_manifest


def tone(seconds: float = 0.2, rate: int = 22050) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)


def written(folder, clips=10, form="wav", **options):
    with ShardWriter(folder, "train", format=form, **options) as writer:
        for number in range(clips):
            writer.write(
                f"clip{number}", tone(0.1 + 0.01 * number), 22050, {"n": number}, {"f0.npy": np.full(3, 440.0)}
            )
    return write_manifest(folder, licence="CC0-1.0")


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_stock_webdataset_reads_what_the_index_says(tmp_path, form):
    written(tmp_path, form=form)
    shard = tmp_path / "train" / "000000.tar"
    index = index_shard(shard)
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [s["__key__"] for s in samples] == [key.decode() for key in index.keys]
    for sample, row, extra in zip(samples, index.clips, index.members, strict=True):
        facts = json.loads(sample["json"])
        assert facts["samples"] == row["samples"]
        assert facts["sample_rate"] == row["sample_rate"] == 22050
        assert facts["peak"] == pytest.approx(row["peak"])
        with open(shard, "rb") as file:
            for suffix, (offset, size) in zip(index.suffixes, extra, strict=True):
                file.seek(offset)
                assert file.read(size) == sample[suffix]
    assert np.load(io.BytesIO(samples[0]["f0.npy"])).tolist() == [440.0] * 3


def test_bytes_and_hash_depend_on_the_clips_alone(tmp_path):
    first, again, flac = (written(tmp_path / n, form=f) for n, f in (("a", "wav"), ("b", "wav"), ("c", "flac")))
    assert first == again
    assert flac["hash"] == first["hash"]
    assert read_manifest(tmp_path / "a")["clips"] == {"train": 10, "validation": 0, "test": 0}
    with ShardWriter(tmp_path / "d", "train") as writer:
        writer.write("clip0", tone(0.1) * 0.9, 22050)
    assert write_manifest(tmp_path / "d")["hash"] != first["hash"]


@pytest.mark.parametrize("key", ["take_0.5", "a/b", "", "a b", "clip0"])
def test_keys_that_webdataset_would_merge_are_refused(tmp_path, key):
    with ShardWriter(tmp_path, "train") as writer:
        writer.write("clip0", tone(), 22050)
        with pytest.raises(ValueError, match="key"):
            writer.write(key, tone(), 22050)


@pytest.mark.parametrize("audio", [np.zeros(0), np.array([0.0, np.nan]), np.array([2.0]), np.zeros((2, 2))])
def test_audio_that_is_no_clip_is_refused(tmp_path, audio):
    with ShardWriter(tmp_path, "train") as writer, pytest.raises(ValueError, match="one:"):
        writer.write("one", audio, 22050)


def test_an_interrupted_shard_is_not_there(tmp_path):
    with contextlib.suppress(KeyboardInterrupt), ShardWriter(tmp_path, "train") as writer:
        writer.write("clip0", tone(), 22050)
        raise KeyboardInterrupt
    assert not list(tmp_path.glob("*/*"))
    with pytest.raises(ValueError, match="not there"):
        read_manifest(tmp_path)


def test_a_full_disk_leaves_nothing_of_a_shard(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            written(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("*/*"))


def places(shard):
    """Header offset, payload offset and end of the fifth clip's audio."""
    with tarfile.open(shard) as tar:
        member = tar.getmember("clip5.wav")
    return member.offset, member.offset_data, member.offset_data + -(-member.size // BLOCK) * BLOCK


def cut(at):
    def damage(shard):
        data = shard.read_bytes()
        shard.write_bytes(data[: at(*places(shard), len(data))])

    return damage


def flip(at):
    def damage(shard):
        data = bytearray(shard.read_bytes())
        data[at(*places(shard), len(data))] ^= 4
        shard.write_bytes(bytes(data))

    return damage


def append(shard):
    shard.write_bytes(shard.read_bytes() + b"x" * BLOCK)


DAMAGES = {
    "inside a header": cut(lambda header, payload, end, size: header + 100),
    "before a payload": cut(lambda header, payload, end, size: payload),
    "inside a payload": cut(lambda header, payload, end, size: payload + 777),
    "between members": cut(lambda header, payload, end, size: end),
    "between clips": cut(lambda header, payload, end, size: header),
    "at the end marker": cut(lambda header, payload, end, size: tarless(size)),
    "to nothing": cut(lambda header, payload, end, size: 0),
    "bit of a name": flip(lambda header, payload, end, size: header + 2),
    "bit of a size": flip(lambda header, payload, end, size: header + 130),
    "bit of a checksum": flip(lambda header, payload, end, size: header + 150),
    "something behind the end": append,
}


def tarless(size):
    return size - 10240 if size > 10240 else size // 2


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_damage_is_found_and_what_is_sound_is_kept(tmp_path, damage):
    written(tmp_path)
    shard = tmp_path / "train" / "000000.tar"
    whole = index_shard(shard)
    assert cached_index(shard).damages == whole.damages == ()
    damage(shard)
    index = cached_index(shard)
    assert index.damages
    assert index.damages[-1].kind == "lost with its shard"
    sound = len(index)
    assert index.keys.tolist() == whole.keys[:sound].tolist()
    np.testing.assert_array_equal(index.clips, whole.clips[:sound])
    assert verify(tmp_path)


def test_a_flipped_bit_of_sound_is_found_by_verifying(tmp_path):
    written(tmp_path)
    assert verify(tmp_path) == []
    flip(lambda header, payload, end, size: payload + 500)(tmp_path / "train" / "000000.tar")
    assert ["its bytes have changed" in line for line in verify(tmp_path)] == [True]


def foreign(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_clips_damaged_in_a_sound_tar_are_told_apart(tmp_path):
    wav = encode_audio(to_pcm(tone(0.1)), 22050, "wav")
    nan = io.BytesIO()

    soundfile.write(nan, np.full(100, np.nan, np.float32), 22050, format="WAV", subtype="FLOAT")
    foreign(
        tmp_path / "f.tar",
        [
            ("good.wav", wav),
            ("alone.json", b"{}"),
            ("empty.wav", b""),
            ("short.wav", wav[:-400]),
            ("noise.wav", b"RIFF" + bytes(range(200))),
            ("nan.wav", nan.getvalue()),
            ("length.wav", wav),
            ("length.json", b'{"samples": 5}'),
            ("broken.wav", wav),
            ("broken.json", b'{"samples"'),
            ("extension.m4a", wav),
            ("good.wav", wav),
            ("x" * 150 + ".wav", wav),
        ],
    )
    index = index_shard(tmp_path / "f.tar")
    kinds = {index.keys[d.clip].decode() + str(d.clip): d.kind for d in index.damages}
    assert kinds == {
        "alone1": "no audio",
        "empty2": "empty",
        "short3": "damaged or cut short",
        "noise4": "undecodable",
        "nan5": "not finite",
        "length6": "wrong length",
        "broken7": "unreadable json",
        "extension8": "no audio",
        "good9": "repeated key",
    }
    assert index.clips["samples"][[0, 3, 10]].tolist() == [2205, 2005, 2205]
    assert index.clips["peak"][0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        ({"peak": 9830}, False),  # of 16 bit samples
        ({"peak": -6.0}, False),  # dB
        ({"peak": 1}, False),
        ({"peak": 0.3}, False),
        ({"peak": 0.3, "samples": 2205}, False),
        ({"peak": 9830, "samples": 2205, "sample_rate": 22050}, False),
        ({"peak": float("nan"), "samples": 2205, "sample_rate": 22050}, False),
        ({"peak": 0.3, "samples": 2205, "sample_rate": 22050}, True),
    ],
)
def test_a_peak_is_believed_in_a_json_like_ours_alone(tmp_path, told, believed):
    wav = encode_audio(to_pcm(tone(0.1)), 22050, "wav")
    foreign(tmp_path / "f.tar", [("a.wav", wav), ("a.json", json.dumps(told).encode())])
    index = index_shard(tmp_path / "f.tar")
    assert not index.damages
    assert index.clips["peak"].tolist() == pytest.approx([0.3 if believed else 0.5], abs=1e-3)
