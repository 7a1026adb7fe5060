"""MIDI files read as three independent libraries read them, written and read back, and damaged at random."""

import contextlib
import io
from collections import Counter

import mido
import numpy as np
import pretty_midi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midi_bytes import END, chunk, control, header, meta, off, on

from framework.errors import InvalidValueError
from framework.music.midi.reader import score_of
from framework.music.midi.score import Key, Meter, MidiError, MidiScore, MidiTrack, TempoChange, TempoMap, note_array
from framework.music.midi.writer import write_score

few = settings(max_examples=60, deadline=None)


@st.composite
def tracks(draw, number):
    """Draw a track whose notes of a pitch do not lie inside one another; some overlap, some have no length."""
    rows = []
    for pitch in draw(st.lists(st.integers(0, 127), max_size=4, unique=True)):
        onset = end = 0
        for _ in range(draw(st.integers(0, 5))):
            onset += draw(st.integers(0, 2000))
            end = max(end, onset + draw(st.integers(0, 1000)))
            rows.append((onset, end, pitch, draw(st.integers(1, 127))))
    name = draw(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=8))
    return MidiTrack(note_array(rows), name, draw(st.integers(0, 15)), draw(st.integers(0, 127)), number)


@st.composite
def scores(draw):
    """Draw a score with tempos, meters and keys."""
    ticks = st.integers(0, 5000)
    tempos = draw(st.lists(st.tuples(ticks, st.integers(100_000, 2_000_000)), max_size=4, unique_by=lambda t: t[0]))
    meters = draw(st.lists(st.tuples(ticks, st.integers(1, 12), st.sampled_from([2, 4, 8])), max_size=3))
    keys = draw(st.lists(st.tuples(ticks, st.integers(-7, 7), st.booleans()), max_size=3))
    found = [draw(tracks(number)) for number in range(draw(st.integers(1, 4)))]
    time = TempoMap([TempoChange(*tempo) for tempo in tempos], draw(st.sampled_from([1, 96, 480, 32767])))
    by_tick = [
        {event.tick: event for event in sorted(events)}
        for events in ([Meter(*meter) for meter in meters], [Key(*key) for key in keys])
    ]
    return MidiScore(tuple(found), time, *(tuple(events.values()) for events in by_tick), length=draw(ticks))


def written(score, tmp_path_factory):
    """Return a score as the bytes of a file."""
    path = tmp_path_factory.getbasetemp() / "written.mid"
    write_score(path, score)
    return path.read_bytes()


@few
@given(score=scores())
def test_what_is_written_is_read(score, tmp_path_factory):
    found = score_of(written(score, tmp_path_factory), "x.mid")
    heard = [track for track in score.tracks if len(track.notes)]
    assert [(t.name.rstrip("\0"), t.channel, t.program, t.chunk) for t in heard] == [
        (t.name, t.channel, t.program, t.chunk) for t in found.tracks
    ]
    for track, other in zip(heard, found.tracks, strict=True):
        # Velocities of notes that begin together on one key may be exchanged: nothing tells them apart.
        assert Counter(map(tuple, track.notes[:, :3].tolist())) == Counter(map(tuple, other.notes[:, :3].tolist()))
        assert sorted(track.notes[:, 3]) == sorted(other.notes[:, 3])
    assert (found.time.changes, found.meters, found.keys) == (score.time.changes, score.meters, score.keys)
    assert found.length == max(
        score.length,
        *(int(t.notes[:, 1].max(initial=0)) for t in score.tracks),
        *(e[-1].tick for e in (score.time.changes, score.meters, score.keys) if e),
    )
    assert not found.remarks


def test_pauses_longer_than_a_delta_time_can_be_are_written(tmp_path_factory):
    end = 40_000 * 32_767
    score = MidiScore((MidiTrack(note_array([(end - 1, end, 60, 90)])),), TempoMap(ticks_per_beat=32_767))
    found = score_of(written(score, tmp_path_factory), "x.mid")
    assert found.tracks[0].notes.tolist() == [[end - 1, end, 60, 90]]
    assert not found.remarks


@pytest.mark.parametrize("row", [(-1, 0, 60, 90), (2, 1, 60, 90), (0, 1, 128, 90), (0, 1, 60, 0)])
def test_notes_that_midi_cannot_have_are_refused(row, tmp_path):
    with pytest.raises(InvalidValueError, match=r"song\.mid: flute has a note"):
        write_score(tmp_path / "song.mid", MidiScore((MidiTrack(note_array([row]), "flute"),)))


