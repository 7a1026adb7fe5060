"""Shards and recordings as others make them, and as nobody should: read, or left out by name with the reason."""

import gzip
import io
import json
import os
import resource
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile

from datamodules.audio_folder import AudioFolder
from datamodules.packing import segmenting
from datamodules.packing.pack import pack
from datamodules.report import report
from datamodules.shards.arrays import load_array
from datamodules.shards.index import index_shard
from datamodules.shards.reader import Reader
from datamodules.shards.tar import BLOCK, TarDamage, members
from framework.audio.integrated_loudness import LoudnessMeter
from framework.os_errors import MachineError

RATE = 22050


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def tone(samples=RATE, hertz=440.0, rate=RATE, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)


def encoded(audio, rate=RATE, form="WAV", subtype=None, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=form, subtype=subtype, **options)
    return buffer.getvalue()


def shard(path, files, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def streamed(wav):
    return wav[:4] + b"\xff" * 4 + wav[8:40] + b"\xff" * 4 + wav[44:]


def without_length(mp3):
    mark = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    return mp3[mp3.index(b"\xff\xfb", mark) :]


def flac_of_unknown_length(flac):
    return flac[:21] + bytes((flac[21] & 0xF0,)) + bytes(4) + flac[26:]


SOUND = np.concatenate([1e-3 * tone(66150), np.random.default_rng(0).uniform(-0.5, 0.5, 66150)])
OTHERS = {
    "UPPER.WAV": encoded(tone()),
    "streamed.wav": streamed(encoded(tone())),
    "float.wav": encoded(tone(), subtype="FLOAT"),
    "gsm.wav": encoded(tone(16_000, rate=8000), 8000, subtype="GSM610"),
    "adpcm.wav": encoded(tone(), subtype="IMA_ADPCM"),
    "piped.flac": flac_of_unknown_length(encoded(SOUND, 44100, "FLAC")),
    "piped.mp3": without_length(encoded(SOUND, 44100, "MP3", bitrate_mode="VARIABLE", compression_level=0.3)),
    "joined.mp3": encoded(tone(30_000), RATE, "MP3") + encoded(tone(20_000), RATE, "MP3"),
    "chained.ogg": encoded(tone(30_000), RATE, "OGG") + encoded(tone(20_000, 300), RATE, "OGG"),
    "x.oga": encoded(tone(), RATE, "OGG"),
    "x.opus": encoded(tone(48_000, rate=48_000), 48_000, "OGG", "OPUS"),
    "x.aiff": encoded(tone(), RATE, "AIFF"),
    "x.aifc": encoded(tone(), RATE, "AIFF", "FLOAT"),
    "x.rf64": encoded(tone(), RATE, "RF64"),
    "x.w64": encoded(tone(), RATE, "W64"),
    "x.caf": encoded(tone(), RATE, "CAF"),
    "x.au": encoded(tone(), RATE, "AU"),
}
SECONDS = {"piped.mp3": 3, "piped.flac": 3, "gsm.wav": 2, "joined.mp3": 50_000 / RATE, "chained.ogg": 50_000 / RATE}


def test_a_file_is_read_alike_by_itself_in_a_tar_and_packed(tmp_path):
    (tmp_path / "in").mkdir()
    for name, data in OTHERS.items():
        (tmp_path / "in" / name).write_bytes(data)
    files = [(f"{number:02d}.{name.rpartition('.')[2]}", data) for number, (name, data) in enumerate(OTHERS.items())]
    index = index_shard(shard(tmp_path / "a.tar", files))
    assert index.damages == ()
    reader = Reader([str(tmp_path / "a.tar")], RATE)
    manifest = pack(tmp_path / "in", tmp_path / "out", sample_rate=RATE, validation=0, test=0)
    assert manifest["skipped"] == []
    packed = Reader([str(tmp_path / "out" / s["name"]) for s in manifest["shards"]["train"]], RATE)
    sources = {packed.metadata(clip)["source"]: clip for clip in range(len(packed))}
    found = report(str(tmp_path / "in"))
    assert found.left_out == []
    for clip, name in enumerate(OTHERS):
        seconds = SECONDS.get(name, 1)
        assert reader.lengths()[clip] == pytest.approx(seconds * RATE, abs=3000), name
        whole = reader.clip(clip, 10**9)
        np.testing.assert_allclose(whole, packed.clip(sources[name], 10**9), atol=2e-4, err_msg=name)
        for fraction in (0.3, 0.97):
            part = reader.segments(np.array([clip]), np.array([fraction]), 2000)
            assert not part.errors, name
            audio = part.audio[0] / 32768 if part.audio.dtype == np.int16 else part.audio[0]
            np.testing.assert_allclose(audio, whole[part.starts[0] :][:2000], atol=1e-3, err_msg=name)
    assert sorted(found.seconds) == pytest.approx(sorted(reader.lengths() / RATE), abs=1e-3)


def test_a_download_that_stopped_is_kept_to_there_and_said_to_be_short(tmp_path):
    (tmp_path / "in").mkdir()
    names = {}
    for form, suffix in (("WAV", "wav"), ("FLAC", "flac"), ("OGG", "ogg"), ("MP3", "mp3"), ("AIFF", "aiff")):
        data = encoded(np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE, form)
        names[f"{suffix}.{suffix}"] = data[: int(0.6 * len(data))]
        (tmp_path / "in" / f"{suffix}.{suffix}").write_bytes(names[f"{suffix}.{suffix}"])
    index = index_shard(shard(tmp_path / "a.tar", names.items()))
    assert [damage.kind for damage in index.damages] == ["damaged or cut short"] * 5
    np.testing.assert_allclose(index.clips["samples"] / RATE, 6, atol=0.7)
    manifest = pack(tmp_path / "in", tmp_path / "out", validation=0, test=0)
    assert manifest["clips"]["train"] == 5
    assert {entry["file"] for entry in manifest["skipped"]} == set(names)
    for entry in [*manifest["skipped"], *(e._asdict() for e in report(str(tmp_path / "in")).left_out)]:
        assert entry["kept"] == pytest.approx(6, abs=0.7)
        assert entry["reason"].startswith("damaged or cut short: ")
    (tmp_path / "shards").mkdir()
    (tmp_path / "a.tar").rename(tmp_path / "shards" / "a.tar")
    data = AudioFolder(path=str(tmp_path / "shards" / "a.tar"), segment=2000, batch_size=1)
    assert len(list(data.train_dataloader())) == 5
    assert data.bad_clips.counts == {}


def test_names_that_are_no_text_are_packed_and_told(tmp_path, capsys):
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    for name, data in {
        b"\xff.wav": encoded(tone()),
        b"\xfe.wav": b"junk" * 100,
        b"\xfd.m4a": b"",
        b"\xfc": b"",
    }.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    manifest = pack(tmp_path / "in", tmp_path / "out", validation=0, test=0)
    assert {entry["file"] for entry in manifest["skipped"]} == {r"\xfe.wav", r"\xfd.m4a"}
    assert manifest["ignored"]["examples"] == [r"\xfc"]
    reader = Reader([str(tmp_path / "out" / "train" / "000000.tar")], RATE)
    assert reader.metadata(0)["source"] == r"\xff.wav"


def test_absurd_files_are_left_out_by_name(tmp_path):
    (tmp_path / "in").mkdir()
    files = {
        "slow.wav": encoded(tone(100), 1),
        "fast.wav": encoded(tone(100), 2_000_000),
        "wide.wav": encoded(np.zeros((100, 500)) + 0.1),
        "good.wav": encoded(tone()),
        "large.wav": encoded(tone())[:40] + struct.pack("<I", 0xFFFFFF00) + bytes(100),
        "long.flac": (lambda f: f[:21] + bytes((f[21] | 15,)) + b"\xff" * 4 + f[26:])(encoded(tone(), form="FLAC")),
    }
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    manifest = pack(tmp_path / "in", tmp_path / "out", sample_rate=RATE, validation=0, test=0)
    reasons = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert set(reasons) == {"slow.wav", "fast.wav", "wide.wav", "large.wav", "long.flac"}
    assert "1 Hz is not between 1,000 and 1,000,000" in reasons["slow.wav"]
    assert "500 channels" in reasons["wide.wav"]
    assert reasons["long.flac"].startswith("damaged or cut short")
    index = index_shard(shard(tmp_path / "a.tar", [(f"{n}.wav", d) for n, d in enumerate(files.values())]))
    assert {damage.clip for damage in index.damages} >= {0, 1, 2}


def test_packing_holds_no_more_than_a_few_blocks_of_a_long_file_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(segmenting, "_KEPT", 1 << 18)
    (tmp_path / "in").mkdir()
    audio = np.zeros((8000 * 600, 8), np.int16)
    audio[8000 * 300 :, 0] = 3000 * np.sin(0.3 * np.arange(8000 * 300))
    soundfile.write(tmp_path / "in" / "long.flac", audio, 8000)
    del audio
    tracemalloc.start()
    manifest = pack(tmp_path / "in", tmp_path / "out", sample_rate=16000, validation=0, test=0, clip_seconds=20.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest["hours"]["train"] == pytest.approx(320 / 3600, abs=1e-3), "one clip is half silent"
    assert peak < 25e6, "decoded it has 150 MB, mixed and resampled 38"


def test_loudness_is_that_of_what_is_stored(tmp_path):
    noise = np.random.default_rng(0).standard_normal(96_000 * 6)
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "white.wav", 0.05 * noise, 96_000, "FLOAT")
    pack(tmp_path / "in", tmp_path / "out", sample_rate=RATE, loudness=-30.0, validation=0, test=0)
    reader = Reader([str(tmp_path / "out" / "train" / "000000.tar")], RATE)
    meter = LoudnessMeter(RATE)
    meter.add(reader.clip(0, 10**9))
    assert meter.loudness() == pytest.approx(-30, abs=0.1)


def test_a_recording_beyond_full_scale_keeps_its_proportions(tmp_path):
    (tmp_path / "in").mkdir()
    audio = tone(RATE * 6, level=1.0) * np.where(np.arange(RATE * 6) < RATE * 3, 2.0, 0.5)
    soundfile.write(tmp_path / "in" / "loud.wav", audio, RATE, "FLOAT")
    soundfile.write(tmp_path / "in" / "quiet.wav", tone(300 * 100), RATE, "FLOAT")
    manifest = pack(tmp_path / "in", tmp_path / "out", clip_seconds=3, validation=0, test=0)
    reader = Reader([str(tmp_path / "out" / "train" / "000000.tar")], RATE)
    peaks = dict(zip(reader.keys(np.arange(3)), reader.peaks(np.arange(3)), strict=True))
    assert peaks["loud-0000"] / peaks["loud-0001"] == pytest.approx(4, rel=1e-3)
    assert peaks["quiet"] == pytest.approx(0.5, rel=1e-3)
    assert manifest["scaled"] == [{"file": "loud.wav", "factor": pytest.approx(0.5, rel=1e-3)}]


def test_channels_that_cancel_each_other_are_not_called_silence(tmp_path):
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "antiphase.wav", np.stack([tone(), -tone()], 1), RATE)
    soundfile.write(tmp_path / "in" / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "in" / "sound.wav", tone(), RATE)
    manifest = pack(tmp_path / "in", tmp_path / "out", validation=0, test=0)
    reasons = {entry["file"]: entry["reason"].partition(":")[0] for entry in manifest["skipped"]}
    assert reasons == {"antiphase.wav": "antiphase", "silent.wav": "silent"}
    told = {entry.file: entry.reason for entry in report(str(tmp_path / "in")).left_out}
    assert "cancel each other" in told["antiphase.wav"]


