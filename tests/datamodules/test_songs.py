"""Songs on a grid: their rolls, keys, skeletons and files, and Bach's chorales as songs."""

import json

import mido
import numpy as np
import pretty_midi
import pytest
from song_examples import chorale, quarters

from datamodules.bach.corpus import Chorale
from datamodules.bach.songs import chorale_song, phrase_kinds
from datamodules.pop909.layouts import ACCOMPANIMENT, COUNTERPOINT, LEAD_SHEET, SONG_FORM
from datamodules.pop909.songs import LABELS, Pop909Error, pop909_songs, read_piano
from framework.music.midi.score import MidiError
from framework.music.notes import PERCUSSION, Note
from framework.music.song_files import SongFileError, load_song, save_song
from framework.music.song_midi import load_midi, save_midi
from framework.music.songs import (
    Chord,
    Phrase,
    Song,
    estimated_key,
    key_roll,
    note_roll,
    phrase_roll,
    reduced,
    stretched,
)


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
    found, tempo, percussion = load_midi(tmp_path / "song.mid")
    assert (list(found), round(tempo), percussion) == (list(voices), 90, frozenset())
    assert found["bass"] == tuple(Note(n.onset / 2, n.duration / 2, n.midi) for n in voices["bass"])
    for bad in ("nothing.json", "song.mid"):
        with pytest.raises(SongFileError, match=bad):
            load_song(tmp_path / bad)
    with pytest.raises(MidiError, match=r"song\.json"):
        load_midi(tmp_path / "song.json")


def written(path, *tracks, kind=1, ticks=480):
    """Write tracks of messages as MIDI."""
    mido.MidiFile(type=kind, ticks_per_beat=ticks, tracks=[mido.MidiTrack(track) for track in tracks]).save(path)
    return path


def note(midi, channel=0, beats=1, wait=0):
    """Return the messages of a note."""
    return [
        mido.Message("note_on", channel=channel, note=midi, velocity=90, time=480 * wait),
        mido.Message("note_off", channel=channel, note=midi, time=480 * beats),
    ]


def tempo(tempo_bpm, wait=0):
    """Return the message of a tempo."""
    return mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo_bpm), time=480 * wait)


def named(name):
    """Return the message of a track's name."""
    return mido.MetaMessage("track_name", name=name)


def test_a_score_is_timed_as_its_file_is(tmp_path):
    slower = [tempo(30, wait=4)]
    for number, tracks in enumerate(
        ([[tempo(120), *slower], note(60, beats=8)], [slower, [tempo(120), *note(60, beats=8)]])
    ):
        score = load_midi(written(tmp_path / f"{number}.mid", *tracks))
        assert score.tempo == pytest.approx(120)
        ((only,),) = score.voices.values()
        assert only.end * 60 / score.tempo == pytest.approx(10)
    path = written(tmp_path / "late.mid", [tempo(120), *slower, *note(64), *note(65, beats=2)])
    ((first, second),) = load_midi(path).voices.values()
    assert (first.onset, first.duration, second.onset, second.duration) == pytest.approx((4, 4, 8, 8))


def test_a_voice_is_a_channel_of_a_track_and_drums_are_drums(tmp_path):
    tracks = [named("Soprano"), *note(72)], [named("soprano"), *note(60)], [named("Kit"), *note(81, channel=9)]
    score = load_midi(written(tmp_path / "song.mid", *tracks))
    found = [(name, notes[0].midi) for name, notes in score.voices.items()]
    assert found == [("soprano", 72), ("soprano_2", 60), ("02_kit", 81)]
    assert score.percussion == {"02_kit"}
    one = [named("all"), *note(48, channel=2), *note(36, channel=9), *note(72, channel=0)]
    score = load_midi(written(tmp_path / "flat.mid", one, kind=0))
    found = [(name, notes[0].midi) for name, notes in score.voices.items()]
    assert found == [("00_all", 72), ("00_all_2", 48), ("00_all_3", 36)]
    assert score.percussion == {"00_all_3"}


def test_drums_have_their_channel_and_no_other_voice_has_it(tmp_path):
    voices = {"drums": [Note(0, 1, 36)]} | {f"voice {n}": [Note(0, 1, 40 + n)] for n in range(12)}
    programs = {"drums": PERCUSSION, "voice 0": 43}
    save_midi(tmp_path / "song.mid", voices, 4, 90, programs)
    tracks = mido.MidiFile(tmp_path / "song.mid").tracks
    channels = [{message.channel for message in track if not message.is_meta} for track in tracks]
    assert channels == [{9}, *({n} for n in range(9)), *({n} for n in (10, 11, 12))]
    changes = [[(m.channel, m.program) for m in track if m.type == "program_change"] for track in tracks]
    assert changes == [[], [(0, 43)], *([(n, 0)] for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12))]


