"""Held-out clips: measured where there is sound, counted where they are lost, and never missed without a word."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from framework.evaluation.distances import MOST_CONVERGENCE, RESOLUTIONS, stft_distance

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import ShardWriter, encode_audio, to_pcm, write_manifest
from datamodules.streaming.held_out import NoHeldOutError, check_held_out
from framework.cli import main
from framework.runs.folder import RunFolder
from framework.sweeps.record import PlannedRun, write_record

RATE = 22_050


def tone(seconds: float, silent: float = 0.0, level: float = 0.5) -> np.ndarray:
    """Return a tone whose pitch rises, so that each place is known, behind silence."""
    time = np.arange(round(seconds * RATE)) / RATE
    return level * np.sin(2 * np.pi * (200 + 10 * time) * time) * (time >= silent)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def packed(folder, held_out, train=4, **facts):
    with ShardWriter(folder, "train") as writer:
        for number in range(train):
            writer.write(f"train{number}", tone(1 + number / 10), RATE)
    with ShardWriter(folder, "validation") as writer:
        for name, audio in held_out.items():
            f0 = np.floor(np.arange(len(audio) * 100 // RATE) / 100).astype(np.float32)
            writer.write(name, audio, RATE, {"frame_rate": 100}, {"f0.npy": f0})
    write_manifest(folder)
    return AudioFolder(path=str(folder), segment=4096, validation_seconds=2.0, peak=None, f0_hop=2205, **facts)


def sound_at(audio: np.ndarray, clip: torch.Tensor) -> float:
    """Return where in a recording a clip of it begins (s), by looking everywhere."""
    clip = clip.flatten().numpy()
    loudest = min(int(np.abs(clip).argmax()), len(clip) - 8)
    windows = np.lib.stride_tricks.sliding_window_view(audio[loudest:], 8)
    places = np.flatnonzero(np.abs(windows - clip[loudest : loudest + 8]).max(1) < 1e-4).tolist()
    (found,) = [p for p in places if np.abs(audio[p : p + len(clip)] - clip).max() < 1e-4]
    return found / RATE


def test_a_segment_with_sound_is_measured_in_the_place_of_silence(tmp_path):
    recordings = {
        "from_the_start": tone(6),
        "quiet_start": tone(6, 1.9),
        "silent_start": tone(20, 5),
        "late": np.r_[tone(12.5, 11), np.zeros(RATE)],
        "faint": np.r_[tone(3, level=4e-4), tone(3)],
        "silent": np.zeros(6 * RATE),
        "one_bit": np.full(RATE, 3e-5),
    }
    data = packed(tmp_path, recordings)
    clips = data.val_dataloader()
    found = {batch["key"][0]: batch for batch in clips}
    assert clips.bad.counts == {"silent": 2}
    assert found.keys() == recordings.keys() - {"silent", "one_bit"}
    begins = {name: sound_at(recordings[name], batch["audio"]) for name, batch in found.items()}
    assert begins["from_the_start"] == 0, "the choice of old runs, wherever it had any sound"
    assert begins["quiet_start"] == 0
    assert begins["silent_start"] == pytest.approx(5, abs=0.11)
    assert begins["late"] == pytest.approx(11, abs=0.51), "as much sound as there is, and no more than the clip"
    assert begins["faint"] == pytest.approx(3, abs=0.11)
    for name, batch in found.items():
        assert batch["audio"].shape[-1] == 2 * RATE
        assert batch["f0"][0, 5] == np.floor(round(begins[name] + 0.5, 2)), "labels are those of the segment"
    again = {batch["key"][0]: batch["audio"] for batch in clips}
    assert all(torch.equal(again[name], batch["audio"]) for name, batch in found.items())


def test_a_silent_reference_cannot_outweigh_all_other_clips():
    silence = torch.zeros(1, 1, RATE)
    loud = torch.randn(1, 1, RATE, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert stft_distance(silence, silence) == 0
    assert stft_distance(loud, silence) < MOST_CONVERGENCE + np.log(max(RESOLUTIONS) / 1e-7**0.5)
    assert stft_distance(0.5 * loud, loud) == pytest.approx(0.5 + np.log(2), abs=0.01), "other values are the paper's"


def test_data_without_a_held_out_clip_are_refused_unless_none_is_asked_for(tmp_path):
    for name, recordings in (("none", {}), ("silent", {"c1": np.zeros(RATE), "c2": np.zeros(RATE)})):
        data = packed(tmp_path / name, recordings)
        with pytest.raises(NoHeldOutError, match=r"--data\.validation_share 0") as error:
            check_held_out(data)
        assert all(f"{key}: silent" in str(error.value) for key in recordings)
        for asked in ({"validation_share": 0.0}, {"validation_clips": 0}):
            check_held_out(AudioFolder(path=str(tmp_path / name), **asked))
    check_held_out(packed(tmp_path / "one", {"c1": np.zeros(RATE), "c2": tone(1)}))


def member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def test_lost_held_out_clips_are_in_the_summary_and_in_the_status(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for split in ("train", "validation"):
        with tarfile.open(f"{split}.tar", "w") as tar:
            for number in range(5):
                sound = encode_audio(to_pcm(tone(1.5 - 0.1 * number)), RATE, "wav")
                member(tar, f"{split}{number}.wav", b"garbage" if split == "validation" and number == 1 else sound)
    whole = (tmp_path / "validation.tar").read_bytes()
    (tmp_path / "validation.tar").write_bytes(whole[: whole.rindex(b"RIFF") + 1000])
    arguments = ["griffin_lim", "--data", "train.tar::validation.tar"]
    assert main(["fit", *arguments]) == 0
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    stored = json.loads(summary.read_text())
    assert set(stored["clips"]) == {"validation0", "validation2"}
    assert sorted(stored["lost_held_out"].values()) == ["lost with its shard", "undecodable"]
    assert "2 held-out clips could not be used: " in capsys.readouterr().out
    folder = RunFolder(summary.parent)
    planned = PlannedRun("Full", "griffin_lim", (), folder.path, folder.path.name, "family", 0)
    write_record(tmp_path / "runs", "question", "does it matter?", [planned])
    assert main(["status", "question"]) == 0
    said = capsys.readouterr().out
    assert "Full: 2 held-out clips could not be used: " in said
    assert "validation1: undecodable" in said


def test_fit_and_doctor_say_that_nothing_is_held_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    import soundfile

    soundfile.write("long.wav", tone(20), RATE)
    assert main(["fit", "griffin_lim", "--data", "long.wav"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "no clip is held out" in said
    assert "--data.validation_share 0" in said
    assert main(["doctor", "griffin_lim", "--data", "long.wav"]) == 1
    said = capsys.readouterr().out
    assert "FAIL  data       AudioFolder: no clip is held out" in said
    share = ["--data.validation_share", "0"]
    assert main(["fit", "griffin_lim", "--data", "long.wav", *share]) == 0
    assert "no held-out clips: nothing was measured" in capsys.readouterr().out
    assert main(["doctor", "griffin_lim", "--data", "long.wav", *share]) == 0


def test_a_clip_says_what_it_is_a_part_of(tmp_path):
    facts = {"one": {"piece": "bwv1"}, "two": {"source": "a/song.wav", "speaker": "ada"}, "three": {"piece": 3}}
    for split in ("train", "validation"):
        with ShardWriter(tmp_path, split) as writer:
            for name, metadata in facts.items():
                writer.write(name, tone(1), RATE, metadata)
    write_manifest(tmp_path)
    data = AudioFolder(path=str(tmp_path), segment=4096)
    found = {batch["key"][0]: batch.get("recording") for batch in data.val_dataloader()}
    assert found == {"one": ["bwv1"], "two": ["ada"], "three": None}