def test_members_of_tars_as_others_name_them(tmp_path):
    wav = encoded(tone(2205))
    files = [
        ("._000.wav", b"\0\5\x16\7" + bytes(100)),
        ("./000.WAV", wav),
        ("take_0.5.wav", wav),
        ("several.mix.wav", wav),
        ("several.vocals.wav", wav),
        ("foreign.m4a", b"\0\0\0\x20ftypM4A "),
        ("deep.json", b"[" * 100_000 + b"]" * 100_000),
        ("deep.wav", wav),
        ("list.json", b"[1, 2]"),
        ("list.wav", wav),
        ("text.json", json.dumps({"samples": "2205"}).encode()),
        ("text.wav", wav),
        ("x" * 300 + ".wav", wav),
        ("y" * 5000 + ".wav", wav),
        ("any.audio", wav),
    ]
    index = index_shard(shard(tmp_path / "a.tar", files))
    kinds = {index.keys[d.clip].decode(): (d.kind, d.detail) for d in index.damages}
    assert {key: kind for key, (kind, _) in kinds.items()} == {
        "several": "several recordings",
        "foreign": "no audio",
        "deep": "unreadable json",
    }
    assert "mix.wav, vocals.wav" in kinds["several"][1]
    assert "ffmpeg" in kinds["foreign"][1]
    assert index.keys[0] == b"./000"
    assert max(map(len, index.keys.tolist())) <= 1024
    assert (index.clips["samples"] == 2205).sum() == 7


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(gzip.compress(bytes(1000))), "gunzip"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(1000)), "unzip"),
        (lambda path: shard(path, [("0.m4a", b"\0\0\0\x20ftypM4A ")]), "only m4a"),
        (lambda path: shard(path, []), "shards are empty"),
    ],
    ids=["no bytes", "gzip", "zip", "m4a", "no members"],
)
def test_shards_of_which_nothing_can_be_used_say_why(tmp_path, make, reason):
    (tmp_path / "shards").mkdir()
    make(tmp_path / "shards" / "a.tar")
    with pytest.raises(ValueError, match=reason) as error:
        AudioFolder(path=str(tmp_path / "shards" / "a.tar"), segment=1024).plan  # noqa: B018
    assert "segment" not in str(error.value)


