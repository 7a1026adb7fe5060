"""POP909 at each of the four levels of whole-song generation."""

import functools
from pathlib import Path
from typing import ClassVar

from datamodules.pop909.layouts import ACCOMPANIMENT, COUNTERPOINT, LEAD_SHEET, SONG_FORM
from datamodules.pop909.songs import pop909_songs
from datamodules.streaming.song_levels import SongLevel
from framework.hyperparameters import runtime
from framework.music.layouts import Layout
from framework.music.songs import Song


class Pop909Level(SongLevel):
    """Songs of POP909 with the structure labels of Dai et al. (2020), on a grid of sixteenths; split 80/10/10.

    Args:
        path: Folder of the songs and, in `structure_labels`, of their labels.
    """

    path: str = runtime("data/pop909")

    @property
    def source(self) -> str:
        """The folder of the songs."""
        return self.path

    def songs(self, split: str) -> tuple[Song, ...]:
        """Return the songs of a split: `train`, `validation` or `test`."""
        return _songs(Path(self.path).expanduser())[split]


class Pop909Forms(Pop909Level):
    """Keys and phrases."""

    layout: ClassVar[Layout] = SONG_FORM


class Pop909Counterpoints(Pop909Level):
    """Skeletons of melodies, and chords in outline."""

    layout: ClassVar[Layout] = COUNTERPOINT

    segment_shares = (0.1, 0.1, 0.2, 0.6)


class Pop909LeadSheets(Pop909Level):
    """Melodies and chords."""

    layout: ClassVar[Layout] = LEAD_SHEET


class Pop909Accompaniments(Pop909Level):
    """The piano."""

    layout: ClassVar[Layout] = ACCOMPANIMENT


@functools.cache
def _songs(folder: Path) -> dict[str, tuple[Song, ...]]:
    return pop909_songs(folder)
