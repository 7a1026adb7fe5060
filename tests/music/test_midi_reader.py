"""The MIDI reader: odd and damaged files keep their notes, and what was not understood is counted."""

import ast
import errno
import math
import os
import time
from pathlib import Path

import pytest
from midi_bytes import END, TEMPO_120, TICKS, chunk, control, header, meta, midi, number, off, on, quarters, rows

import framework.music
from framework.music.midi.reader import MAX_BEATS, MAX_HOURS, decoded, read_score, score_of
from framework.music.midi.score import MidiError
from framework.os_errors import MachineError

UP = quarters(8)


def notes(score):
    """Return onset, end and pitch of all notes by track chunk and channel."""
    found = {}
    for track in score.tracks:
        found.setdefault((track.chunk, track.channel), []).extend(map(tuple, track.notes[:, :3].tolist()))
    return {place: sorted(those) for place, those in found.items()}


REPEATED = on(60) + b"".join(on(60, TICKS) + off(60) for _ in range(63)) + off(60, TICKS)
OVERLAPPING = on(60) + on(60, TICKS) + off(60, TICKS) + off(60, TICKS)
WELL_FORMED = {
    "plain": (midi(TEMPO_120, UP), {(1, 0): rows(8)}),
    "type 0": (midi(TEMPO_120 + UP, kind=0), {(0, 0): rows(8)}),
    "note-on before note-off": (midi(REPEATED), {(0, 0): [(n * TICKS, (n + 1) * TICKS, 60) for n in range(64)]}),
    "note-ons of velocity 0": (midi(on(60) + on(60, TICKS, velocity=0)), {(0, 0): [(0, TICKS, 60)]}),
    "running status": (midi(on(60) + b"\x10\x3c\x00\x10\x3e\x5a\x10\x3e\x00"), {(0, 0): [(0, 16, 60), (32, 48, 62)]}),
    "running status over a text": (midi(on(60) + meta(1, b"a") + b"\x10\x3c\x00"), {(0, 0): [(0, 16, 60)]}),
    "drum strokes of no length": (
        midi(b"".join(on(36, TICKS, 9) + off(36, 0, 9) for _ in range(8))),
        {(0, 9): [(n * TICKS, n * TICKS, 36) for n in range(1, 9)]},
    ),
    "overlapping": (midi(OVERLAPPING), {(0, 0): [(0, 2 * TICKS, 60), (TICKS, 3 * TICKS, 60)]}),
    "two at once": (midi(on(60) + on(60) + off(60, 10) + off(60, 10)), {(0, 0): [(0, 10, 60), (0, 20, 60)]}),
    "all notes off": (midi(on(60) + on(64) + control(123, wait=5)), {(0, 0): [(0, 5, 60), (0, 5, 64)]}),
    "all sound off": (
        midi(on(60) + control(120, wait=5) + on(60, 5) + off(60, 5)),
        {(0, 0): [(0, 5, 60), (10, 15, 60)]},
    ),
    "all notes off on another channel": (
        midi(on(60) + control(123, wait=5, channel=1) + off(60, 5)),
        {(0, 0): [(0, 10, 60)]},
    ),
    "20 tracks": (
        midi(*[quarters(2, 40 + n, n % 16) for n in range(20)]),
        {(n, n % 16): rows(2, 40 + n) for n in range(20)},
    ),
    "type 2": (
        midi(UP, UP, kind=2),
        {(0, 0): rows(8), (1, 0): [(a + 8 * TICKS, b + 8 * TICKS, p) for a, b, p in rows(8)]},
    ),
    # As if it were two notes.
    "binary data of a sequencer": (midi(meta(0x7F, b"\1\x90\x3c\x40\1\x80\x3c\0") + UP), {(0, 0): rows(8)}),
    "header of 8 bytes": (b"MThd\0\0\0\x08" + header(0, 1)[8:] + b"\0\0" + chunk(UP + END), {(0, 0): rows(8)}),
    "RIFF": (
        b"RIFF\0\0\0\0RMIDLIST\x06\0\0\0INFOab"
        + b"data"
        + len(midi(UP)).to_bytes(4, "little")
        + midi(UP)
        + b"DLS \x04\0\0\0MTrk",
        {(0, 0): rows(8)},
    ),
}


