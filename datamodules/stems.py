"""Single voices with their exact pitch: Bach's chorales, each voice played alone by one instrument."""

import functools
from collections.abc import Mapping
from pathlib import Path

from datamodules.bach.packing import pack_chorales, packed_name
from datamodules.bach.stem_clips import VERSION, StemRecipe, stem_clips
from datamodules.packing.once import make_once
from datamodules.streaming.audio_data import AudioData
from framework.annotations import PositiveFloat, PositiveInt
from framework.cache import cache_folder
from framework.errors import InvalidValueError
from framework.hyperparameters import nearest, runtime
from framework.music.soundfont import SOLOS


class BachStems(AudioData):
    """Melodies of one instrument: the four voices of Bach's chorales, each by itself; nothing is downloaded.

    The first use packs the clips into a cache folder. A clip has its sound, `f0.npy` (float32 (values,) in Hz, 250 a
    second, 0 for a rest: the pitch of the score, steady on every note) and the integers `instrument` (its place among
    `instruments`) and `velocity`. A voice is moved by octaves into the instrument's range; rests are shortened to half
    a second. Pieces are split 80/10/10 as those of `BachChorales` are.

    Args:
        instruments: Names of instruments (see `framework/music/soundfont.py`, SOLOS); one is drawn for each voice.
        pieces: How many chorales (3 to 364), the first of a fixed random order.
        clip_seconds: Greatest length of a clip in seconds; a voice is cut into clips of equal length.
        cache: Folder to pack into, instead of $OSTINATO_CACHE or ~/.cache/ostinato.
    """

    sample_rate = 16000
    instruments: tuple[str, ...] = ("violin",)
    pieces: PositiveInt = 24
    clip_seconds: PositiveFloat = 8.0
    cache: str = runtime("")

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: an unknown instrument or none, fewer than 3 pieces, or clips under a second.
        """
        super().build()
        check_instruments("BachStems", self.instruments, SOLOS)
        if self.pieces < 3:
            raise InvalidValueError(f"BachStems.pieces = {self.pieces}: three splits need at least 3 pieces")
        if self.clip_seconds < 1:
            raise InvalidValueError(f"BachStems.clip_seconds = {self.clip_seconds}: a clip must have at least 1 second")

    @property
    def classes(self) -> Mapping[str, int]:
        """Number of instruments."""
        return {"instrument": len(self.instruments)}

    @functools.cached_property
    def folder(self) -> Path:
        """Where the packed clips are: the name is a hash of all that determines them."""
        name = packed_name(self.recipe, stems=VERSION, pieces=self.pieces)
        return Path(self.cache or cache_folder()).expanduser() / "bach_stems" / name

    @property
    def recipe(self) -> StemRecipe:
        """What determines the clips beside score and sounds."""
        return StemRecipe(self.sample_rate, self.instruments, self.clip_seconds)

    def prepare_data(self) -> None:
        """Play and pack the voices, unless that was done before.

        Raises:
            ValueError: there are fewer chorales than `pieces`.
        """
        make_once(self.folder, lambda folder: pack_chorales(folder, self.pieces, self.recipe, stem_clips))


def check_instruments(data: str, chosen: tuple[str, ...], known: dict) -> None:
    """Refuse instruments that there are not.

    Raises:
        ValueError: one is unknown or named twice, or there is none.
    """
    if not chosen:
        raise InvalidValueError(f"{data}.instruments is empty: name some of {', '.join(known)}")
    for name in chosen:
        if name not in known:
            raise InvalidValueError(f"{data}.instruments: there is no {name!r}: {nearest(name, known)}")
        if chosen.count(name) > 1:
            raise InvalidValueError(f"{data}.instruments names {name!r} twice")