def by_mido(data):
    """Return onset, end, pitch and velocity of notes by chunk and channel; a note-off ends the oldest."""
    found = {}
    for number, track in enumerate(mido.MidiFile(file=io.BytesIO(data), charset="utf-8").tracks):
        now, sounding = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                sounding.setdefault((message.channel, message.note), []).append((now, message.velocity))
            elif message.type in ("note_on", "note_off"):
                onset, velocity = sounding[message.channel, message.note].pop(0)
                found.setdefault((number, message.channel), []).append((onset, now, message.note, velocity))
    return {place: sorted(notes) for place, notes in found.items()}


def by_us(score):
    """Return the same from a score of ours."""
    found = {}
    for track in score.tracks:
        found.setdefault((track.chunk, track.channel), []).extend(map(tuple, track.notes.tolist()))
    return {place: sorted(notes) for place, notes in found.items()}


@few
@given(score=scores())
def test_notes_are_those_of_mido(score, tmp_path_factory):
    data = written(score, tmp_path_factory)
    assert by_us(score_of(data, "x.mid")) == by_mido(data)


@few
@given(score=scores())
def test_notes_and_their_times_are_those_of_pretty_midi(score, tmp_path_factory):
    data = written(score, tmp_path_factory)
    found = score_of(data, "x.mid", note_off="all")
    instruments = [i for i in pretty_midi.PrettyMIDI(io.BytesIO(data), charset="utf-8").instruments if i.notes]
    # pretty_midi leaves out what has no length.
    long = [(track, track.notes[:, 1] > track.notes[:, 0]) for track in found.tracks]
    long = [(track, kept) for track, kept in long if kept.any()]
    assert [(t.name, t.program, t.percussion) for t, _ in long] == [(i.name, i.program, i.is_drum) for i in instruments]
    for (track, kept), instrument in zip(long, instruments, strict=True):
        ours = sorted(
            (*times, *rest)
            for times, rest in zip(found.seconds(track)[kept].tolist(), track.notes[kept, 2:].tolist(), strict=True)
        )
        theirs = sorted((note.start, note.end, note.pitch, note.velocity) for note in instrument.notes)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


@few
@given(score=scores())
def test_notes_are_those_of_symusic(score, tmp_path_factory):
    symusic = pytest.importorskip("symusic", reason="symusic is not installed: pip install symusic")
    data = written(score, tmp_path_factory)
    found = score_of(data, "x.mid")
    theirs = symusic.Score.from_midi(data)
    seconds = theirs.to("second")
    expected = Counter((n.time, n.end, n.pitch, n.velocity) for track in theirs.tracks for n in track.notes)
    assert (
        Counter(map(tuple, np.concatenate([np.zeros((0, 4), int), *(t.notes for t in found.tracks)]).tolist()))
        == expected
    )
    ours = sorted(time for track in found.tracks for time in found.seconds(track).ravel())
    times = sorted(time for track in seconds.tracks for n in track.notes for time in (n.time, n.end))
    np.testing.assert_allclose(ours, times, atol=1e-4, rtol=1e-5)


@st.composite
def files(draw):
    """Draw a file of up to 3 tracks, and its notes: chunk, onset, end, pitch, and where the bytes of their end end."""
    data, notes = header(1, 3), []
    for number in range(draw(st.integers(1, 3))):
        body, now, sounding = meta(3, b"Piano"), 0, {}
        begin = len(data) + 8
        for pitch, wait in draw(st.lists(st.tuples(st.integers(60, 64), st.integers(0, 300)), max_size=24)):
            now += wait
            if pitch in sounding:
                body += off(pitch, wait)
                notes.append((number, sounding.pop(pitch), now, pitch, begin + len(body)))
            else:
                body += on(pitch, wait)
                sounding[pitch] = now
        body += b"".join([control(7, 100), meta(0x51, b"\7\xa1\x20"), b"\0\xf0\2\1\xf7", *map(off, sounding), END])
        data += chunk(body)
    return data, notes


@settings(max_examples=400, deadline=None)
@given(
    file=files(), where=st.floats(0, 1), removed=st.integers(0, 6), inserted=st.binary(max_size=6), cut=st.booleans()
)
def test_damage_costs_no_note_in_front_of_it(file, where, removed, inserted, cut):
    data, notes = file
    at = 14 + int(where * (len(data) - 14))
    damaged = data[:at] + inserted + (b"" if cut else data[at + removed :])
    before = Counter(note[:4] for note in notes if note[4] <= at)
    found: Counter[tuple[int, ...]] = Counter()
    # Only without a track before the damage may there be none at all.
    with contextlib.suppress(*[] if before else [MidiError]):
        tracks = score_of(damaged, "x.mid").tracks
        found.update((track.chunk, *row) for track in tracks for row in track.notes[:, :3].tolist())
    assert not before - found


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=200), kind=st.integers(0, 3), begins=st.booleans())
def test_noise_raises_nothing_but_midi_errors(noise, kind, begins):
    with contextlib.suppress(MidiError):
        score_of(header(kind, 1) * begins + noise, "x.mid")
