"""Folders of MIDI files: what was left out or not understood is counted, named, and kept with what was packed."""

import json

import pytest
from midi_bytes import control, midi, off, on, quarters

from datamodules.midi_report import midi_report
from datamodules.packing.midi import MidiFolderError, pack_midi, read_folder
from datamodules.packing.pack import verify
from framework.commands import command
from framework.errors import InvalidValueError


@pytest.fixture
def folder(tmp_path):
    """Make a folder with three files of 8 notes, of which two have notes without an end, and two that are no MIDI."""
    source = tmp_path / "songs"
    (source / "b").mkdir(parents=True)
    (source / "plain.mid").write_bytes(midi(quarters(8)))
    (source / "hanging.MIDI").write_bytes(midi(quarters(7) + on(40)))
    (source / "b" / "hanging.kar").write_bytes(midi(quarters(6) + on(40) + on(41) + control(64, 127)))
    (source / "text.mid").write_text("a text")
    (source / "silent.mid").write_bytes(midi(b""))
    (source / "._plain.mid").write_bytes(b"")
    (source / "lyrics.txt").write_text("la la")
    (source / "versions").mkdir()
    (source / "versions" / "draft.mid").write_bytes(midi(quarters(1)))
    return source


def test_remarks_are_counted_by_file(folder):
    found = read_folder(folder)
    assert sorted(len(piece.notes) for piece in found.pieces.values()) == [8, 8, 8]
    assert [line.split(": ")[0] for line in found.skipped] == [str(folder / n) for n in ("silent.mid", "text.mid")]
    assert found.ignored == {".txt": 1, "drafts in folders named versions": 1, "hidden": 1}
    assert found.remarks.plain() == {
        "notes without an end": {"count": 3, "files": 2, "examples": ["b/hanging.kar", "hanging.MIDI"]},
        "sustain pedal events that are ignored": {"count": 1, "files": 1, "examples": ["b/hanging.kar"]},
    }


def test_packed_and_described_with_what_was_not_understood(folder, tmp_path, capsys):
    packed = tmp_path / "packed"
    command("pack").main([str(folder), str(packed)])
    said = capsys.readouterr()
    assert "2 files left out" in said.out
    assert "notes without an end: 3 in 2 files (b/hanging.kar, hanging.MIDI)" in said.err
    assert verify(packed) == []
    described = {}
    for path in (folder, packed):
        command("data").main([str(path)])
        described[path] = capsys.readouterr().out
        for line in (
            "notes without an end: 3 in 2 files (b/hanging.kar, hanging.MIDI)",
            "text.mid: cannot be read as MIDI",
            "silent.mid: has no notes",
        ):
            assert line in described[path]
    assert "files               3 pieces           24 notes           23 beats" in described[folder]
    assert json.loads((packed / "dataset.json").read_text())["hash"] in described[packed]
    # As it was packed before there were remarks.
    manifest = json.loads((packed / "dataset.json").read_text())
    del manifest["remarks"]
    (packed / "dataset.json").write_text(json.dumps(manifest))
    assert midi_report(str(packed)).notes.total() == 24


def test_changed_bytes_of_packed_notes_are_found(folder, tmp_path):
    pack_midi(folder, tmp_path / "packed")
    shard = next((tmp_path / "packed" / "train").glob("*.tar"))
    contents = bytearray(shard.read_bytes())
    contents[-2000] ^= 1
    shard.write_bytes(contents)
    assert verify(tmp_path / "packed")


def test_one_file_is_described_and_pictures_are_of_recordings(folder, capsys):
    command("data").main([str(folder / "plain.mid")])
    assert "8 notes" in capsys.readouterr().out
    with pytest.raises(InvalidValueError, match="no audio to draw"):
        command("data").main([str(folder), "--picture", "sheet.png"])
    with pytest.raises(MidiFolderError, match=r"text\.mid: cannot be read as MIDI"):
        command("data").main([str(folder / "text.mid")])


def test_notes_before_the_first_bar_are_counted(folder):
    (folder / "plain.mid").write_bytes(midi(quarters(4) + on(60) + off(60, 480)))
    (folder / "beat_midi.txt").write_text("".join(f"{beat / 2 + 1} {beat % 4 == 0:d}\n" for beat in range(8)))
    counts = read_folder(folder).remarks.counts
    assert counts["notes before the first bar of beat_midi.txt"] == 2 * 2
