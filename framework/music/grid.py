"""The grid of a piano roll."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """What the dimensions of a piano roll `(tracks, steps, pitches)` mean.

    Attributes:
        tracks: Names of the tracks.
        bars: Number of bars, 4 beats each.
        beat_steps: Steps in a beat.
        lowest: MIDI number of the first pitch.
        pitches: Number of pitches.
    """

    tracks: tuple[str, ...]
    bars: int
    beat_steps: int
    lowest: int
    pitches: int

    @property
    def steps(self) -> int:
        """Number of steps."""
        return 4 * self.bars * self.beat_steps
