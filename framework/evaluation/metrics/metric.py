"""What a metric is: a number of one clip, or of a whole set of clips, with its unit, its direction and its source."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Tensor

from framework.audio.files import resample
from framework.audio.mel import MelPreset
from framework.errors import OstinatoError

Feature = TypeVar("Feature")


class NotMeasurableError(OstinatoError, ValueError):
    """A clip has no value of a metric (no voiced frame, no speech, too short); the message says why."""


class Clip:
    """The audio of a clip, with what several metrics ask of it computed once.

    Args:
        audio: `(1, 1, time)`, float32 on any device.
        preset: The system's mel convention, whose sample rate (Hz) the audio has.
    """

    def __init__(self, audio: Tensor, preset: MelPreset) -> None:
        self.audio, self.preset, self.sample_rate = audio, preset, preset.sample_rate
        self._features: dict[Any, Any] = {}

    def once(self, feature: Callable[["Clip"], Feature]) -> Feature:
        """Return what a function makes of the clip; it is called once."""
        if feature not in self._features:
            self._features[feature] = feature(self)
        return self._features[feature]

    def samples(self, sample_rate: int) -> np.ndarray:
        """Return the samples float32 `(time,)` at a rate (Hz), resampled with a windowed sinc; not clipped."""
        if sample_rate not in self._features:
            resampled = resample(self.audio[0, 0], self.sample_rate, sample_rate)
            self._features[sample_rate] = resampled.cpu().numpy()
        return self._features[sample_rate]


@dataclass(frozen=True)
class Metric:
    """A number of one generated clip.

    Args:
        name: What it is called in files and on the command line.
        title: The same for a reader.
        unit: Of the number; empty for none.
        better: Which of two is the better one.
        source: Paper or code that defines it.
        measure: `(generated, true) -> float` of clips of one length; raises `NotMeasurableError` where there is none.
        perfect: The value of the true audio itself; None where it has to be measured or is not finite.
        compares: Whether the true audio is the very clip that was to be generated; False for what judges a clip alone.
        packages: What has to be importable, as pairs of module and name for pip.
    """

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    source: str
    measure: Callable[[Clip, Clip], float]
    perfect: float | None = None
    compares: bool = True
    packages: tuple[tuple[str, str], ...] = ()

    def lacking(self) -> str | None:
        """Return what has to be installed first and how, or None."""
        absent = [pip for module, pip in self.packages if importlib.util.find_spec(module) is None]
        return f"not installed: pip install {' '.join(absent)}" if absent else None


@dataclass(frozen=True)
class SetMetric:
    """A distance between the distributions of generated and of true clips, of which single clips have none.

    Args:
        name: As of a `Metric`; so are the next four.
        title: See `Metric`.
        unit: See `Metric`.
        better: See `Metric`.
        source: See `Metric`.
        embed: Embeddings `(windows, dimensions)` of a clip.
        distance: Of embeddings `(windows, dimensions)`, generated and true.
        own: Whether it is asked only of systems that make audio of their own.
        alone: Whether it is of one set by itself, so that the true one has a value too.
    """

    name: str
    title: str
    unit: str
    better: Literal["lower", "higher"]
    source: str
    embed: Callable[[Clip], Tensor]
    distance: Callable[[Tensor, Tensor], float]
    own: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Trait:
    """What an example is like, such as a pianoroll's share of empty bars: generated ones should be like held-out ones.

    The system that makes such examples measures it, by `System.describe`.

    Args:
        name: As of a `Metric`; so are the next three.
        title: See `Metric`.
        source: See `Metric`.
        unit: See `Metric`.
        better: The nearer to the held-out examples' own.
    """

    name: str
    title: str
    source: str
    unit: str = ""
    better: Literal["nearer"] = "nearer"
