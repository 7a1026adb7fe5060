"""Several data sets as one, each with its share of an epoch."""

import functools
import hashlib
from typing import Any

from datamodules.streaming.audio_data import AudioData
from framework.annotations import PositiveFloat
from framework.errors import InvalidValueError
from framework.hyperparameters import added


class Mixture(AudioData):
    """A mixture of data sets, which a subclass builds.

        class SpeechAndPiano(Mixture):
            weights = (0.7, 0.3)

            def build_parts(self):
                return AudioFolder(path="speech", sample_rate=self.sample_rate), BachChorales(instruments=("piano",))

    An epoch has as many segments as the data sets have clips together (times `crops_per_clip`). Where weights are set,
    clips of one data set come more often than those of another, and of a fraction others in each epoch. Held-out clips
    come from all of them in turn. Names of clips begin with the number of their data set, `1_`, `2_` and so on.

    Args:
        weights: Share of each data set in an epoch, in any unit; none lets every clip come once.
    """

    weights: tuple[PositiveFloat, ...] = added(())

    def build_parts(self) -> tuple[AudioData, ...]:
        """Return the data sets; of their hyperparameters only those count that say which clips there are."""
        raise NotImplementedError(f"{self._name} has no build_parts()")

    @functools.cached_property
    def parts(self) -> tuple[AudioData, ...]:
        """The data sets.

        Raises:
            ValueError: they are of another number than the weights, or a weight is not positive.
        """
        parts = self.build_parts()
        if self.weights and (len(self.weights) != len(parts) or min(self.weights) <= 0):
            raise InvalidValueError(
                f"{self._name}.weights = {self.weights}: set a positive one for each of {len(parts)} data sets"
            )
        return parts

    def prepare_data(self) -> None:
        """Prepare all data sets."""
        for part in self.parts:
            part.prepare_data()

    def shards(self, split: str) -> list[str]:
        """Return paths or URLs of the shards of a split."""
        return [url for part in self.parts for url in part.shards(split)]

    def fingerprint(self) -> str:
        """Return a hash of all clips of all data sets, in their order."""
        return hashlib.sha256(" ".join(part.fingerprint() for part in self.parts).encode()).hexdigest()[:16]

    def _crops(self) -> float | tuple[float, ...]:
        if not self.weights:
            return super()._crops()
        clips = self._clips_of_parts("train")
        if 0 in clips:
            raise InvalidValueError(f"{self._name}: data set {clips.index(0) + 1} has no clips to train on")
        segments = self.crops_per_clip * sum(clips) / sum(self.weights)
        return tuple(self.weights[s.part] * segments / clips[s.part] for s in self._sources("train"))

    def order(self) -> dict[str, Any]:
        """Return what has to be unchanged for a position to mean the same batches, by name."""
        return super().order() | ({"weights": self.weights} if self.weights else {})
