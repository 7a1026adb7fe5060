"""Bach's chorales at each of the four levels of whole-song generation; nothing is downloaded."""

from typing import ClassVar

from datamodules.bach.layouts import CHORALE_FORM, CHORALE_INNER, CHORALE_OUTER, CHORALE_SKELETON
from datamodules.bach.songs import chorale_songs
from datamodules.streaming.song_levels import SongLevel
from framework.music.layouts import Layout
from framework.music.songs import Song


class ChoraleLevel(SongLevel):
    """Chorales in C major or A minor, phrase by phrase to their fermatas, on a grid of eighths; split 80/10/10."""

    shift = (0, 0)

    def songs(self, split: str) -> tuple[Song, ...]:
        """Return the songs of a split: `train`, `validation` or `test`."""
        return chorale_songs()[split]


class ChoraleForms(ChoraleLevel):
    """Phrases and their keys."""

    layout: ClassVar[Layout] = CHORALE_FORM


class ChoraleSkeletons(ChoraleLevel):
    """The soprano's skeleton and the harmony."""

    layout: ClassVar[Layout] = CHORALE_SKELETON


class ChoraleOuterVoices(ChoraleLevel):
    """Soprano and bass."""

    layout: ClassVar[Layout] = CHORALE_OUTER


class ChoraleInnerVoices(ChoraleLevel):
    """Alto and tenor between soprano and bass."""

    layout: ClassVar[Layout] = CHORALE_INNER
