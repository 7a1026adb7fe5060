"""The embedded data: Bach's four-part chorales, played by sampled instruments, with stems, notes and pitch."""

import functools
from pathlib import Path

from datamodules.bach.clips import Recipe
from datamodules.bach.packing import pack_chorales, packed_name
from datamodules.packing.once import make_once
from datamodules.streaming.audio_data import AudioData
from framework.annotations import PositiveFloat, PositiveInt
from framework.cache import cache_folder
from framework.errors import InvalidValueError
from framework.hyperparameters import nearest, runtime
from framework.music.soundfont import INSTRUMENTS


class BachChorales(AudioData):
    """Bach's four-part chorales, each played by one family of sampled instruments; nothing is downloaded.

    The score comes from music21's corpus, the sound from the SoundFont inside pretty_midi. The first use packs the
    clips into a cache folder. A clip has its mix (`wav`), four stems that sum to it exactly (`soprano.flac`,
    `alto.flac`, `tenor.flac`, `bass.flac`), `f0.npy` (float32 (4, frames) in Hz at 100 frames a second, 0 for a rest)
    and `notes.npy` (float32 (notes, 4): voice, onset in s, duration in s, MIDI number; a note that began before the
    clip has onset 0). Pieces are split 80/10/10; versions of the same piece are never in two splits.

    Args:
        instruments: Families of instruments, one of which is drawn for each piece.
        pieces: How many chorales (3 to 364), the first of a fixed random order.
        clip_seconds: Greatest length of a clip in seconds; a piece is cut into clips of equal length.
        cache: Folder to pack into, instead of $OSTINATO_CACHE or ~/.cache/ostinato.
    """

    instruments: tuple[str, ...] = tuple(INSTRUMENTS)
    pieces: PositiveInt = 364
    clip_seconds: PositiveFloat = 8.0
    cache: str = runtime("")

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: an unknown family of instruments or none, fewer than 3 pieces, or clips under a second.
        """
        super().build()
        if not self.instruments:
            raise InvalidValueError(f"BachChorales.instruments is empty: name some of {', '.join(INSTRUMENTS)}")
        for family in self.instruments:
            if family not in INSTRUMENTS:
                raise InvalidValueError(
                    f"BachChorales.instruments: there is no {family!r}: {nearest(family, INSTRUMENTS)}"
                )
        if self.pieces < 3:
            raise InvalidValueError(f"BachChorales.pieces = {self.pieces}: three splits need at least 3 pieces")
        if self.clip_seconds < 1:
            raise InvalidValueError(
                f"BachChorales.clip_seconds = {self.clip_seconds}: a clip must have at least 1 second"
            )

    @property
    def recipe(self) -> Recipe:
        """What determines the clips beside score and sounds."""
        return Recipe(self.sample_rate, self.instruments, self.clip_seconds)

    @functools.cached_property
    def folder(self) -> Path:
        """Where the packed clips are: the name is a hash of all that determines them."""
        name = packed_name(self.recipe, pieces=self.pieces)
        return Path(self.cache or cache_folder()).expanduser() / "bach_chorales" / name

    def prepare_data(self) -> None:
        """Play and pack the chorales, unless that was done before: about a second for each piece on two cores.

        Raises:
            ValueError: there are fewer chorales than `pieces`.
        """
        make_once(self.folder, lambda folder: pack_chorales(folder, self.pieces, self.recipe))
