"""MIDI files as scores: notes paired from note-ons and note-offs, with the tempos and signatures of all tracks."""

import re
import stat
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from framework.music.midi.chunks import header_of, track_chunks
from framework.music.midi.events import (
    KEY_SIGNATURE,
    META,
    SYSEX,
    TEMPO,
    TIME_SIGNATURE,
    TRACK_NAME,
    DamageError,
)
from framework.music.midi.pairing import NoteOff, NotePairing
from framework.music.midi.recovery import track_events
from framework.music.midi.score import (
    DEFAULT_TEMPO,
    END,
    ONSET,
    Key,
    Meter,
    MidiError,
    MidiScore,
    MidiTrack,
    TempoChange,
    TempoMap,
    one_per_tick,
)
from framework.os_errors import explain, of_the_machine, refused

MAX_BYTES = 16 << 20
"""Size of the largest file that is read."""
MAX_HOURS = 24
MAX_BEATS = 1 << 20
"""What begins later is left out, and what ends later is cut: only damaged files are longer."""
_LONGEST_DELTA = MAX_BEATS // 16  # beats
_SMPTE_RATES = {24: Fraction(24), 25: Fraction(25), 29: Fraction(30_000, 1001), 30: Fraction(30)}
_SUSTAIN, _SOUND_OFF, _NOTES_OFF = 64, 120, range(123, 128)
_SMALLEST_DENOMINATOR = 7  # as a power of 2


def read_score(path: Path, note_off: NoteOff = "oldest") -> MidiScore:
    """Read a MIDI file of any format; damage costs the events that it hits, and is counted in the remarks.

    A note-off ends the oldest sounding note of its key and channel, one that began at an earlier tick if there is one.
    A note that no note-off is left for ends where its key is next struck or released, or else with its track. The
    controllers 120 and 123 to 127 end all notes of their channel. Notes end where their keys are released, whether or
    not the sustain pedal is down.

    Tempos and signatures may be in any track. The patterns of a file of format 2 are read one after another, each with
    its own tempos. Of a file that counts in SMPTE frames, tempos only say how long a beat is.

    Args:
        path: The file.
        note_off: "all" lets a note-off end all notes of its key that began at an earlier tick, as pretty_midi does.

    Raises:
        MidiError: the file cannot be read, is too large or no MIDI file, or does not say how long a tick is.
        MachineError: the machine refuses a file that may be sound.
    """
    try:
        status = path.stat()
        if status.st_size > MAX_BYTES:
            size = f"{status.st_size / 1e6:.0f} MB"
            raise MidiError(f"{path}: {size}; MIDI files of more than {MAX_BYTES >> 20} MiB are not read")
        if not (stat.S_ISREG(status.st_mode) or path.is_dir()):
            raise MidiError(f"{path}: is not a regular file; name a MIDI file")
        data = path.read_bytes()
    except OSError as error:
        if of_the_machine(error):
            raise refused(path, error) from None
        raise MidiError(f"{path}: cannot be read ({explain(error)})") from None
    return score_of(data, str(path), note_off)


def score_of(data: bytes, name: str, note_off: NoteOff = "oldest") -> MidiScore:
    """Return the score of a MIDI file's contents, as `read_score`.

    Raises:
        MidiError: as `read_score`; the message begins with `name`.
    """
    remarks: Counter[str] = Counter()
    try:
        header = header_of(data, remarks)
    except DamageError:
        begins = f"begins with {data[:4]!r}" if data else "is empty"
        raise MidiError(f"{name}: cannot be read as MIDI: it {begins}, not with b'MThd'; name a MIDI file") from None
    kind = header.kind
    if kind > 2:
        remarks["unknown formats"] += 1
        kind = 1
    ticks_per_beat, ticks_per_second = _division(header.division, name)
    # In frames, at the default tempo.
    beat = ticks_per_beat or int(ticks_per_second * DEFAULT_TEMPO / 1_000_000)
    chunks: list[_Chunk] = []
    begin = 0
    for number, body in enumerate(track_chunks(data, header, remarks)):
        chunk = _Chunk(number, begin, note_off, remarks)
        chunk.read(track_events(body, _LONGEST_DELTA * beat, remarks))
        chunks.append(chunk)
        if kind == 2:
            begin = chunk.now
    if not chunks:
        raise MidiError(f"{name}: has no tracks; export it again")
    if len(chunks) < header.tracks:
        remarks["announced tracks that are missing"] += header.tracks - len(chunks)
    limit = MAX_BEATS * beat
    changes = one_per_tick(c for chunk in chunks for c in chunk.tempos if c.tick < limit)
    time = TempoMap(changes, ticks_per_beat, ticks_per_second)
    limit = bisect_left(range(limit), 1, key=lambda tick: int(time.seconds(tick) > MAX_HOURS * 3600))
    return MidiScore(
        tuple(track for chunk in chunks for track in chunk.tracks(limit)),
        time,
        one_per_tick(m for chunk in chunks for m in chunk.meters if m.tick < limit),
        one_per_tick(k for chunk in chunks for k in chunk.keys if k.tick < limit),
        min(limit, max(chunk.now for chunk in chunks)),
        kind,
        +remarks,
    )


