"""What MuseGAN's paper measures of pianorolls (Dong et al., 2018, section 6.1), as its official code does.

Rolls are boolean arrays `(..., bars, steps, pitches)`, the lowest pitch a C.
"""

import numpy as np

QUALIFIED = 3
"""Steps that a note has at least, in the paper; the official code's current version says 2."""
_TOLERANCE = 0.1


def empty_bars(roll: np.ndarray) -> float:
    """Return the share of bars without a note."""
    return float(1 - roll.any((-1, -2)).mean())


def used_pitch_classes(roll: np.ndarray) -> float:
    """Return how many of the 12 pitch classes a bar has, on average over all bars."""
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
    """Return the distance of two tracks' harmony (Harte et al., 2006), beat by beat; nan where never both sound."""
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
