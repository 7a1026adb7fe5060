"""Loudness against the standard's own numbers, and packing to it."""

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from datamodules.packing.pack import pack
from datamodules.shards.reader import Reader
from framework.audio.integrated_loudness import LoudnessMeter, k_weighting


def measured(audio, rate, piece=7777):
    meter = LoudnessMeter(rate)
    for start in range(0, len(audio), piece):
        meter.add(audio[start : start + piece])
    return meter.loudness()


def sine(seconds, rate, level, hertz=997.0):
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_the_filters_are_those_of_the_standard():
    """ITU-R BS.1770-5, annex 1, tables 1 and 2."""
    shelf, high_pass = k_weighting(48000)
    listed = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    np.testing.assert_allclose(shelf, listed, atol=1e-9)
    np.testing.assert_allclose(high_pass, [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621], atol=1e-9)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_the_reference_tone(rate):
    """A sine of 997 Hz at 0 dBFS in one channel is -3.01 LUFS."""
    assert measured(sine(5, rate, 1.0), rate) == pytest.approx(-3.01, abs=0.03)
    assert measured(sine(0.2, rate, 0.1), rate) == pytest.approx(-23.01, abs=0.1)


def test_gates():
    """EBU Tech 3341, case 3, with one channel instead of two: -36, -23 and -36 dBFS are as loud as their middle."""
    levels = [(10, -36), (60, -23), (10, -36)]
    audio = np.concatenate([sine(seconds, 48000, 10 ** (level / 20)) for seconds, level in levels])
    assert measured(audio, 48000) == pytest.approx(-23 - 3.01, abs=0.1)
    assert measured(np.zeros(48000), 48000) == -np.inf
    assert measured(np.zeros(10), 48000) == measured(np.zeros(0), 48000) == -np.inf
    noise = np.random.default_rng(0).standard_normal(96000) * np.repeat([0.1, 1e-6, 0.2, 0.001], 24000)
    other = torchaudio.functional.loudness(torch.from_numpy(noise)[None], 48000)
    assert measured(noise, 48000) == pytest.approx(float(other), abs=0.2)


def test_packing_to_a_loudness_never_clips_and_says_so(tmp_path, capsys):
    rate = 22050
    (tmp_path / "in").mkdir()
    peaky = sine(2, rate, 0.001)
    peaky[rate] = 0.5
    steps = np.concatenate([sine(2, rate, 0.05), sine(2, rate, 0.2)])
    for name, audio in {"quiet": sine(1, rate, 0.01), "loud": sine(1, rate, 0.9), "click": peaky, "two": steps}.items():
        soundfile.write(tmp_path / "in" / f"{name}.wav", audio, rate, subtype="FLOAT")
    manifest = pack(tmp_path / "in", tmp_path / "out", loudness=-23.0, clip_seconds=2, validation=0, test=0)
    reader = Reader([str(tmp_path / "out" / s["name"]) for s in manifest["shards"]["train"]], rate)
    clips = {key: reader.clip(n, 10**9) for n, key in enumerate(reader.keys(np.arange(len(reader))))}
    for key in ("quiet", "loud"):
        assert measured(clips[key], rate) == pytest.approx(-23, abs=0.1)
    assert np.abs(clips["click"]).max() == pytest.approx(10 ** (-1 / 20), abs=1e-3)
    # One factor for a whole recording: its pieces keep their balance.
    assert np.ptp(clips["two-0001"]) / np.ptp(clips["two-0000"]) == pytest.approx(4, rel=0.01)
    assert measured(np.concatenate([clips["two-0000"], clips["two-0001"]]), rate) == pytest.approx(-23, abs=0.1)
    assert manifest["quieter"] == ["click.wav"]
    assert "1 stay quieter than -23 LUFS" in capsys.readouterr().err
    with pytest.raises(ValueError, match="loudness"):
        pack(tmp_path / "in", tmp_path / "else", loudness=3.0)