@pytest.mark.parametrize("case", WELL_FORMED)
def test_well_formed_files_lose_no_note_and_need_no_remark(case):
    data, expected = WELL_FORMED[case]
    score = score_of(data, "x.mid")
    assert notes(score) == expected
    assert not score.remarks


HANGING = UP + on(40, 0) + meta(0x2F, wait=4 * TICKS)
ODD = {
    "a note without an end": (
        header(0, 1) + chunk(HANGING),
        [*rows(8), (8 * TICKS, 12 * TICKS, 40)],
        {"notes without an end": 1},
    ),
    "a note-off is missing": (
        midi(on(60) + on(60, 10) + off(60, 10) + on(60, 10) + off(60, 10)),
        [(0, 10, 60), (10, 20, 60), (30, 40, 60)],
        {"notes without an end": 1},
    ),
    "two notes, one note-off": (
        midi(on(60) + on(60) + off(60, 10) + UP),
        [(0, 10, 60), (0, 10, 60), *((a + 10, b + 10, p) for a, b, p in rows(8))],
        {"notes without an end": 1},
    ),
    "a stray note-off": (midi(off(60) + UP), rows(8), {"note-offs without a note": 1}),
    "pitch bend": (midi(b"\0\xe0\0\x50" + UP), rows(8), {"pitch bends that are ignored": 1}),
    "sustain pedal": (midi(control(64, 127) + UP + control(64)), rows(8), {"sustain pedal events that are ignored": 2}),
    "system exclusive": (
        midi(b"\0\xf0\x05\x7e\x7f\x09\x01\xf7" + UP),
        rows(8),
        {"system exclusive messages that are ignored": 1},
    ),
    "impossible key": (midi(meta(0x59, b"\x09\0") + UP), rows(8), {"impossible key signatures": 1}),
    "impossible meter": (midi(meta(0x58, b"\0\2\x18\x08") + UP), rows(8), {"impossible time signatures": 1}),
    "enormous denominator": (midi(meta(0x58, b"\4\xff\x18\x08") + UP), rows(8), {"impossible time signatures": 1}),
    "tempo of 0": (midi(meta(0x51, b"\0\0\0") + UP), rows(8), {"impossible tempos": 1}),
    "tempo of 4 bytes": (
        midi(b"\0\xff\x51\x04\x07\xa1\x20\x55" + UP),
        rows(8),
        {"repaired events": 1, "impossible tempos": 1},
    ),
    "velocity over 127": (midi(b"\0\x90\x3c\xff" + off(60, TICKS)), rows(1), {"repaired events": 1}),
    "undefined status": (midi(b"\0\xf4\x05" + UP), rows(8), {"damaged bytes": 3}),
    "clock and active sensing": (midi(b"\0\xfe\0\xf8" + UP), rows(8), {"other system messages that are ignored": 2}),
    "end of track with a length": (header(0, 1) + chunk(UP + b"\0\xff\x2f\x07"), rows(8), {"repaired events": 1}),
    "delta time of 5 bytes": (midi(b"\xff\xff\xff\xff\x7f" + UP), rows(8), {"damaged bytes": 5}),
    "delta time of days": (
        midi(number((1 << 28) - 1) + on(60)[1:] + off(60, TICKS)),
        rows(1),
        {"delta times too long": 1},
    ),
    # As long as if the first note belonged to it.
    "a text that swallows a note": (midi(b"\0\xff\x01\x0ePiano" + UP), rows(8), {"damaged bytes": 9}),
    "a text that is too short": (midi(b"\0\xff\x01\x03Piano" + UP), rows(8), {"damaged bytes": 2}),
    "a text that is far too long": (midi(b"\0\xff\x01\x7fPiano" + UP), rows(8), {"damaged bytes": 9}),
    "no end of track": (header(0, 1) + chunk(UP), rows(8), {"tracks without an end": 1}),
    "cut off in a note": (
        header(0, 1) + chunk(UP + END)[:-9],
        [*rows(7), (7 * TICKS, 7 * TICKS, 67)],
        {"notes without an end": 1, "tracks without an end": 1, "wrong track lengths": 1},
    ),
    "length too long": (header(0, 1) + chunk(UP + END, length=5000), rows(8), {"wrong track lengths": 1}),
    "length too short": (header(0, 1) + chunk(UP + END, length=9), rows(8), {"wrong track lengths": 1}),
    "announced tracks": (header(1, 3) + chunk(UP + END), rows(8), {"announced tracks that are missing": 2}),
    "alien chunk": (header(1, 1) + chunk(b"12345678", b"XFIH") + chunk(UP + END), rows(8), {"unknown chunks": 1}),
    "damaged name of the track": (header(1, 1) + chunk(UP + END, b"M\x03rk"), rows(8), {"damaged chunk names": 1}),
    "damaged name of the header": (midi(UP).replace(b"MThd", b"MT\0d"), rows(8), {"damaged chunk names": 1}),
    "bytes behind the track": (midi(UP) + b"\0" * 37 + b"trailing", rows(8), {"bytes outside of tracks": 45}),
    "bytes behind the end": (
        header(0, 1) + chunk(UP + END + b"\0" * 9),
        rows(8),
        {"bytes behind the end of a track": 9},
    ),
    "notes behind the end": (header(0, 1) + chunk(END + UP + END), rows(8), {}),
    "a second file": (midi(UP) + midi(UP), rows(8), {"bytes of further MIDI files": len(midi(UP))}),
    "MacBinary": (b"\0" * 128 + midi(UP), rows(8), {"bytes before the header": 128}),
    "format 3": (midi(UP, kind=3), rows(8), {"unknown formats": 1}),
    "header without length": (b"MThd\0\0\0\0" + midi(UP)[8:], rows(8), {"wrong header lengths": 1}),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_files_keep_their_notes_and_say_what_was_odd(case):
    data, expected, remarks = ODD[case]
    score = score_of(data, "x.mid")
    (found,) = notes(score).values()
    assert found == expected
    assert score.remarks == remarks


def test_tracks_are_channels_and_programs_and_channel_10_is_drums():
    program = [number(0) + bytes([0xC0, n]) for n in (3, 40)]
    track = meta(3, b"solo") + program[0] + on(60) + off(60, 5) + program[1] + on(60) + off(60, 5)
    drums = meta(3, "Flöte 日本".encode()) + b"\0\xc9\x28" + on(36, 0, 9) + off(36, 5, 9)
    found = [(t.name, t.program, t.instrument, len(t.notes)) for t in score_of(midi(track, drums), "x.mid").tracks]
    assert found == [("solo", 3, 3, 1), ("solo", 40, 40, 1), ("Flöte 日本", 40, 128, 1)]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("Flöte 日本", "Flöte 日本".encode()),
        ("ピアノ", "ピアノ".encode("cp932")),
        ("第1バイオリン", "第1バイオリン".encode("cp932")),
        ("Flöte à bec, émue", "Flöte à bec, émue".encode("latin-1")),
        ("Größe", "Größe".encode("latin-1")),
        ("Strings", b"Strings\0"),
    ],
)
def test_names_are_utf_8_or_shift_jis_or_latin_1(text, bytes_):
    assert decoded(bytes_) == text


