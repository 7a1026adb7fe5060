"""The metrics of pianorolls in MuseGAN's paper (Dong et al., 2018, section 6.1).

Rolls are boolean arrays `(..., bars, steps, pitches)`, the lowest pitch a C.

These follow the definitions of the paper. The official code (salu133445/musegan) differs, and its numbers cannot be
compared with these, but for the pattern masks of the drums, which are the same:

* Empty bars: `src/musegan/metrics.py` returns the share of the bars that have notes, 1 minus this.
* Pitch classes: its chroma (also in `v1` and `v2`) puts neighbouring pitches together, 7 of 84, instead of the same
  pitches in all octaves. In `src` the classes are counted in each step and summed over the bar's steps; in `v1` and
  `v2` once a bar, as here, but bars without notes are left out, which here count as 0.
* Qualified notes: `src`, `v1` and `v2` ask for 2 steps, the paper for a 32nd note, which is 3 of the 96 steps of a bar.
  `v1` and `v2` cut notes at bar lines and average the shares of bars. In `src` steps and pitches are one index, so that
  a step counts as long as all pitches together and every note qualifies, and a note at index 0 is not counted.
* Drum pattern: `v1` and `v2` count onsets and take the best of six shifts of the pattern; `src` counts steps without
  shifts, as here, and returns 0 without drums, which here is NaN.
* Tonal distance: on the chroma described above. A beat in which a track is silent makes the value NaN, in `src` of the
  whole batch and in `v1` and `v2` of the bar, which is then left out. Here such beats are left out.
"""

import numpy as np

QUALIFIED = 3
"""Steps that a note has at least in the paper, on its grid of 96 steps a bar: a 32nd note."""
_TOLERANCE = 0.1


def empty_bars(roll: np.ndarray) -> float:
    """Return the share of bars without a note."""
    return float(1 - roll.any((-1, -2)).mean())


def used_pitch_classes(roll: np.ndarray) -> float:
    """Return how many of the 12 pitch classes a bar has, on average over all bars, those without notes included."""
    return float(chroma(roll).any(-2).sum(-1).mean())


def qualified_notes(roll: np.ndarray, shortest: int = QUALIFIED) -> float:
    """Return the share of notes that have at least `shortest` steps, across bar lines; nan where there are no notes."""
    steps = roll.reshape(*roll.shape[:-3], -1, roll.shape[-1]).astype(np.int8)
    padded = np.moveaxis(np.pad(steps, [(0, 0)] * (steps.ndim - 2) + [(1, 1), (0, 0)]), -2, -1)
    changes = np.diff(padded.reshape(-1, padded.shape[-1]), axis=-1).ravel()
    lengths = np.flatnonzero(changes < 0) - np.flatnonzero(changes > 0)
    return float((lengths >= shortest).mean()) if len(lengths) else float("nan")


def drum_pattern(roll: np.ndarray, beat_steps: int) -> float:
    """Return the share of drum strokes in patterns of sixteenths, a step beside them counting a tenth.

    On grids with no finer steps than sixteenths, or of triplets alone, the pattern has eighths. nan without a stroke.
    """
    period = beat_steps // 4 if beat_steps % 4 == 0 and beat_steps > 4 else beat_steps // 2
    place = np.arange(roll.shape[-2]) % period
    away = np.minimum(place, period - place)
    share = np.where(away == 0, 1.0, np.where(away == 1, _TOLERANCE, 0.0))
    return float((roll.sum(-1) * share).sum() / roll.sum()) if roll.any() else float("nan")


def tonal_distance(one: np.ndarray, other: np.ndarray, beat_steps: int) -> float:
    """Return the distance of two tracks' harmony (Harte et al., 2006), on average over the beats in which both sound.

    nan if there is no such beat.
    """
    centres = [_centres(roll, beat_steps) for roll in (one, other)]
    distances = np.linalg.norm(centres[0] - centres[1], axis=-1)
    return float(np.nanmean(distances)) if np.isfinite(distances).any() else float("nan")


def chroma(roll: np.ndarray) -> np.ndarray:
    """Return how often each pitch class sounds: `(..., bars, steps, 12)`."""
    missing = -roll.shape[-1] % 12
    padded = np.pad(roll.astype(np.int64), [(0, 0)] * (roll.ndim - 1) + [(0, missing)])
    return padded.reshape(*padded.shape[:-1], -1, 12).sum(-2)


def _centres(roll: np.ndarray, beat_steps: int) -> np.ndarray:
    """Return the tonal centroid of each beat, `(beats, 6)`; nan where nothing sounds."""
    beats = chroma(roll).reshape(-1, beat_steps, 12).sum(1).astype(float)
    total = beats.sum(1, keepdims=True)
    shares = np.divide(beats, total, out=np.full_like(beats, np.nan), where=total > 0)
    angles = np.pi * np.outer((7 / 6, 3 / 2, 2 / 3), np.arange(12))
    radii = np.array((1.0, 1.0, 0.5))[:, None]
    basis = np.concatenate([radii * np.sin(angles), radii * np.cos(angles)])
    return shares @ basis.T
