"""What is measured of an example by itself, such as its share of empty bars."""

from dataclasses import dataclass
from typing import Literal


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
