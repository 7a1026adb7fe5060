"""`ostinato data` says of recordings, of their packed folder and of its shards what they were made to be."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.packing.pack import pack
from datamodules.report import report
from framework.cli import main
from framework.workflow.data_lines import histogram


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    for number in range(4):
        time = np.arange(22050 * (number + 1)) / 22050
        soundfile.write(tmp_path / "in" / f"{number}.wav", 10 ** (-(number + 1) * 0.3) * np.sin(4000 * time), 22050)
    (tmp_path / "in" / "bad.wav").write_bytes(b"junk" * 100)
    return tmp_path / "in"


def test_the_same_is_said_of_recordings_packed_and_shards(source, tmp_path):
    manifest = pack(source, tmp_path / "out", licence="CC0-1.0")
    raw, packed, shards = (
        report(str(p)) for p in (source, tmp_path / "out", tmp_path / "out" / "{train,test}/000000.tar")
    )
    for found, numbers in ((raw, [1, 2, 3, 4]), (packed, [1, 2, 3, 4])):
        np.testing.assert_allclose(sorted(found.seconds), numbers)
        np.testing.assert_allclose(sorted(found.peaks), [-24, -18, -12, -6], atol=0.1)
        np.testing.assert_allclose(sorted(found.rms), np.array([-24, -18, -12, -6]) - 3.01, atol=0.1)
        assert sum(found.hours.values()) == pytest.approx(10 / 3600, abs=1e-5)
        assert [entry.file for entry in found.left_out] == ["bad.wav"]
        assert found.sample_rates == {22050: 4}
    assert (packed.hash, packed.licence) == (manifest["hash"], "CC0-1.0")
    assert shards.clips == manifest["clips"] | {"validation": 0}
    with pytest.raises(ValueError, match="mixture"):
        report(f"{source}::{source}")


def test_the_command_prints_and_draws(source, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(["data", str(source), "--picture", str(tmp_path / "sheet.png")]) == 0
    printed = capsys.readouterr().out
    for text in ("4 clips", "22,050 Hz", "bad.wav: ", "not stated", "median -15.0", "4 spectrograms"):
        assert text in printed
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > 1000
    assert set(tmp_path.rglob("*")) - set(before) == {tmp_path / "sheet.png"}
    assert main(["data", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_histogram_counts_everything():
    bars = list(histogram(np.array([-99.0, 1.0, 1.0, 3.0]), np.array([0.0, 2.0, 4.0]), 0))
    assert [line.split()[3] for line in bars] == ["3", "1"]
    assert bars[0].count("#") == 3 * bars[1].count("#") == 30
