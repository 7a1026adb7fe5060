"""Renders a piece to audio: sampled instruments, optionally resynthesised by a trained system, and the mix."""

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
"""Largest peak of the mix: 1 dB below full scale."""
_VELOCITY, _RING_OUT = 90, 1.5
_LONGEST_HOURS, _MOST_HOURS = 2, 12
"""Largest length (hours) of a score and of all its voices together; either takes about 8 GB of memory."""
_HELD = 0.75  # beats by which the fermata lengthens the last beat of a phrase
_PARTS = ("soprano", "alto", "tenor", "bass")


class PlayingError(OstinatoError, ValueError):
    """A piece cannot be rendered."""


def in_seconds(song: Song, tempo: float) -> dict[str, list[Note]]:
    """Return the voices of a song in seconds, with a fermata on the last beat of each phrase.

    Args:
        song: Notes in steps.
        tempo: Beats per minute.
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
    """Render each voice with its instrument of the SoundFont, as float32 `(time,)` at `RATE`.

    Args:
        voices: Notes (in seconds) by name of the voice.
        instruments: Names of `SOLOS`, one for each voice; further voices use the last one.
        percussion: Names of the voices that the drum kit plays; they use none of `instruments`.

    Raises:
        PlayingError: the voices are too long to fit into memory.
    """
    seconds = max((note.end for notes in voices.values() for note in notes), default=0.0) + _RING_OUT
    if seconds > _LONGEST_HOURS * 3600 or seconds * len(voices) > _MOST_HOURS * 3600:
        raise PlayingError(
            f"the score is too long to fit into memory: {len(voices)} voices of {seconds / 60:,.0f} minutes; "
            f"shorten it to at most {_LONGEST_HOURS} hours, and {_MOST_HOURS} hours of all voices together"
        )
    chosen = itertools.chain(instruments, itertools.repeat(instruments[-1]))
    programs = [PERCUSSION if name in percussion else SOLOS[next(chosen)].program for name in voices]
    played = [Performance(list(n), p, _VELOCITY) for n, p in zip(voices.values(), programs, strict=True)]
    return dict(zip(voices, render(played, seconds, RATE), strict=True))


def through(system: Any, stem: np.ndarray, notes: Sequence[Note], seed: int) -> np.ndarray:
    """Resynthesise a voice with a trained system, given the stem `(time,)` of the sampled instrument at `RATE`.

    A vocoder or a codec reconstructs the stem. A DDSP instrument uses the stem's loudness and the pitch of the notes.

    Raises:
        PlayingError: the system does not take a recording as input.
    """
    if not system.reconstructs_input:
        name = type(system).__name__
        raise PlayingError(f"{name} takes no recording as input; --through needs a vocoder, codec or DDSP")
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
    """Return the recordings in a folder by file name without suffix, as float32 `(time,)` at `RATE`.

    Raises:
        AudioFileError: the folder contains no recordings, or one cannot be read.
    """
    if not folder.is_dir():
        raise AudioFileError(f"--stems {folder} is not a folder; name one with recordings such as soprano.wav")
    return {path.stem: load_audio(path, RATE)[0].numpy() for path in audio_files(folder)}


def mixed(stems: Sequence[np.ndarray], lufs: float) -> tuple[np.ndarray, float]:
    """Return the mix of stems `(time,)` and its loudness in LUFS (ITU-R BS.1770).

        The loudness is `lufs`, or lower if the peak of the mix would be too high.

    Raises:
        PlayingError: all stems are silent.
    """
    longest = max(map(len, stems), default=0)
    total = np.sum([np.pad(stem, (0, longest - len(stem))) for stem in stems] or [np.zeros(1)], axis=0)
    meter = LoudnessMeter(RATE)
    meter.add(total)
    if not np.isfinite(meter.loudness()):
        raise PlayingError("all stems are silent; check that the score has notes and that the stems have sound")
    gain = min(10 ** ((lufs - meter.loudness()) / 20), PEAK / meter.peak)
    return (total * gain).astype(np.float32), meter.loudness() + 20 * float(np.log10(gain))
