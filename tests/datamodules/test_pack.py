"""A folder of anything becomes sound shards, or says in a line why not."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from datamodules.audio_folder import AudioFolder
from datamodules.packing import segmenting
from datamodules.packing.pack import pack, verify
from datamodules.packing.recordings import find_recordings, jobs
from datamodules.shards.index import index_shard
from datamodules.shards.reader import Reader
from datamodules.shards.writer import ShardWriter
from framework.audio.resample import resample


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def sine(seconds, rate, hertz=440.0, level=0.5):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write(path, audio, rate=22050, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, **options)


def recordings(folder, count=12, seconds=0.3):
    for number in range(count):
        write(folder / f"speaker{number % 4}" / f"take {number}.wav", sine(seconds, 22050, 200 + number))
    return folder


def packed_keys(folder):
    manifest = json.loads((folder / "dataset.json").read_text())
    return {
        split: [key.decode() for s in shards for key in index_shard(folder / s["name"]).keys]
        for split, shards in manifest["shards"].items()
    }


def test_good_and_bad_files_together(tmp_path, capsys):
    source = tmp_path / "music"
    rate = 22050
    write(source / "eight.wav", sine(0.5, rate), subtype="PCM_U8")
    write(source / "deep.wav", sine(0.5, rate, 450), subtype="PCM_32")
    write(source / "loud.wav", sine(0.5, rate, 460, level=30), subtype="FLOAT")
    write(source / "five.wav", np.stack([sine(0.5, rate, 470)] * 5, 1))
    write(source / "album" / "fast.flac", sine(0.5, 96000, 480), 96000)
    write(source / "album" / "slow.ogg", sine(0.5, 8000, 490), 8000)
    write(source / "album" / "lossy.mp3", sine(0.5, 44100, 500), 44100)
    write(source / "dots.and 0.5 - ü.wav", sine(0.1, rate))
    write(source / "short.wav", sine(0.001, rate))
    write(source / "none.wav", np.zeros(0))
    write(source / "silent.wav", np.zeros(9000))
    write(source / "nan.wav", np.full(9000, np.nan), subtype="FLOAT")
    write(source / "cut.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 90_000))
    (source / "cut.flac").write_bytes((source / "cut.flac").read_bytes()[:50_000])
    (source / "bytes.wav").write_bytes(b"")
    (source / "text.mp3").write_bytes(b"not music at all" * 100)
    (source / "itunes.m4a").write_bytes(b"ftyp")
    (source / "._mac.wav").write_bytes(b"junk")
    (source / "notes.txt").write_text("nothing")
    shutil.copy(source / "deep.wav", source / "album" / "copy of deep.wav")
    os.symlink(source, source / "album" / "loop")
    manifest = pack(source, tmp_path / "packed", sample_rate=rate, validation=0, test=0, licence="CC0-1.0")
    skipped = {entry["file"]: entry["reason"] for entry in manifest["skipped"]}
    assert set(skipped) == {
        *("short.wav", "none.wav", "silent.wav", "nan.wav", "cut.flac", "bytes.wav", "text.mp3", "itunes.m4a"),
        "deep.wav",
    }
    assert skipped["deep.wav"] == "is a copy of album/copy of deep.wav"
    assert skipped["bytes.wav"].startswith("empty")
    assert skipped["nan.wav"].startswith("not finite")
    assert "left out" in capsys.readouterr().err
    assert verify(tmp_path / "packed") == []
    assert manifest["licence"] == "CC0-1.0"
    assert skipped["cut.flac"].startswith("damaged or cut short"), "it is kept up to there"
    assert manifest["ignored"]["files"] == {".txt": 1}
    assert manifest["ignored"]["hidden"] == ["._mac.wav"]
    assert manifest["scaled"] == [{"file": "loud.wav", "factor": pytest.approx(1 / 30, rel=1e-3)}]
    assert manifest["clips"] == {"train": 9, "validation": 0, "test": 0}
    reader = Reader([str(tmp_path / "packed" / s["name"]) for s in manifest["shards"]["train"]], rate)
    keys = reader.keys(np.arange(9))
    assert "dots_and_0_5_-_" in keys
    for clip, key in enumerate(keys):
        audio = reader.clip(clip, 10**6)
        if key == "cut":
            continue
        assert len(audio) == pytest.approx((0.1 if key.startswith("dots") else 0.5) * rate, abs=2400)  # mp3 pads
        source_name = reader.metadata(clip)["source"]
        if key not in ("album_lossy", "album_slow") and not key.startswith("dots"):
            hertz = {"eight": 440, "deep": 450, "copy": 450, "loud": 460, "five": 470, "fast": 480}
            name = next(h for n, h in hertz.items() if n in source_name)
            level = 1 if "loud" in key else 0.5
            np.testing.assert_allclose(audio[500:-500], sine(0.5, rate, name, level)[500:-500], atol=0.01)


def test_long_files_are_cut_without_loss_and_trimmed_if_asked(tmp_path):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 10 * 16000)
    quiet = np.zeros(8000)
    write(tmp_path / "in" / "long.wav", np.concatenate([quiet, audio, quiet]), 16000)
    for sample_rate, trim in ((None, None), (22050, 40.0)):
        folder = tmp_path / f"out{sample_rate}"
        manifest = pack(tmp_path / "in", folder, sample_rate=sample_rate, clip_seconds=3, trim=trim)
        reader = Reader([str(folder / s["name"]) for s in manifest["shards"]["train"]], sample_rate or 16000)
        clips = [reader.clip(n, 10**9) for n in range(len(reader))]
        assert len(clips) == 4
        assert max(map(len, clips)) - min(map(len, clips)) <= 1
        starts = [reader.metadata(n)["start"] for n in range(4)]
        whole = np.concatenate(clips)
        if trim is None:
            np.testing.assert_allclose(whole, np.concatenate([quiet, audio, quiet]), atol=1e-4)
            np.testing.assert_allclose(starts, [0, 2.75, 5.5, 8.25])
        else:
            assert len(whole) == 10 * 22050
            assert starts[0] == 0.5
            # The pieces fit: nothing is heard where they were cut.
            np.testing.assert_allclose(whole, resample(audio.astype(np.float32), 16000, 22050), atol=1e-3)


def test_trimming_leaves_out_no_more_than_the_clip_with_what_is_no_number(tmp_path):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 12 * 8000)
    audio[[50_000, 51_000]] = np.nan, -np.inf
    write(tmp_path / "in" / "long.wav", audio, 8000, subtype="FLOAT")
    for trim in (None, 40.0):
        manifest = pack(tmp_path / "in", tmp_path / f"out{trim}", clip_seconds=3, trim=trim)
        assert [entry["reason"].partition(":")[0] for entry in manifest["skipped"]] == ["not finite"]
        assert packed_keys(tmp_path / f"out{trim}")["train"] == ["long-0000", "long-0001", "long-0003"]


def test_splits_are_by_file_or_folder_and_never_share_one(tmp_path):
    source = recordings(tmp_path / "in", 24)
    found = find_recordings(source).recordings
    for group in ("file", "folder"):
        for validation, test in ((0.05, 0.05), (0.3, 0.2), (0, 0.1)):
            splits = {}
            for job in jobs(found, group, validation, test):
                for _, r in job.recordings:
                    splits.setdefault(r.name if group == "file" else r.name.split("/")[0], set()).add(job.split)
            assert all(len(split) == 1 for split in splits.values())
            counts = [list(splits.values()).count({split}) for split in ("train", "validation", "test")]
            assert sum(counts) == (24 if group == "file" else 4)
            assert counts[0] > 0
            assert (counts[1] > 0) == (validation > 0)
            assert counts[2] > 0
    assert [[j.split for j in jobs(found[:n], "file", 0.1, 0.1)] for n in (1, 2, 3)] == [
        ["train"],
        ["validation", "train"],
        ["validation", "test", "train"],
    ]


def test_packing_twice_gives_the_same_bytes_and_keys_stay_apart(tmp_path):
    source = recordings(tmp_path / "in")
    write(source / "a.b.wav", sine(0.2, 22050))
    write(source / "a_b.wav", sine(0.2, 22050, 300))
    write(source / ("n" * 200 + ".wav"), sine(0.2, 22050, 310))
    first, again, flac = (pack(source, tmp_path / n, format=f) for n, f in (("a", "wav"), ("b", "wav"), ("c", "flac")))
    assert first == again
    assert flac["hash"] == first["hash"]
    keys = [key for split in packed_keys(tmp_path / "c").values() for key in split]
    assert len(keys) == len(set(keys)) == 15


def test_pieces_of_a_long_file_have_names_of_their_own(tmp_path):
    for number, (name, seconds) in enumerate({"take": 1, "take-0001": 0.2, "take-01": 0.2, "tale-0001": 0.2}.items()):
        write(tmp_path / "in" / f"{name}.wav", sine(seconds, 22050, 200 + 50 * number))
    pack(tmp_path / "in", tmp_path / "out", clip_seconds=0.4, validation=0, test=0)
    assert verify(tmp_path / "out") == []
    (renamed,) = set(packed_keys(tmp_path / "out")["train"]) - {
        *("take-0000", "take-0001", "take-0002", "take-01", "tale-0001")
    }
    assert renamed.startswith("take-0001_")


def test_a_shard_that_cannot_be_written_ends_the_packing(tmp_path, monkeypatch):
    class FullOnce(ShardWriter):
        clips = 0

        def write(self, *arguments):
            FullOnce.clips += 1
            if FullOnce.clips == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(*arguments)

    source = recordings(tmp_path / "in", 6)
    monkeypatch.setattr(segmenting, "ShardWriter", FullOnce)
    with pytest.raises(OSError, match="No space left"):
        pack(source, tmp_path / "out", validation=0, test=0)
    partial = tmp_path / ".out.partial"
    assert not (tmp_path / "out").exists()
    assert not [*partial.glob("*/*.tar"), *partial.glob("*/.*.part"), *partial.glob("packing/train-*.json")]
    assert pack(source, tmp_path / "out", validation=0, test=0)["clips"]["train"] == 6
    assert verify(tmp_path / "out") == []


def test_what_cannot_be_packed_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder"):
        pack(tmp_path / "nothing", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no wav, flac"):
        pack(tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "a.wav").write_bytes(b"junk" * 100)
    with pytest.raises(ValueError, match=r"not one file could be used: a\.wav: "):
        pack(tmp_path / "empty", tmp_path / "out")
    source = recordings(tmp_path / "in", 3)
    pack(source, tmp_path / "out")
    with pytest.raises(ValueError, match="packed already"):
        pack(source, tmp_path / "out")
    with pytest.raises(ValueError, match="in use for something else"):
        pack(source, source)
    with pytest.raises(ValueError, match="below 1"):
        pack(source, tmp_path / "x", validation=0.6, test=0.5)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == ["empty", "in", "out"]


def test_a_killed_packing_goes_on_and_never_looks_whole(tmp_path):
    source = tmp_path / "in"
    random = np.random.default_rng(0)
    for number in range(8):
        write(source / f"{number}.wav", random.uniform(-0.5, 0.5, 44100 * 15), 44100)
    command = (
        f"from pathlib import Path; from datamodules.packing.pack import pack; pack(Path({str(source)!r}), Path(%r))"
    )
    out, partial = tmp_path / "out", tmp_path / ".out.partial"
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", command % str(out)], stderr=subprocess.DEVNULL, env=environment
    )
    while process.poll() is None and len(list(partial.glob("packing/*-*.json"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = {path: path.stat().st_mtime_ns for path in partial.glob("packing/*-*.json")}
    assert done
    shards = {p.relative_to(partial): p.stat().st_mtime_ns for p in partial.glob("*/*.tar")}
    time.sleep(1.5)  # for the processes of the killed one to notice
    resumed = pack(source, out)
    kept = [name for name, changed in shards.items() if (out / name).stat().st_mtime_ns == changed]
    assert len(kept) >= len(done)
    assert not partial.exists()
    assert verify(out) == []
    assert resumed == pack(source, tmp_path / "at once") | {"source": str(source)}


def test_a_folder_is_packed_once_and_again_when_it_changes(tmp_path):
    source = recordings(tmp_path / "in", 8)
    first, again = (AudioFolder(path=str(source), segment=2048, batch_size=2) for _ in range(2))
    first.prepare_data()
    changed = (first.folder / "dataset.json").stat().st_mtime_ns
    again.prepare_data()
    assert (again.folder / "dataset.json").stat().st_mtime_ns == changed
    assert again.fingerprint() == first.fingerprint()
    assert len(list(first.train_dataloader())) == 3
    assert len(list(first.val_dataloader())) == 1
    write(source / "new.wav", sine(0.2, 22050))
    other = AudioFolder(path=str(source))
    other.prepare_data()
    assert other.fingerprint() != first.fingerprint()
    ready = AudioFolder(path=str(other.folder))
    ready.prepare_data()
    assert ready.fingerprint() == other.fingerprint()
