"""NaN and infinite samples are never written as silence: every command that writes audio fails and names the clip."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from midi_bytes import midi, off, on

from datamodules.shards.writer import ShardWriter
from framework.audio.coded_files import CodedHeader, write_codes
from framework.cli import main
from framework.errors import InvalidValueError
from framework.generators.griffin_lim import GriffinLimVocoder
from framework.generators.wavenet.system import WaveNet
from framework.workflow import coding, composing

SYNTHESIZE = ["synthesize", "griffin_lim", "--model.iterations", "1"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for hundredths, name in ((10, "high"), (12, "wild"), (14, "low")):
        soundfile.write(tmp_path / "in" / f"{name}.wav", 0.3 * np.sin(np.arange(33075) * hundredths / 100), 22050)
    return tmp_path


@pytest.fixture
def diverged(monkeypatch):
    """Let Griffin-Lim make infinite samples of one recording, which it knows by its frequency."""
    synthesize = GriffinLimVocoder.synthesize

    def overflowing(self, batch):
        made, spectrum = synthesize(self, batch), torch.fft.rfft(batch["audio"]).abs()
        if round(200 * math.pi * spectrum.argmax().item() / batch["audio"].shape[-1]) == 12:
            made[..., 100:103] = math.inf
        return made

    monkeypatch.setattr(GriffinLimVocoder, "synthesize", overflowing)


def failed(capsys, *arguments):
    """Run a command that must fail, and return its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ostinato: error: ")]
    return line


def test_synthesizing_one_recording(place, capsys, diverged):
    said = failed(capsys, *SYNTHESIZE, "--input", "in/wild.wav", "--output", "out")
    assert "out/wild.wav: 3 of 33075 samples are NaN or infinite" in said
    assert not list(place.glob("out/*"))


def test_synthesizing_several_recordings_writes_the_others(place, capsys, diverged):
    said = failed(capsys, *SYNTHESIZE, "--input", "in", "--output", "out")
    assert "of 1 of 3 files GriffinLim" in said
    assert "in/wild.wav" in said
    assert sorted(path.name for path in place.glob("out/*")) == ["high.wav", "low.wav"]


def test_sampling(place, capsys, monkeypatch):
    monkeypatch.setattr(
        "framework.workflow.sound_files.load_trained", lambda plan, _: SimpleNamespace(source="weights", plan=plan)
    )
    monkeypatch.setattr(WaveNet, "synthesize", lambda self, batch: torch.full((1, 1, 500), math.nan))
    said = failed(capsys, "synthesize", "wavenet_notes", "--seconds", "0.1", "--output", "out")
    assert "out/WaveNetNotes_000.wav: 500 of 500 samples are NaN or infinite" in said
    assert not list(place.glob("out/*"))


def test_decoding(place, capsys, monkeypatch):
    header = CodedHeader("f00d", "Tiny", 22050, 4410, 10, 2, 3)
    write_codes("a.ost", header, [np.zeros((441, 2), np.int64)])
    decoder = SimpleNamespace(stream_decode=lambda blocks: (torch.full((1, 1, 4410), -math.inf) for _ in blocks))
    decoder.samples_per_frame, decoder.quantiser = 10, SimpleNamespace(bits=3, size=8, layers=[None, None])
    preset = SimpleNamespace(sample_rate=22050)
    codec = SimpleNamespace(fingerprint=lambda: "f00d", network=decoder, device="cpu", preset=preset)
    monkeypatch.setattr(coding, "open_codec", lambda *_: codec)
    files = ["--input", "a.ost", "--output", "b.wav"]
    assert "b.wav: 4410 of 4410 samples are NaN or infinite" in failed(capsys, "decode", "codec_bach", *files)
    assert not (place / "b.wav").exists()


def test_composing_names_the_voice(place, capsys, monkeypatch):
    (place / "own.mid").write_bytes(midi(on(60) + off(60, 480)))
    monkeypatch.setattr(composing, "through", lambda system, stem, *_: stem * math.nan)
    said = failed(capsys, "compose", "--score", "own.mid", "--through", "griffin_lim", "--instruments", "flute")
    assert "00_track played by GriffinLim" in said
    assert not list(place.rglob("song*.wav"))


def test_evaluating_keeps_the_other_clips_and_fails(place, capsys, diverged):
    data = ["--data", "in", "--data.validation_share", "0.9", "--data.validation_clips", "9", "--metrics", "si_sdr"]
    said = failed(capsys, "evaluate", "griffin_lim", "--model.iterations", "1", *data)
    assert "1 of 2 clips have NaN or infinite samples, which are not written as audio: wild" in said
    written = {path.parent.name[:3]: path for path in place.glob("runs/**/generated.wav")}
    assert sorted(written) == ["low"]
    assert all(np.abs(soundfile.read(path)[0]).max() > 0.01 for path in written.values())
    assert len(list(place.glob("runs/**/truth.wav"))) == 2


def test_further_members_of_shards(place):
    writer, member = ShardWriter(place / "shards", "train"), np.array([0.0, math.nan])
    with pytest.raises(InvalidValueError, match=r"a\.bass\.wav: the audio has samples that are NaN"):
        writer.write("a", np.zeros(9), 22050, members={"bass.wav": member})
