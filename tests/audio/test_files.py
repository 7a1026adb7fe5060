"""Audio files in every usual shape become the same signal; broken ones are named in one line."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from framework.audio.files import (
    AudioFileError,
    NotFiniteError,
    audio_files,
    load_audio,
    resample,
    save_audio,
    save_pieces,
)

RATE = 22050


def sine(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "rate", "channels", "tolerance"),
    [
        ("wav", "PCM_U8", 44100, 1, 0.01),
        ("wav", "PCM_16", 22050, 2, 1e-4),
        ("wav", "PCM_24", 48000, 5, 1e-4),
        ("wav", "PCM_32", 16000, 1, 1e-4),
        ("wav", "FLOAT", 44101, 1, 0.02),
        ("flac", "PCM_24", 44100, 2, 1e-4),
        ("ogg", "VORBIS", 44100, 1, 0.03),
        ("mp3", "MPEG_LAYER_III", 44100, 2, 0.03),
    ],
)
def test_any_format_rate_and_channel_count_is_the_same_signal(tmp_path, suffix, subtype, rate, channels, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, np.stack([sine(rate)] * channels, axis=1), rate, subtype)
    audio = load_audio(path, RATE)
    assert audio.dtype == torch.float32
    assert audio.shape == (1, RATE // 2)
    inside = slice(1000, -1000)
    assert np.abs(audio[0].numpy() - sine(RATE))[inside].max() < tolerance


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, -0.25]] * 100, np.float32), RATE, "FLOAT")
    assert load_audio(tmp_path / "a.wav", RATE).unique().tolist() == [0.125]


def test_resampling_keeps_the_band_and_removes_what_is_above_it():
    def decibels(frequency: float) -> float:
        time = torch.arange(48000, dtype=torch.float64) / 48000
        tone = torch.sin(2 * math.pi * frequency * time)[None].float()
        return 20 * math.log10(math.sqrt(2) * resample(tone, 48000, RATE)[0, 2000:-2000].square().mean().sqrt())

    assert abs(decibels(10_000)) < 0.1
    assert decibels(11_500) < -45


def broken_files(folder: Path) -> dict[str, str]:
    """Write files that cannot be used; return what the error of each must say."""
    soundfile.write(folder / "whole.flac", sine(RATE), RATE)
    (folder / "cut.flac").write_bytes((folder / "whole.flac").read_bytes()[:60])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not audio\n" * 50)
    soundfile.write(folder / "none.wav", sine(RATE)[:0], RATE)
    soundfile.write(folder / "nan.wav", np.array([0.0, np.nan, 0.1], np.float32), RATE, "FLOAT")
    (folder / "folder.wav").mkdir()
    return {
        "cut.flac": "cannot be decoded",
        "empty.wav": "empty",
        "text.wav": "cannot be decoded",
        "none.wav": "no samples",
        "nan.wav": "1 NaN",
        "folder.wav": "folder",
        "missing.wav": "does not exist",
    }


def test_each_broken_file_is_named_in_one_line_with_a_remedy(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(AudioFileError, match=reason) as error:
            load_audio(tmp_path / name, RATE)
        message = str(error.value)
        assert str(tmp_path / name) in message
        assert "\n" not in message
        assert ": " in message.split(name)[1]


def test_what_decodes_of_a_file_that_is_cut_is_loaded_with_a_warning(tmp_path, caplog):
    for suffix in ("wav", "flac", "mp3", "ogg"):
        path = tmp_path / f"tone.{suffix}"
        soundfile.write(path, sine(RATE, 5) + np.random.default_rng(0).normal(0, 0.1, 5 * RATE), RATE)
        whole = load_audio(path, RATE)
        assert not caplog.records
        path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
        audio = load_audio(path, RATE)
        assert audio.shape[1] == pytest.approx(3 * RATE, rel=0.25)
        torch.testing.assert_close(audio[:, :-3000], whole[:, : audio.shape[1] - 3000], atol=1e-4, rtol=0)
        (record,) = caplog.records
        assert f"{path} is damaged or cut short: " in record.getMessage()
        assert " are kept" in record.getMessage()
        caplog.clear()


def test_saving_clips_what_is_too_loud_and_refuses_what_is_not_finite(tmp_path):
    path = tmp_path / "new" / "out.wav"
    save_audio(path, torch.tensor([[0.5, 2.0, -3.0, 0.0]]), RATE)
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    assert samples.tolist() == [16384, 32767, -32768, 0]
    before = path.read_bytes()
    for bad in (math.nan, math.inf, -math.inf):
        pieces = [torch.zeros(5), torch.tensor([0.5, bad, bad])]
        with pytest.raises(NotFiniteError, match=r"new/out\.wav: 2 of 3 samples are NaN or infinite, so nothing"):
            save_pieces(path, iter(pieces), RATE)
        with pytest.raises(NotFiniteError, match=r"other\.flac: 2 of 8 samples"):
            save_audio(path.with_name("other.flac"), torch.cat(pieces)[None], RATE)
    assert path.read_bytes() == before
    with pytest.raises(ValueError):
        save_audio(tmp_path / "new" / "out.unknown", torch.zeros(1, 4), RATE)
    assert os.listdir(path.parent) == ["out.wav"]


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    save_audio(tmp_path / f"{'n' * 251}.wav", torch.zeros(1, 100), RATE)
    assert load_audio(tmp_path / f"{'n' * 251}.wav", RATE).shape == (1, 100)


def test_saving_what_was_loaded_changes_no_sample(tmp_path):
    samples = torch.randint(-32768, 32768, (4000,), dtype=torch.int16).numpy()
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    save_audio(tmp_path / "b.wav", load_audio(tmp_path / "a.wav", RATE), RATE)
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="int16")[0], samples)


def test_a_tree_is_listed_once_in_order_without_hidden_files(tmp_path):
    for name in ("b/two.WAV", "a/one.flac", "a/.hidden.wav", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in audio_files(tmp_path)] == ["a/one.flac", "b/two.WAV"]
    assert audio_files(tmp_path / "a/one.flac") == [tmp_path / "a/one.flac"]
    (tmp_path / "a/one.flac").unlink()
    with pytest.raises(AudioFileError, match="no audio file"):
        audio_files(tmp_path / "a")
    with pytest.raises(AudioFileError, match="does not exist"):
        audio_files(tmp_path / "nowhere")