def _division(division: int, name: str) -> tuple[int, Fraction]:
    """Return the ticks of a beat, or 0 and the ticks of a second.

    Raises:
        MidiError: a tick has no length.
    """
    if not division & 0x8000:
        if not division:
            raise MidiError(f"{name}: has a division of 0 ticks per beat, so its notes have no times; export it again")
        return division, Fraction(0)
    rate, ticks = _SMPTE_RATES.get(256 - (division >> 8)), division & 0xFF
    if not rate or not ticks:
        raise MidiError(
            f"{name}: has the division {256 - (division >> 8)} frames per second and {ticks} ticks per frame, not 24, "
            "25, 29 or 30 frames and at least 1 tick; export it again"
        )
    return 0, rate * ticks


class _Chunk:
    """Collects the notes and signatures of a track chunk.

    Args:
        number: The number of the chunk in the file.
        begin: Tick at which it begins.
        note_off: What a note-off ends.
        remarks: Counts what was not understood.
    """

    def __init__(self, number: int, begin: int, note_off: NoteOff, remarks: Counter[str]) -> None:
        self.number, self.begin, self.remarks = number, begin, remarks
        self.now = begin
        self.name = ""
        self.tempos: list[TempoChange] = []
        self.meters: list[Meter] = []
        self.keys: list[Key] = []
        self._notes = NotePairing(note_off)
        if begin:
            # A pattern of its own begins with the defaults.
            self.tempos.append(TempoChange(begin, DEFAULT_TEMPO))
            self.meters.append(Meter(begin, 4, 4))

    def read(self, events: Iterable[tuple[int, int, bytes]]) -> None:
        """Take the events of the chunk, which `track_events` yields."""
        notes, programs = self._notes, [0] * 16
        bends = pedals = exclusive = system = 0
        for tick, status, data in events:
            self.now = now = tick + self.begin
            kind, channel = status >> 4, status & 15
            if kind == 9 and data[1]:
                notes.strike(now, channel, data[0], data[1], programs[channel])
            elif kind in (8, 9):
                notes.release(now, channel, data[0])
            elif kind == 11:
                if data[0] == _SUSTAIN:
                    pedals += 1
                elif data[0] == _SOUND_OFF or data[0] in _NOTES_OFF:
                    notes.silence(now, channel)
            elif kind == 12:
                programs[channel] = data[0]
            elif kind == 14:
                bends += 1
            elif status == META:
                self._meta(now, data[0], data[1:])
            elif status == SYSEX:
                exclusive += 1
            elif kind == 15:
                system += 1
        notes.finish(self.now)
        self.remarks.update(
            {
                "pitch bends that are ignored": bends,
                "sustain pedal events that are ignored": pedals,
                "system exclusive messages that are ignored": exclusive,
                "other system messages that are ignored": system,
                "note-offs without a note": notes.strays,
                "notes without an end": notes.endless,
            }
        )

    def _meta(self, now: int, kind: int, data: bytes) -> None:
        if kind == TRACK_NAME:
            if not self.name.strip():
                self.name = decoded(data)
        elif kind == TEMPO:
            tempo = int.from_bytes(data)
            if len(data) == 3 and tempo:
                self.tempos.append(TempoChange(now, tempo))
            else:
                self.remarks["impossible tempos"] += 1
        elif kind == TIME_SIGNATURE:
            if len(data) == 4 and data[0] and data[1] <= _SMALLEST_DENOMINATOR:
                self.meters.append(Meter(now, data[0], 1 << data[1]))
            else:
                self.remarks["impossible time signatures"] += 1
        elif kind == KEY_SIGNATURE:
            fifths = int.from_bytes(data[:1], signed=True)
            if len(data) == 2 and -7 <= fifths <= 7 and data[1] <= 1:
                self.keys.append(Key(now, fifths, bool(data[1])))
            else:
                self.remarks["impossible key signatures"] += 1

    def tracks(self, limit: int) -> list[MidiTrack]:
        """Return the notes that begin before a tick, and end by it, by channel and program."""
        found = []
        for (channel, program), notes in self._notes.groups():
            within = notes[:, ONSET] < limit
            if not within.all():
                self.remarks[f"notes after {MAX_HOURS} hours or {MAX_BEATS:,} beats"] += int((~within).sum())
            notes = notes[within]
            notes[:, END] = np.minimum(notes[:, END], limit)
            if len(notes):
                found.append(MidiTrack(notes, self.name, channel, program, self.number))
        return found


def decoded(text: bytes) -> str:
    """Return a text as UTF-8 or Shift-JIS if its bytes can only be that, and as Latin-1 otherwise."""
    text = text.replace(b"\0", b"")
    try:
        return text.decode()
    except UnicodeDecodeError:
        pass
    # Bytes from 0x81 to 0x9F begin a character in Shift-JIS, and are no letters in Latin-1.
    if re.search(rb"[\x81-\x9f]", text) and re.search(rb"(?:[\x81-\x9f\xe0-\xef][\x40-\x7e\x80-\xfc]){2}", text):
        try:
            return text.decode("cp932")
        except UnicodeDecodeError:
            pass
    return text.decode("latin-1")
