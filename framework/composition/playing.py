"""A written piece as sound: each voice by a sampled instrument, through a trained system or not, and their mix."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.bach.clips import f0 as pitch_of
from framework.audio.files import AudioFileError, audio_files, load_audio
from framework.audio.integrated_loudness import LoudnessMeter
from framework.audio.pitch_grid import FRAME_RATE, at_hops
from framework.audio.resample import resample
from framework.composition.cascade import number_of
from framework.errors import OstinatoError
from framework.music.notes import PERCUSSION, Note
from framework.music.songs import Song
from framework.music.soundfont import SOLOS, Performance, render

RATE = 44_100
PEAK = 10 ** (-1 / 20)
"""Of the mix: one dB below full scale."""
_VELOCITY, _RING_OUT = 90, 1.5
_LONGEST_HOURS, _MOST_HOURS = 2, 12
"""Length of a score, and of all its voices together; each fills about 8 GB."""
_HELD = 0.75  # beats by which a phrase's last beat is longer: its fermata
_PARTS = ("soprano", "alto", "tenor", "bass")


class PlayingError(OstinatoError, ValueError):
    """Something that cannot be played; the message says what and why."""


def in_seconds(song: Song, tempo: float) -> dict[str, list[Note]]:
    """Return the voices of a song as they are performed: the last beat of each phrase is held.

    Args:
        song: Notes in steps.
        tempo: Beats a minute.
    """
    ends = np.array(list(itertools.accumulate(phrase.units * song.unit for phrase in song.phrases)), float)

    def second(step: float) -> float:
        beat = step / song.steps
        held = np.clip(beat - (ends - 1), 0, 1).sum() * _HELD
        return float(60 / tempo * (beat + held))

    return {
        name: [Note(second(n.onset), second(n.end) - second(n.onset), n.midi) for n in song.voices[name]]
        for name in _PARTS
        if name in song.voices
    }


def sampled(
    voices: Mapping[str, Sequence[Note]], instruments: Sequence[str], percussion: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """Play each voice, notes in seconds, on its instrument of the SoundFont: float32 (time,) at `RATE`.

    Args:
        voices: Notes by name of the voice.
        instruments: Names of `SOLOS`, a voice each; further voices have the last.
        percussion: Names of the voices that the drum kit plays; these take no instrument.

    Raises:
        PlayingError: the voices are too long to be held in memory.
    """
    seconds = max((note.end for notes in voices.values() for note in notes), default=0.0) + _RING_OUT
    if seconds > _LONGEST_HOURS * 3600 or seconds * len(voices) > _MOST_HOURS * 3600:
        raise PlayingError(
            f"the score is too long to be held in memory: {len(voices)} voices of {seconds / 60:,.0f} minutes, not at "
            f"most {_LONGEST_HOURS} hours, and {_MOST_HOURS} hours of all voices together; cut it"
        )
    chosen = itertools.chain(instruments, itertools.repeat(instruments[-1]))
    programs = [PERCUSSION if name in percussion else SOLOS[next(chosen)].program for name in voices]
    played = [Performance(list(n), p, _VELOCITY) for n, p in zip(voices.values(), programs, strict=True)]
    return dict(zip(voices, render(played, seconds, RATE), strict=True))


def through(system: Any, stem: np.ndarray, notes: Sequence[Note], seed: int) -> np.ndarray:
    """Return a voice as a trained system plays it, given the sampled instrument's stem (time,) at `RATE`.

    A vocoder or a codec makes the stem again; a DDSP instrument plays its loudness at the score's own pitch.

    Raises:
        PlayingError: the system makes nothing of a recording.
    """
    if not system.reconstructs_input:
        raise PlayingError(f"{type(system).__name__} makes audio of its own: --through needs a vocoder, codec or DDSP")
    rate = system.preset.sample_rate
    audio = torch.from_numpy(resample(stem[None], RATE, rate))[None]
    peak = float(audio.abs().max())
    audio = audio * (0.95 / peak if peak else 1.0)
    hop = getattr(system, "control_hop", 0)
    batch = {"audio": audio}
    if hop:
        pitch = pitch_of([notes], audio.shape[-1] / rate)[0]
        batch["f0"] = torch.from_numpy(at_hops(pitch, FRAME_RATE, rate, 0, -(-audio.shape[-1] // hop), hop))[None]
    else:
        batch = system.batch_from_audio(audio)
    torch.manual_seed(number_of(seed, "through", audio.shape[-1]))
    made = system.synthesize(batch)[0].numpy() * (peak / 0.95 if peak else 1.0)
    again = resample(made.astype(np.float32), rate, RATE)[0]
    return np.pad(again, (0, max(0, len(stem) - len(again))))[: len(stem)]


def own_stems(folder: Path) -> dict[str, np.ndarray]:
    """Return the recordings in a folder by their names without ending, float32 (time,) at `RATE`.

    Raises:
        AudioFileError: there are none, or one cannot be read.
    """
    if not folder.is_dir():
        raise AudioFileError(f"--stems {folder} is no folder: name one with recordings, as soprano.wav")
    return {path.stem: load_audio(path, RATE)[0].numpy() for path in audio_files(folder)}


def mixed(stems: Sequence[np.ndarray], lufs: float) -> tuple[np.ndarray, float]:
    """Return the sum of stems (time,) at a loudness in LUFS (ITU-R BS.1770), or as near as its peaks allow; and that.

    Raises:
        PlayingError: there is nothing but silence.
    """
    longest = max(map(len, stems), default=0)
    total = np.sum([np.pad(stem, (0, longest - len(stem))) for stem in stems] or [np.zeros(1)], axis=0)
    meter = LoudnessMeter(RATE)
    meter.add(total)
    if not np.isfinite(meter.loudness()):
        raise PlayingError("there is nothing but silence to mix: are there notes in the score, or sound in the stems?")
    gain = min(10 ** ((lufs - meter.loudness()) / 20), PEAK / meter.peak)
    return (total * gain).astype(np.float32), meter.loudness() + 20 * float(np.log10(gain))
