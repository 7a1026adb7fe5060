"""The pitch that is tracked is the pitch that was played."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.packing.pack import pack
from framework.audio.pitch import PitchError, track_pitch
from framework.commands import command
from framework.music.notes import Note
from framework.music.soundfont import SOLOS, Performance, render

pytest.importorskip("torchcrepe", reason="pip install 'ostinato[pitch]'")


def sine(hertz: float, rate: int, seconds: float = 1.0) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize(("rate", "hop"), [(16_000, 64), (22_050, 256), (44_100, 512)])
def test_a_sine_is_heard_within_one_per_cent_and_silence_is_unvoiced(rate, hop):
    for hertz in (80, 196, 441, 1400):
        audio = torch.cat([torch.zeros(rate // 2), sine(hertz, rate)])
        f0 = track_pitch(audio[None, None], rate, hop)[0]
        assert f0.shape == (-(-len(audio) // hop),)
        assert f0.dtype == torch.float32
        times = torch.arange(len(f0)) * hop / rate
        assert not f0[times < 0.45].any()
        assert (f0[(times > 0.55) & (times < 1.45)] / hertz - 1).abs().max() < 0.01


def test_noise_has_no_pitch():
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=16_000)).float()
    assert (track_pitch(noise[None, None], 16_000, 160) > 0).float().mean() < 0.02


@pytest.mark.parametrize("name", ["violin", "cello", "flute"])
def test_a_played_scale_is_heard_note_by_note(name):
    solo = SOLOS[name]
    keys = range(solo.lowest + 2, solo.highest - 4, 7)
    notes = [Note(0.6 * place, 0.5, key) for place, key in enumerate(keys)]
    (audio,) = render([Performance(notes, solo.program, 90)], 0.6 * len(keys), 22_050)
    f0 = track_pitch(torch.from_numpy(audio)[None, None], 22_050, 220)[0]
    for note in notes:
        heard = f0[int((note.onset + 0.12) * 22_050 / 220) : int((note.onset + 0.42) * 22_050 / 220)]
        assert (heard / (440 * 2 ** ((note.midi - 69) / 12)) - 1).abs().median() < 0.01


def test_the_same_audio_has_the_same_pitch_again():
    audio = sine(330, 16_000) + 0.1 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    first, again = (track_pitch(audio[None, None], 16_000, 64) for _ in range(2))
    assert torch.equal(first, again)


def test_recordings_are_packed_with_their_pitch(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "own"
    own.mkdir()
    for hertz in (220, 330, 440):
        soundfile.write(own / f"{hertz}.wav", sine(hertz, 44_100, 0.6).numpy(), 44_100)
    command("pack").main(["--f0", str(own), str(tmp_path / "packed"), "--sample_rate", "16000"])
    packed, packed_itself = (
        AudioFolder(path=str(path), sample_rate=16_000, segment=8_000, batch_size=1, f0_hop=80)
        for path in (tmp_path / "packed", own)
    )
    for data in (packed, packed_itself):
        data.prepare_data()
        for batch in (next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))):
            hertz = int(batch["key"][0])
            assert (batch["f0"][0, 5:-5] / hertz - 1).abs().max() < 0.01
    plain = AudioFolder(path=str(own), sample_rate=16_000, segment=8_000, batch_size=1)
    assert plain.folder != packed_itself.folder
    pack(own, tmp_path / "without", sample_rate=16_000)
    with pytest.raises(ValueError, match=r"ostinato pack .*--f0"):
        AudioFolder(path=str(tmp_path / "without"), sample_rate=16_000, segment=8_000, f0_hop=80).train_dataloader()
    capsys.readouterr()


def test_what_is_missing_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchcrepe", None)
    for call in (
        lambda: track_pitch(torch.zeros(1, 1, 100), 16_000, 10),
        lambda: pack(tmp_path, tmp_path / "x", f0=True),
    ):
        with pytest.raises(PitchError, match="pip install") as error:
            call()
        assert "\n" not in str(error.value)
