"""The records of symbolic music that all other modules share."""

from dataclasses import dataclass

VOICES = ("soprano", "alto", "tenor", "bass")

PERCUSSION = 128
"""In place of a General MIDI program (0 to 127): the drum kit, whose keys 35 to 81 are drums and have no pitch."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note: onset and duration in quarters for a score, in seconds for a performance; MIDI number (69 = 440 Hz)."""

    onset: float
    duration: float
    midi: int

    @property
    def end(self) -> float:
        """Onset plus duration."""
        return self.onset + self.duration