def test_a_score_without_notes_is_refused_by_name(tmp_path):
    with pytest.raises(MidiError, match=r"empty\.mid: has no notes"):
        load_midi(written(tmp_path / "empty.mid", [named("nothing")]))


def test_what_players_play_is_in_the_score(tmp_path):
    struck = [mido.Message("note_on", channel=9, note=36, velocity=90), mido.Message("note_off", channel=9, note=36)]
    again = [mido.Message("note_on", note=60, velocity=90, time=480), mido.Message("note_off", note=60)]
    legato = [
        mido.Message("note_on", note=60, velocity=90),
        *again,
        *again,
        mido.Message("note_off", note=60, time=480),
    ]
    score = load_midi(written(tmp_path / "song.mid", [tempo(120), *struck], [named("Flöte"), *legato]))
    assert score.voices == {
        "01_flöte": tuple(Note(beat, 1, 60) for beat in range(3)),
        "00_track": (Note(0, 0, 36),),
    }
    save_midi(tmp_path / "again.mid", {"kit": score.voices["00_track"]}, 1, 120, {"kit": PERCUSSION})
    assert load_midi(tmp_path / "again.mid").voices == {"00_kit": (Note(0, 0, 36),)}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("phrases", [], "phrases is empty"),
        ("phrases", [[6, 8, 0, 0]], r"phrases\[0\]: kind is 6, not a whole number from 0 to 5"),
        ("phrases", [[0, 0, 0, 0]], r"phrases\[0\]: units is 0"),
        ("phrases", [[0, 8, 12, 0]], r"phrases\[0\]: tonic is 12, not a whole number from 0 to 11"),
        ("phrases", [[0, 8, 0]], r"phrases\[0\] is \[0, 8, 0\], not a list of 4"),
        ("steps", 0, "the grid: steps is 0"),
        ("unit", "1", "the grid: unit is '1'"),
        ("outline", [[0, 2, [12], 0]], r"outline\[0\]: pitch class is 12"),
        ("chords", [[0, 2, 7, 0]], r"chords\[0\]: pitch classes are 7, not a list"),
        ("voices", {"alto": [[0, 1, 60], [1, 1, 128]]}, r"voices\.alto\[1\]: MIDI number is 128"),
        ("voices", {"alto": [[-1, 1, 60]]}, r"voices\.alto\[0\]: onset is -1"),
        ("voices", {"alto": [[0, float("nan"), 60]]}, r"voices\.alto\[0\]: duration is nan"),
        ("voices", [], "voices is no object"),
        ("name", None, "name is None"),
    ],
)
def test_what_was_edited_wrongly_is_named_by_its_field(field, value, said, tmp_path):
    path = tmp_path / "song.json"
    save_song(path, chorale("A"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(SongFileError, match=rf"song\.json holds no song: {said}"):
        load_song(path)
    path.write_text(json.dumps([]))
    with pytest.raises(SongFileError, match=r"song\.json holds no song"):
        load_song(path)


def test_overlapping_notes_of_pop909_stay_what_they_were(tmp_path):
    draw, track = np.random.default_rng(0), pretty_midi.Instrument(0, name="PIANO")
    for start in np.sort(draw.uniform(0, 20, 100)):
        track.notes.append(pretty_midi.Note(90, int(draw.integers(60, 63)), start, start + draw.uniform(0.1, 2)))
    file = pretty_midi.PrettyMIDI()
    file.instruments.append(track)
    folder = tmp_path / "001"
    folder.mkdir()
    file.write(str(folder / "001.mid"))
    (folder / "beat_midi.txt").write_text("".join(f"{0.5 * beat} 1.0 0.0\n" for beat in range(60)))
    played = pretty_midi.PrettyMIDI(str(folder / "001.mid")).instruments[0].notes
    expected = [(round(n.start * 8), max(1, round(n.end * 8) - round(n.start * 8)), n.pitch) for n in played]
    found = read_piano(folder, (), 1000)
    assert sorted((n.onset, n.duration, n.midi) for n in found) == sorted(expected)


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