@pytest.mark.parametrize(
    "size",
    [b"-0000001000\0", b"\xff" * 12, b"0000000_100\0", b"+0000000100\0", b"0o000000100\0", b"\x80" + b"\xff" * 11],
)
def test_sizes_that_are_no_sizes_end_the_walk(tmp_path, size):
    path = shard(tmp_path / "a.tar", [("a.wav", bytes(700)), ("b.wav", bytes(700))])
    data = bytearray(path.read_bytes())
    header = 3 * BLOCK
    data[header + 124 : header + 136] = size
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + BLOCK])
    path.write_bytes(data)
    with open(path, "rb") as file:
        walk = members(file.fileno())
        assert next(walk).name == "a.wav"
        with pytest.raises(TarDamage):
            list(walk)


@pytest.mark.parametrize("record", [b"-5 path=x\n", b"0 path=x\n", b"9999 path=x\n", b"13 size=-100\n", b"x"])
def test_long_headers_that_are_none_end_the_walk(tmp_path, record):
    path = shard(tmp_path / "a.tar", [("é" * 150 + ".wav", bytes(700))], format=tarfile.PAX_FORMAT)
    data = bytearray(path.read_bytes())
    size = int(data[124:135], 8)
    data[BLOCK : BLOCK + size] = record.ljust(size, b"\0")
    path.write_bytes(data)
    with open(path, "rb") as file, pytest.raises(TarDamage):
        list(members(file.fileno()))


