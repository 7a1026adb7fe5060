"""Integrated loudness of a mono recording, measured block by block (ITU-R BS.1770-5, annex 1)."""

import numpy as np

from framework.errors import InvalidValueError

LOWEST_RATE = 4000
"""Lowest sample rate (Hz) at which the shelf of the K-weighting can be realised."""

_OFFSET = -0.691  # dB, equation 2: makes a sine of 997 Hz at full scale -3.01 LUFS
_ABSOLUTE_GATE = -70.0  # LUFS, equation 6
_RELATIVE_GATE = -10.0  # LU, equation 7
_OVERLAP = 4  # steps of 100 ms in a gating block of 400 ms


class LoudnessMeter:
    """Measures the integrated loudness of audio in pieces; memory grows by one number per 100 ms.

    Args:
        sample_rate: Hz.

    Raises:
        ValueError: the sample rate is below 4 kHz.
    """

    def __init__(self, sample_rate: int) -> None:
        if sample_rate < LOWEST_RATE:
            raise InvalidValueError(f"loudness is not defined at {sample_rate} Hz: {LOWEST_RATE} Hz at least")
        self.peak = 0.0
        self._step = round(sample_rate / 10)
        self._filter = k_weighting(sample_rate)
        self._state = np.zeros((len(self._filter), 2))
        self._rest = np.zeros(0)
        self._powers: list[np.ndarray] = []

    def add(self, audio: np.ndarray) -> None:
        """Add the next samples `(time,)`."""
        if not len(audio):
            return
        # Imported here because the import takes a second and packing rarely measures loudness.
        from scipy.signal import sosfilt

        self.peak = max(self.peak, float(np.abs(audio).max()))
        weighted, self._state = sosfilt(self._filter, audio, zi=self._state)
        power = np.concatenate([self._rest, weighted**2])
        whole = len(power) // self._step * self._step
        self._powers.append(power[:whole].reshape(-1, self._step).mean(1))
        self._rest = power[whole:]

    def loudness(self) -> float:
        """Return the integrated, gated loudness (LUFS) so far; -inf for silence.

        Audio shorter than one gating block of 400 ms is measured as one block.
        """
        powers = np.concatenate([np.zeros(0), *self._powers])
        if len(powers) < _OVERLAP:
            samples = len(powers) * self._step + len(self._rest)
            total = powers.sum() * self._step + self._rest.sum()
            return float(_lufs(total / samples)) if samples else -np.inf
        blocks = np.convolve(powers, np.full(_OVERLAP, 1 / _OVERLAP), "valid")
        blocks = blocks[_lufs(blocks) > _ABSOLUTE_GATE]
        if not len(blocks):
            return -np.inf
        return float(_lufs(blocks[_lufs(blocks) > _lufs(blocks.mean()) + _RELATIVE_GATE].mean()))


def k_weighting(sample_rate: int) -> np.ndarray:
    """Return the K-weighting for any sample rate as second-order sections (2, 6).

    The standard lists the coefficients for 48 kHz alone (tables 1 and 2). They are the bilinear transforms of a high
    shelf and a high-pass with the corner frequencies (Hz), qualities and gain (dB) below, at 48 kHz to all digits
    listed, which gives the same filters at any other rate.
    """
    k, q = np.tan(np.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    norm = 1 + k / q + k * k
    recursion = [1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    direct = [(high + middle * k / q + k * k) / norm, 2 * (k * k - high) / norm, (high - middle * k / q + k * k) / norm]
    shelf = direct + recursion
    k, q = np.tan(np.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    norm = 1 + k / q + k * k
    high_pass = [1, -2, 1, 1, 2 * (k * k - 1) / norm, (1 - k / q + k * k) / norm]
    return np.array([shelf, high_pass])


def _lufs(power: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return _OFFSET + 10 * np.log10(power)