def test_tempos_and_signatures_may_be_in_any_track():
    conductor = meta(0x51, (1_000_000).to_bytes(3), 2 * TICKS)
    other = meta(0x58, b"\3\2\x18\x08") + meta(0x59, b"\2\1") + on(60) + off(60, 4 * TICKS) + quarters(1)
    score = score_of(midi(conductor, other + meta(0x58, b"\6\3\x18\x08")), "x.mid")
    (track,) = score.tracks
    # Two quarters at 120 a minute, the others at 60: the tempo changes while the first note sounds.
    assert score.seconds(track).tolist() == [[0, 3], [3, 4]]
    assert score.beats(track).tolist() == [[0, 4], [4, 5]]
    assert score.time.steady_beats(track.notes[:, :2]).tolist() == [[0, 6], [6, 8]]
    assert [tuple(meter) for meter in score.meters] == [(0, 3, 4), (5 * TICKS, 6, 8)]
    assert [tuple(key) for key in score.keys] == [(0, 2, True)]
    assert (score.meters[1].beats, score.tempo, score.length) == (3, 120, 5 * TICKS)


def test_patterns_of_type_2_have_tempos_of_their_own():
    slow = meta(0x51, (1_000_000).to_bytes(3)) + meta(0x58, b"\3\2\x18\x08") + quarters(3)
    score = score_of(midi(slow, quarters(2), kind=2), "x.mid")
    assert [score.seconds(track).max() for track in score.tracks] == [3, 4]
    assert [tuple(meter) for meter in score.meters] == [(0, 3, 4), (3 * TICKS, 4, 4)]


