"""Pianorolls: MIDI files in and out, packed once, windows in a fixed order."""

import hashlib
import importlib.util
import json
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
import torch

from datamodules.bach.corpus import read_chorale
from datamodules.packing.midi import MidiFolderError, fifths, midi_files, pack_midi, read_midi
from datamodules.pianorolls import (
    BachPianorolls,
    MidiPianorolls,
    PianorollWindows,
    chorale_piece,
    gathers,
    pianoroll,
)
from framework.music.midi.score import MidiError
from framework.music.notes import PERCUSSION


def write_midi(path, shift=0, bars=6):
    """Write a piano's quarters up a scale and a drum on each bar, at 120 beats a minute."""
    file = pretty_midi.PrettyMIDI(initial_tempo=120)
    piano, drums = pretty_midi.Instrument(0, name="Piano"), pretty_midi.Instrument(0, is_drum=True, name="Kit")
    for beat in range(4 * bars):
        piano.notes.append(pretty_midi.Note(80, 48 + shift + beat % 12, beat / 2, beat / 2 + 0.25))
        if beat % 4 == 0:
            drums.notes.append(pretty_midi.Note(90, 36, beat / 2, beat / 2 + 0.1))
    file.instruments += [piano, drums]
    file.write(str(path))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("midi")
    for number in range(5):
        write_midi(folder / f"song {number}.mid", number)
    (folder / "broken.mid").write_bytes(b"MThd and no more")
    mido.MidiFile().save(folder / "empty.mid")
    packed = folder.parent / "packed"
    manifest = pack_midi(folder, packed)
    assert manifest["clips"] == {"train": 3, "validation": 1, "test": 1}
    assert len(manifest["skipped"]) == 2
    assert all(any(name in line for line in manifest["skipped"]) for name in ("broken.mid", "empty.mid"))
    return MidiPianorolls(path=str(packed), tracks=("drums", "piano"), batch_size=4, lowest=36, pitches=48)


def test_what_is_written_is_read(data):
    piece = data.pieces("train")[0]
    roll = pianoroll(piece, data.grid, start=4)
    assert roll.shape == (2, 64, 48)
    first = int(piece.notes[piece.notes[:, 0] == 0][0, 3])
    expected = np.zeros((64, 48), np.float32)
    for beat in range(16):
        expected[4 * beat : 4 * beat + 2, first + (beat + 4) % 12 - 36] = 1
    np.testing.assert_array_equal(roll[1], expected)
    assert roll[0].sum() == 4
    assert roll[0, ::16, 0].all()
    higher = pianoroll(piece, data.grid, 4, semitones=2)
    np.testing.assert_array_equal(higher[1, :, 2:], roll[1, :, :-2])
    np.testing.assert_array_equal(higher[0], roll[0])


def test_the_order_is_fixed_shared_and_gone_on_with(data):
    whole = data.windows("train")
    assert len(whole) == 3 * 3
    batches = [next(iter(data.train_dataloader())) for _ in range(2)]
    assert batches[0]["key"] == batches[1]["key"]
    torch.testing.assert_close(batches[0]["pianoroll"], batches[1]["pianoroll"])
    data.advance(batches[0])
    state = data.state_dict()
    continued = MidiPianorolls(path=data.path, tracks=data.tracks, batch_size=4, lowest=36, pitches=48, workers=1)
    continued.load_state_dict(state)
    following = next(iter(continued.train_dataloader()))
    assert following["position"] == (0, 1)
    assert not set(following["key"]) & set(batches[0]["key"])
    held_out = list(data.val_dataloader())
    assert len(held_out) == 1
    assert held_out[0]["pianoroll"].shape == (1, 2, 64, 48)
    data.teardown("fit")
    continued.teardown("fit")


def test_tracks_that_are_not_there_are_said(data):
    with pytest.raises(ValueError, match=r"none of the tracks tuba is in .* which has Kit, Piano"):
        MidiPianorolls(path=data.path, tracks=("tuba",)).windows("train")


