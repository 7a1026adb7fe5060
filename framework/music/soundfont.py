"""The player: sampled instruments of the SoundFont inside pretty_midi, played by midirenderer (RustySynth, 48 kHz).

The SoundFont is read where pip put it. The synthesiser is right in pitch for every program of `INSTRUMENTS`; General
MIDI programs 19 (church organ, sounds an octave below) and 65 (alto saxophone, keys without a sample) are not, and are
left out because their score is no truth about their pitch.
"""

import functools
import importlib.util
import io
import math
import struct
import wave
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np
from midirenderer import render_wave_from

from framework.audio.resample import resample
from framework.errors import InvalidValueError
from framework.music.midi.writer import track_chunk
from framework.music.notes import PERCUSSION, Note

NATIVE_RATE = 48_000
"""Sample rate of the synthesiser in Hz."""

INSTRUMENTS: dict[str, tuple[int, int, int, int]] = {
    "strings": (40, 40, 41, 42),  # violin, violin, viola, cello
    "woodwinds": (73, 68, 71, 70),  # flute, oboe, clarinet, bassoon
    "brass": (56, 56, 60, 57),  # trumpet, trumpet, horn, trombone
    "piano": (0, 0, 0, 0),
    "organ": (20, 20, 20, 20),  # reed organ: the pipe organ is not in tune with its score
    "choir": (53, 53, 53, 53),
    "guitar": (24, 24, 24, 24),
    "harpsichord": (6, 6, 6, 6),
}
"""General MIDI programs (counted from 0) of soprano, alto, tenor and bass, by family."""


class Solo(NamedTuple):
    """An instrument by itself: its General MIDI program (counted from 0), lowest and highest note (MIDI number)."""

    program: int
    lowest: int
    highest: int


SOLOS: dict[str, Solo] = {
    "violin": Solo(40, 55, 96),
    "viola": Solo(41, 48, 84),
    "cello": Solo(42, 36, 76),
    "double_bass": Solo(43, 28, 67),
    "flute": Solo(73, 60, 96),
    "piccolo": Solo(72, 62, 102),
    "recorder": Solo(74, 60, 98),
    "oboe": Solo(68, 58, 91),
    "english_horn": Solo(69, 52, 81),
    "clarinet": Solo(71, 50, 91),
    "bassoon": Solo(70, 34, 75),
    "soprano_saxophone": Solo(64, 56, 88),
    "tenor_saxophone": Solo(66, 44, 76),
    "trumpet": Solo(56, 54, 84),
    "horn": Solo(60, 35, 77),
    "trombone": Solo(57, 36, 72),
    "tuba": Solo(58, 28, 62),
    "choir": Solo(53, 48, 79),
    "piano": Solo(0, 28, 100),
    "harpsichord": Solo(6, 29, 89),
    "organ": Solo(20, 36, 96),
    "guitar": Solo(24, 40, 83),
    "harp": Solo(46, 24, 100),
    "vibraphone": Solo(11, 53, 89),
    "marimba": Solo(12, 45, 96),
}
"""Instruments that the SoundFont has well, each within 20 cents of the score on every note of its range."""

# A tempo of 120 with this division makes a tick 1/24000 s: the MIDI file counts seconds, whatever the music's tempo.
_TICKS_PER_QUARTER, _TICKS_PER_SECOND = 12_000, 24_000
# Released this long before the score says, or a repeated note would be swallowed by its predecessor.
_ARTICULATION = 0.012
_REVERB, _CHORUS, _VOLUME, _PAN, _PAN_FINE = 91, 93, 7, 10, 42
_DRUM_CHANNEL = 9
_EFFECT_GENERATORS = (15, 16, 17)  # chorus send, reverb send, pan (SoundFont 2.01, section 8.1.2)


@dataclass(frozen=True)
class Performance:
    """One voice as it is played: notes in seconds, General MIDI program or `PERCUSSION`, velocity 1..127."""

    notes: Sequence[Note]
    program: int
    velocity: int