def test_arrays_are_not_larger_than_their_files():
    buffer = io.BytesIO()
    np.save(buffer, np.arange(10.0))
    whole = buffer.getvalue()
    assert load_array(whole).tolist() == list(range(10))
    for shape in (b"(10000000000,)", b"(11,)", b"(-10,)", b"(1 << 99,)"):
        with pytest.raises(ValueError, match=r"npy"):
            load_array(whole.replace(b"(10,)", shape))
    with pytest.raises(ValueError, match=r"npy"):
        load_array(b"\x93NUMPY\x01\x00")


@pytest.fixture
def few_descriptors():
    """Return what limits the files that may be open, beside those that are."""
    limits, opened = resource.getrlimit(resource.RLIMIT_NOFILE), len(os.listdir("/dev/fd"))
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (opened + count, limits[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_more_shards_than_files_may_be_open(tmp_path, few_descriptors):
    wav = encoded(tone(3000))
    (tmp_path / "shards").mkdir()
    for number in range(150):
        shard(tmp_path / "shards" / f"{number:03d}.tar", [(f"{number}.wav", wav)])
    few_descriptors(90)
    data = AudioFolder(path=str(tmp_path / "shards"), segment=2048, batch_size=8)
    assert len(list(data.train_dataloader())) == 18
    assert data.bad_clips.counts == {}
    data.teardown("fit")


def test_what_the_machine_refuses_is_no_damaged_clip(tmp_path, few_descriptors):
    paths = [shard(tmp_path / f"{n}.tar", [(f"{n}.wav", encoded(tone(3000)))]) for n in range(3)]
    reader = Reader(list(map(str, paths)), RATE)
    reader.close()
    held = []
    few_descriptors(50)
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        with pytest.raises(MachineError, match=r"Too many open files: raise the limit.*ulimit -n"):
            reader.segments(np.array([0, 1, 2]), np.zeros(3), 1000)
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert not reader.segments(np.array([0, 1, 2]), np.zeros(3), 1000).errors