def test_chorales_have_four_voices_keys_and_phrases():
    package = importlib.util.find_spec("music21")
    chorale = read_chorale(Path(package.origin).parent / "corpus" / "bach" / "bwv66.6.mxl")
    piece = chorale_piece(chorale)
    data = BachPianorolls(bars=1)
    roll = pianoroll(piece, data.grid, 0)
    for track, voice in enumerate(chorale.voices):
        for note in voice:
            if note.onset < 4:
                middle = int((note.onset + note.duration / 2) * 4)
                assert middle >= 16 or roll[track, middle, note.midi - 24]
    assert piece.facts["phrase_ends"]
    assert set(roll.sum(2).ravel()) <= {0, 1}


def test_packed_chorales_stay_what_they_were():
    corpus = Path(importlib.util.find_spec("music21").origin).parent / "corpus" / "bach"
    digest = hashlib.sha256()
    for name in ("bwv66.6", "bwv269"):
        piece = chorale_piece(read_chorale(corpus / f"{name}.mxl"))
        digest.update(piece.notes.astype("<i4").tobytes() + json.dumps(piece.facts, sort_keys=True).encode())
    assert digest.hexdigest()[:16] == "323207da632addcd"


def rows_by_pretty_midi(path, seconds=None):
    """Return a piece's notes as they were read by pretty_midi, with beats beside the file or its own."""
    file = pretty_midi.PrettyMIDI(str(path))

    def ticks(time):
        if seconds is None:
            return round(file.time_to_tick(time) * 48 / file.resolution)
        return round(float(np.interp(time, seconds, np.arange(len(seconds)))) * 48)

    rows = [
        (track, ticks(n.start), max(ticks(n.end) - ticks(n.start), 1), n.pitch, n.velocity)
        for track, instrument in enumerate(file.instruments)
        for n in instrument.notes
    ]
    return [list(row) for row in sorted(rows, key=lambda row: (row[1], row[0], row[3]))]


def test_pieces_of_well_formed_files_stay_what_they_were(tmp_path):
    draw = np.random.default_rng(0)
    file = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=97)
    for program in (0, 40, 40):
        track = pretty_midi.Instrument(program, name=f"Program {program}")
        for pitch in range(48, 72):
            edges = np.unique(draw.integers(0, 48_000, 20))
            for start, end in zip(edges[::2], edges[1::2], strict=False):
                times = (file.tick_to_time(int(tick)) for tick in (start, end))
                track.notes.append(pretty_midi.Note(int(draw.integers(1, 128)), pitch, *times))
        file.instruments.append(track)
    file.time_signature_changes = [pretty_midi.TimeSignature(4, 4, 0), pretty_midi.TimeSignature(3, 4, 8.0)]
    file.key_signature_changes = [pretty_midi.KeySignature(6, 0)]
    file.write(str(tmp_path / "song.mid"))
    piece = read_midi(tmp_path / "song.mid")
    assert piece.notes.tolist() == rows_by_pretty_midi(tmp_path / "song.mid")
    assert piece.facts["tracks"] == ["Program 0", "Program 40", "Program 40"]
    assert piece.facts["programs"] == [0, 40, 40]
    assert (piece.facts["fifths"], piece.facts["mode"], piece.facts["beats"]) == (6, 0, 4)
    seconds = np.cumsum(draw.uniform(0.3, 0.7, 130)) - 0.7
    np.savetxt(tmp_path / "beat_midi.txt", np.stack([seconds, np.arange(130) % 4 == 0], 1))
    seconds = np.loadtxt(tmp_path / "beat_midi.txt")[:, 0]
    inside = [row for row in rows_by_pretty_midi(tmp_path / "song.mid", seconds) if row[1] > 0]
    assert [row for row in read_midi(tmp_path / "song.mid").notes.tolist() if row[1] > 0] == inside


@pytest.mark.parametrize("text", ["0.5 1\nnow 0\n", "0.5 1\n0.5 0\n", "0.5 1\nnan 0\n", "0.5\n1.0\n"])
def test_beats_that_cannot_be_are_refused_by_name(text, tmp_path):
    write_midi(tmp_path / "song.mid")
    (tmp_path / "beat_midi.txt").write_text(text)
    with pytest.raises(MidiError, match=r"beat_midi\.txt: "):
        read_midi(tmp_path / "song.mid")