def render(voices: Sequence[Performance], seconds: float, sample_rate: int) -> np.ndarray:
    """Render each voice separately, without reverb or chorus.

    Returns:
        float32 (voices, time) of `round(seconds * sample_rate)` samples. All voices have the same scale, which is the
        synthesiser's own (a single note peaks at about -17 dBFS).

    Raises:
        ValueError: the SoundFont is not there.
    """
    stems = np.zeros((len(voices), math.ceil(seconds * NATIVE_RATE)), np.float32)
    for pair in _pairs(voices):
        played = _play_apart([voices[number] for number in pair], seconds)[: len(pair), : stems.shape[1]]
        stems[pair, : played.shape[1]] = played
    return resample(stems, NATIVE_RATE, sample_rate)[:, : round(seconds * sample_rate)]


def _pairs(voices: Sequence[Performance]) -> list[list[int]]:
    """Put two voices together wherever possible: there is one channel for percussion, and so one such voice a time."""
    drums = [[number] for number, voice in enumerate(voices) if voice.program == PERCUSSION]
    others = [number for number, voice in enumerate(voices) if voice.program != PERCUSSION]
    return [others[first : first + 2] for first in range(0, len(others), 2)] + drums


def _play_apart(pair: Sequence[Performance], seconds: float) -> np.ndarray:
    """Play up to two voices, one to each side, for the price of one; float32 (2, time) at the native rate."""
    recording = render_wave_from(_soundfont(), _midi_file(pair, seconds))
    with wave.open(io.BytesIO(recording)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, 2).T
    return samples.astype(np.float32) / 32768


def _midi_file(voices: Sequence[Performance], seconds: float) -> bytes:
    file = mido.MidiFile(ticks_per_beat=_TICKS_PER_QUARTER)
    for number, (voice, side) in enumerate(zip(voices, (0, 127), strict=False)):
        channel = _DRUM_CHANNEL if voice.program == PERCUSSION else number
        head = [
            mido.Message("control_change", channel=channel, control=control, value=value)
            for control, value in ((_REVERB, 0), (_CHORUS, 0), (_VOLUME, 100), (_PAN, side), (_PAN_FINE, side))
        ]
        head.append(mido.Message("program_change", channel=channel, program=voice.program % PERCUSSION))
        strokes = [
            (tick, 0, mido.Message("note_on", channel=channel, note=midi, velocity=velocity))
            for tick, velocity, midi in sorted(_strokes(voice))
        ]
        # The rendering stops at the end of the track, not when the last note has died away.
        file.tracks.append(track_chunk(head, strokes, round(seconds * _TICKS_PER_SECOND)))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _strokes(voice: Performance) -> Iterable[tuple[int, int, int]]:
    """Yield (tick, velocity, MIDI number) for each note's start and, with velocity 0, its release."""
    for note in voice.notes:
        start, end = round(note.onset * _TICKS_PER_SECOND), round((note.end - _ARTICULATION) * _TICKS_PER_SECOND)
        yield start, voice.velocity, note.midi
        yield max(start + 1, end), 0, note.midi


def soundfont_path() -> Path:
    """Return the path of the installed SoundFont.

    Raises:
        ValueError: pretty_midi or its SoundFont is not there.
    """
    package = importlib.util.find_spec("pretty_midi")
    path = Path(package.origin).parent / "TimGM6mb.sf2" if package and package.origin else None
    if path is None or not path.exists():
        raise InvalidValueError(
            "the SoundFont TimGM6mb.sf2 of pretty_midi is not there: pip install --force-reinstall pretty_midi"
        )
    return path


@functools.cache
def _soundfont() -> bytes:
    """Read the SoundFont and take from its sample zones their own chorus, reverb and place in the panorama.

    The controllers add to these and cannot cancel them.
    """
    data = bytearray(soundfont_path().read_bytes())
    for chunk in (b"igen", b"pgen"):
        start = data.rindex(chunk) + 8
        (size,) = struct.unpack_from("<I", data, start - 4)
        generators = np.frombuffer(data, "<i2", size // 2, start).reshape(-1, 2)
        generators[np.isin(generators[:, 0], _EFFECT_GENERATORS), 1] = 0
    return bytes(data)
