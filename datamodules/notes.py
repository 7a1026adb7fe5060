"""Single notes of many instruments, for systems that make a sound of a class and a pitch."""

import functools
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from datamodules.bach.note_clips import PLAYERS, VERSION, NoteRecipe, note_clips
from datamodules.bach.packing import pack_clips, packed_name
from datamodules.packing.once import make_once
from datamodules.stems import check_instruments
from datamodules.streaming.audio_data import AudioData
from framework.annotations import NonEmpty, PositiveFloat, Range
from framework.cache import cache_folder
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime


class Notes(AudioData):
    """Single notes: instruments x pitches x velocities, played by the SoundFont inside pretty_midi.

    The first use packs them into a cache folder. A clip is one note from its beginning, as long as a segment by
    default, with the integers `instrument` (its place among `instruments`), `pitch` (MIDI number, 69 is 440 Hz) and
    `velocity`, and with `f0.npy`. `instruments = ("drums",)` are drum-like sounds, whose pitch is their key in General
    MIDI and whose f0 is 0.

    Of each instrument a tenth of the pitches is held out for validation and a tenth for the test, at all velocities:
    no such pair of instrument and pitch is trained on, though its neighbours, made of the same recording, may be.

    Args:
        instruments: Names of instruments (see `framework/music/soundfont.py`, SOLOS) or `drums`; each plays its range.
        velocities: How hard every note is struck (1 to 127).
        seconds: Length of a clip; the note is released after three quarters of it.
        cache: Folder to pack into, instead of $OSTINATO_CACHE or ~/.cache/ostinato.
    """

    sample_rate = 16000
    segment = 16384
    labels = ("instrument", "pitch")
    instruments: tuple[str, ...] = (
        "violin",
        "cello",
        "flute",
        "oboe",
        "clarinet",
        "trumpet",
        "horn",
        "piano",
        "guitar",
    )
    velocities: NonEmpty[Annotated[int, Range(1, 127)]] = (55, 80, 105)
    seconds: PositiveFloat = 1.024
    cache: str = runtime("")

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: an unknown instrument or none, a velocity outside of 1 to 127, or notes under 0.1 s.
        """
        super().build()
        check_instruments("Notes", self.instruments, PLAYERS)
        if not self.velocities or not all(1 <= velocity <= 127 for velocity in self.velocities):
            raise InvalidValueError(f"Notes.velocities = {self.velocities}: name some from 1 to 127")
        if len(set(self.velocities)) < len(self.velocities):
            raise InvalidValueError(f"Notes.velocities = {self.velocities}: one is named twice")
        if self.seconds < 0.1:
            raise InvalidValueError(f"Notes.seconds = {self.seconds}: a note must have at least 0.1 seconds")

    @property
    def classes(self) -> Mapping[str, int]:
        """Number of instruments."""
        return {"instrument": len(self.instruments)}

    @functools.cached_property
    def folder(self) -> Path:
        """Where the packed notes are: the name is a hash of all that determines them."""
        name = packed_name(self.recipe, notes=VERSION)
        return Path(self.cache or cache_folder()).expanduser() / "notes" / name

    @property
    def recipe(self) -> NoteRecipe:
        """What determines the clips beside the sounds."""
        return NoteRecipe(self.sample_rate, self.instruments, self.velocities, self.seconds)

    def prepare_data(self) -> None:
        """Play and pack the notes, unless that was done before."""
        make_once(self.folder, self._pack)

    def _pack(self, folder: Path) -> None:
        jobs = [(number, self.recipe) for number in range(len(self.instruments))]
        facts = {"instruments": list(self.instruments), "recipe": asdict(self.recipe)}
        pack_clips(folder, note_clips, jobs, "rendering notes (once)", "instruments", self.sample_rate, **facts)