def of_four(path, signatures, beats):
    """Write a note a beat under time signatures by the beat from which on they hold; return where windows begin."""
    file = pretty_midi.PrettyMIDI(initial_tempo=120)
    file.time_signature_changes = [pretty_midi.TimeSignature(*s, beat / 2) for beat, s in signatures.items()]
    piano = pretty_midi.Instrument(0)
    piano.notes = [pretty_midi.Note(80, 60, beat / 2, beat / 2 + 0.25) for beat in range(beats)]
    file.instruments.append(piano)
    file.write(str(path))
    data = MidiPianorolls(tracks=("piano",), bars=2)
    return [start for _, start in PianorollWindows(data, (read_midi(path),)).places]


@pytest.mark.parametrize(
    ("signatures", "beats", "starts"),
    [
        ({0: (4, 4)}, 16, [0, 4, 8]),
        ({0: (1, 4), 1: (4, 4)}, 13, [1, 5]),
        ({0: (4, 4), 8: (3, 4), 14: (4, 4)}, 22, [0, 14]),
        ({0: (4, 4), 8: (4, 4), 14: (2, 2)}, 22, [0, 4, 14]),
        ({0: (3, 4)}, 24, []),
    ],
)
def test_windows_begin_with_bars_of_four_beats_and_have_no_others(signatures, beats, starts, tmp_path):
    assert of_four(tmp_path / "song.mid", signatures, beats) == starts


def test_notes_that_end_before_the_first_bar_are_left_out(tmp_path):
    write_midi(tmp_path / "song.mid")
    seconds = np.arange(48) / 2
    np.savetxt(tmp_path / "beat_midi.txt", np.stack([seconds, np.arange(48) % 4 == 2], 1))
    notes = read_midi(tmp_path / "song.mid").notes
    piano = notes[notes[:, 0] == 0]
    assert len(piano) == 24 - 2
    assert piano[0].tolist() == [0, 0, 24, 50, 80]
    np.savetxt(tmp_path / "beat_midi.txt", np.stack([seconds + 100, np.arange(48) % 4 == 0], 1))
    with pytest.raises(MidiError, match="no notes after the first beat"):
        read_midi(tmp_path / "song.mid")


def test_a_folder_may_lie_below_one_that_is_named_versions(tmp_path):
    folder = tmp_path / "versions" / "mine"
    (folder / "versions").mkdir(parents=True)
    for place in (folder, folder / "versions"):
        write_midi(place / "song.mid")
    assert midi_files(folder) == [folder / "song.mid"]


def test_keys_and_families():
    signatures = {(0, False): 0, (7, False): 1, (5, False): -1, (9, True): 0, (2, True): -1, (11, False): 5}
    assert {key: fifths(*key) for key in signatures} == signatures
    assert gathers("bass", "Slap", 36)
    assert gathers("melody", "MELODY", 40)
    assert gathers("drums", "", PERCUSSION)
    assert not gathers("piano", "Kit", PERCUSSION)
    assert not gathers("drums", "Grand", 0)


def test_what_cannot_be_used_is_said_in_a_line(tmp_path):
    with pytest.raises(MidiFolderError, match="no such folder"):
        pack_midi(tmp_path / "nowhere", tmp_path / "packed")
    with pytest.raises(MidiFolderError, match="no MIDI files"):
        pack_midi(tmp_path, tmp_path / "packed")
    (tmp_path / "broken.mid").write_bytes(b"nothing")
    with pytest.raises(MidiFolderError, match=r"not one MIDI file.*broken\.mid"):
        pack_midi(tmp_path, tmp_path / "packed")
    with pytest.raises(MidiError, match=r"broken\.mid: cannot be read"):
        read_midi(tmp_path / "broken.mid")
    with pytest.raises(ValueError, match="must divide 48"):
        BachPianorolls(beat_steps=5)