@pytest.mark.parametrize(("frames", "rate"), [(24, 24), (25, 25), (29, 30_000 / 1001), (30, 30)])
def test_smpte_divisions_say_how_long_a_tick_is_and_tempos_how_long_a_beat(frames, rate):
    tempos = meta(0x51, (250_000).to_bytes(3), 40 * frames) + meta(0x2F)
    score = score_of(midi(on(60) + off(60, 80 * frames), tempos, division=(256 - frames) << 8 | 40), "x.mid")
    (track,) = score.tracks
    seconds = 2 * frames / rate
    assert score.seconds(track)[0, 1] == pytest.approx(seconds)
    # The first half at 0.5 s a beat, the second at 0.25 s.
    assert score.beats(track)[0, 1] == pytest.approx(seconds * (1 + 2))
    assert score.time.steady_beats(track.notes[0, 1]) == pytest.approx(seconds * 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"ID3\4 and music", "begins with b'ID3"),
        (b"MThd\0\0\0\6\0\1", "begins with b'MThd'"),
        (midi(UP, division=0), "division of 0"),
        (midi(UP, division=0xE700), "25 frames per second and 0 ticks"),
        (midi(UP, division=0x8028), "128 frames per second"),
        (header(1, 0), "no tracks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_midi_is_refused_by_name(data, said, tmp_path):
    path = tmp_path / "song.mid"
    path.write_bytes(data)
    with pytest.raises(MidiError, match=rf"song\.mid: .*{said}") as error:
        read_score(path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_opened_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe.mid")
    for path in (tmp_path, tmp_path / "nowhere.mid", tmp_path / "pipe.mid"):
        with pytest.raises(MidiError, match=path.name):
            read_score(path)


def test_too_many_open_files_are_no_damaged_file(tmp_path, monkeypatch):
    (tmp_path / "song.mid").write_bytes(midi(UP))

    def read_bytes(path):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(MachineError, match=r"song\.mid .*ulimit"):
        read_score(tmp_path / "song.mid")


def test_absurd_files_are_bounded(tmp_path):
    huge = tmp_path / "huge.mid"
    huge.write_bytes(midi(UP))
    os.truncate(huge, 10_000_000 * 6)
    with pytest.raises(MidiError, match=r"huge\.mid: 60 MB"):
        read_score(huge)
    begun = time.process_time()
    tempos = b"".join(meta(0x51, (300_000 + n % 1000).to_bytes(3), 1) for n in range(100_000))
    score = score_of(midi(tempos, on(60) + off(60, 100_000)), "x.mid")
    assert score.seconds(score.tracks[0])[0, 1] == pytest.approx(
        sum(300_000 + n % 1000 for n in range(100_000)) / 1e6 / TICKS, rel=1e-4
    )
    # Pauses of 65,536 beats each: the notes of the first day are kept.
    days = (on(60) + off(60, TICKS) + number(60_000 * TICKS) + meta(1)[1:]) * 40
    score = score_of(midi(days), "x.mid")
    onsets = score.seconds(score.tracks[0])[:, 0]
    assert len(onsets) == math.ceil(MAX_HOURS * 3600 / 30_000.5)
    assert score.remarks == {f"notes after {MAX_HOURS} hours or {MAX_BEATS:,} beats": 40 - len(onsets)}
    assert time.process_time() - begun < 20


def test_music_does_not_import_data_modules():
    folder = Path(framework.music.__path__[0])
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom | ast.Import)
    }
    own = {name for name in imported if name.split(".")[0] in ("framework", "datamodules", "experiments")}
    assert own
    assert not [name for name in own if name.startswith(("datamodules", "experiments"))]
