"""Songs on a grid: their rolls, keys, skeletons and files, and Bach's chorales as songs."""

import numpy as np
import pretty_midi
import pytest
from song_examples import chorale, quarters

from datamodules.chorale_songs import chorale_song, phrase_kinds
from datamodules.chorales import Chorale, Note
from datamodules.pop909_layouts import ACCOMPANIMENT, COUNTERPOINT, LEAD_SHEET, SONG_FORM
from datamodules.pop909_songs import LABELS, Pop909Error, pop909_songs
from datamodules.song_files import SongFileError, load_midi, load_song, save_midi, save_song
from datamodules.songs import Chord, Phrase, Song, estimated_key, key_roll, note_roll, phrase_roll, reduced, stretched


def test_a_phrase_falls_from_one_and_its_key_is_seven_notes():
    phrases = [Phrase(1, 4, 9, 0), Phrase(0, 2, 7, 7)]
    assert phrase_roll(phrases)[:2].tolist() == [[0, 0, 0, 0, 1, 0.5], [1, 0.75, 0.5, 0.25, 0, 0]]
    tonic, scale = key_roll(phrases)
    assert tonic[0].nonzero()[0].tolist() == [9]
    assert scale[0].nonzero()[0].tolist() == [0, 2, 4, 5, 7, 9, 11]
    assert scale[5].nonzero()[0].tolist() == [0, 2, 4, 6, 7, 9, 11]


def test_what_begins_begins_once_on_a_finer_grid():
    notes = [Note(0, 2, 60), Note(2, 1, 62)]
    finer = [Note(3 * n.onset, 3 * n.duration, n.midi) for n in notes]
    np.testing.assert_array_equal(stretched(note_roll(notes, 4), 3, onsets=True), note_roll(finer, 12))


def test_keys_are_those_of_scales():
    for tonic, minor in ((0, False), (9, True), (7, False), (4, True)):
        scale = (tonic + 3) % 12 if minor else tonic
        histogram = np.zeros(12)
        histogram[[(scale + degree) % 12 for degree in (0, 2, 4, 5, 7, 9, 11)]] = 1
        histogram[tonic] += 1
        assert estimated_key(histogram) == (tonic, scale)


def test_a_skeleton_keeps_the_longest_note_and_then_the_chords():
    notes = [Note(0, 1, 60), Note(1, 1, 62), Note(2, 1, 65), Note(3, 3, 64), Note(6, 2, 64)]
    chords = [Chord(0, 4, frozenset({2, 7, 11}), 7)]
    assert reduced(notes, chords, 4, 2) == [Note(0, 1, 62), Note(1, 1, 65), Note(2, 1, 64), Note(3, 1, 64)]


def test_phrases_that_sound_alike_have_one_letter():
    lengths = [4, 4, 5, 4]
    melody = quarters([60, 62, 64, 65, 72, 71, 69, 67, 59, 60, 62, 64, 65, 50, 52, 54, 56])
    assert phrase_kinds(melody, lengths) == [0, 1, 0, 2]


def test_a_chorale_comes_home_phrase_by_phrase():
    voice = tuple(Note(beat, 1, 62 + (0, 4, 7, 0)[beat % 4]) for beat in range(8))
    lower = [tuple(Note(n.onset, 1, n.midi - k) for n in voice) for k in (5, 12, 17)]
    song = chorale_song(Chorale("x", (voice, *lower), "D major", "4/4", (4.0, 8.0)))
    assert [tuple(p) for p in song.phrases] == [(0, 4, 0, 0), (0, 4, 0, 0)]
    assert [n.midi for n in song.voices["soprano"]] == [60 + k for k in (0, 4, 7, 0)] * 2
    assert chorale_song(Chorale("x", (voice, *lower), "D major", "4/4")) is None


def test_files_hold_all_of_a_song(tmp_path):
    song = chorale("ABCA")
    save_song(tmp_path / "song.json", song)
    assert load_song(tmp_path / "song.json") == song
    voices = {name: song.voices[name] for name in ("soprano", "alto", "tenor", "bass")}
    save_midi(tmp_path / "song.mid", voices, song.steps, 90)
    found, tempo = load_midi(tmp_path / "song.mid")
    assert (list(found), round(tempo)) == (list(voices), 90)
    assert found["bass"] == tuple(Note(n.onset / 2, n.duration / 2, n.midi) for n in voices["bass"])
    for bad in ("nothing.json", "song.mid"):
        with pytest.raises(SongFileError, match=bad):
            load_song(tmp_path / bad)
    with pytest.raises(SongFileError, match=r"song\.json"):
        load_midi(tmp_path / "song.json")


def test_pop909_is_read_with_its_piano_on_the_grid_of_the_labels(tmp_path):
    labels, folder = tmp_path / LABELS / "001", tmp_path / "001"
    labels.mkdir(parents=True)
    folder.mkdir()
    (labels / "human_label1.txt").write_text("i1A2\n")
    tonic, dominant, none = "C:maj [0, 4, 7] 0 2\n", "G:7/3 [7, 11, 2, 5] 11 2\n", "N []  2\n"
    (labels / "finalized_chord.txt").write_text(2 * (tonic + dominant) + none + dominant)
    (labels / "melody.txt").write_text("0 16\n" + "60 4\n64 2\n65 2\n67 8\n" * 2)
    # Half a second a beat; the labels begin at the third.
    (folder / "beat_midi.txt").write_text("".join(f"{0.5 * beat} 1.0 0.0\n" for beat in range(20)))
    played = pretty_midi.PrettyMIDI()
    for name, notes in (("MELODY", [(60, 3.0), (64, 3.5), (65, 3.75), (67, 4.0)]), ("PIANO", [(48, 1.0), (55, 2.25)])):
        track = pretty_midi.Instrument(0, name=name)
        track.notes = [pretty_midi.Note(90, midi, start, start + 0.5) for midi, start in notes]
        played.instruments.append(track)
    played.write(str(folder / "001.mid"))
    ((song,),) = [songs for songs in pop909_songs(tmp_path).values() if songs]
    assert [(p.kind, p.units, p.scale) for p in song.phrases] == [(3, 1, 0), (0, 2, 0)]
    assert song.voices["piano"] == (Note(0, 4, 48), Note(10, 4, 55))
    assert song.voices["melody"][0] == Note(16, 4, 60)
    assert [(c.onset, c.bass) for c in song.outline] == [(0, 0), (2, 11), (4, 0), (6, 11), (10, 11)]
    made = Song(song.name, 4, 4, song.phrases)
    for layout in (SONG_FORM, COUNTERPOINT, LEAD_SHEET, ACCOMPANIMENT):
        image = layout.image(song)
        np.testing.assert_array_equal(layout.image(made)[layout.front :], image[layout.front :])
        made = layout.completed(made, image[: layout.front])
    assert made == song
    (labels / "finalized_chord.txt").write_text(tonic + "C:maj 0 4 7\n")
    with pytest.raises(Pop909Error, match="song 001 cannot be read: a line of chords is 'C:maj 0 4 7'"):
        pop909_songs(tmp_path)
    with pytest.raises(Pop909Error, match="nowhere"):
        pop909_songs(tmp_path / "nowhere")
