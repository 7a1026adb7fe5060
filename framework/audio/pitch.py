"""Pitch tracking of monophonic recordings with CREPE (Kim et al., 2018), as implemented in torchcrepe."""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from framework.audio.checks import check_at_least, check_shape
from framework.audio.files import resample
from framework.audio.pitch_grid import FRAME_RATE, at_hops
from framework.errors import InvalidValueError, OstinatoError

LOWEST, HIGHEST = 50.0, 2000.0
"""Hz: what is lower or higher is not taken for a pitch."""

VOICED = 0.5
"""Confidence of the network, between 0 and 1, from which a frame counts as voiced: that of noise is under 0.5 in 99 of
100 frames, that of a voice no louder than the noise around it over 0.8."""

_RATE = 16_000  # Hz that CREPE works at
_MODEL = "tiny"  # 2 MB: a third of real time on one processor, where the full one takes ten times real time
_QUIET = 1e-3  # of the loudest frame, -60 dB
_FRAMES = 512  # at a time
_AROUND = 4  # bins of 20 cents on either side that a pitch is the mean of (Kim et al., 2018, equation 2)
_GLIDE, _LEAP = 12, 0.01  # bins that a pitch changes by from frame to frame at most, unless it leaps; how often it does
_FLOOR = 1e-3  # how likely any bin is at least
_LOWEST_BIN = 1997.3794084376191  # cents above 10 Hz


class PitchError(OstinatoError, ValueError):
    """The pitch cannot be tracked."""


def track_pitch(audio: Tensor, sample_rate: int, hop: int) -> Tensor:
    """Return the pitch of a recording of one voice.

    The network's most likely path (Viterbi), at 100 frames a second, is brought to the grid that is asked for.

    Args:
        audio: `(1, 1, time)`; resampled to 16 kHz.
        sample_rate: Hz.
        hop: Samples between two values.

    Returns:
        float32 `(1, ceil(time / hop))` in Hz: value `k` at sample `k * hop`, 0 where there is no pitch.

    Raises:
        PitchError: torchcrepe is not installed.
        InvalidValueError: the audio is not one mono recording, or holds NaN or infinite samples.
    """
    check_shape("audio", audio, 1, 1, "time")
    check_at_least("hop", hop, 1)
    samples = audio.shape[-1]
    f0 = pitch_values(audio[0, 0], sample_rate)
    found = at_hops(f0, FRAME_RATE, sample_rate, 0, -(-samples // hop), hop)
    return torch.from_numpy(found)[None].to(audio.device)


def pitch_values(audio: Tensor, sample_rate: int) -> np.ndarray:
    """Return the pitch of audio `(time,)` at 100 frames a second: float32 (values,) in Hz, 0 where there is none.

    Raises:
        PitchError: torchcrepe is not installed.
    """
    return pitch_and_periodicity(audio, sample_rate)[0]


@torch.no_grad()
def pitch_and_periodicity(audio: Tensor, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pitch as `pitch_values` does, and how sure the network is of it in each frame: float32, from 0 to 1.

    Raises:
        PitchError: torchcrepe is not installed.
        InvalidValueError: the audio is not `(time,)`, or holds NaN or infinite samples.
    """
    check_shape("audio", audio, "time")
    if not torch.isfinite(audio).all():
        raise InvalidValueError("audio holds NaN or infinite samples, which have no pitch: repair it")
    crepe = require_torchcrepe()
    count = -(-audio.shape[-1] * FRAME_RATE // sample_rate)
    at_rate = resample(audio[None].float(), sample_rate, _RATE)
    frames = crepe.preprocess(at_rate, _RATE, _RATE // FRAME_RATE, _FRAMES, str(audio.device))
    salience = torch.cat([crepe.infer(part, _MODEL, str(audio.device)) for part in frames])[:count].cpu()
    bins = torch.arange(salience.shape[1])
    hertz = _hertz(bins.double())
    salience[:, (hertz < LOWEST) | (hertz > HIGHEST)] = 0
    path = _most_likely_path(salience)
    around = (path[:, None] + torch.arange(-_AROUND, _AROUND + 1)).clamp(0, len(bins) - 1)
    weights = salience.gather(1, around).double()
    pitch = _hertz((weights * around).sum(1) / weights.sum(1).clamp(min=1e-12))
    confidence = _median_of_three(salience.gather(1, path[:, None])[:, 0])
    confidence = torch.where(_levels(at_rate[0].cpu(), len(path)) > _QUIET, confidence, 0)
    return torch.where(confidence >= VOICED, pitch, 0).float().numpy(), confidence.float().numpy()


def require_torchcrepe() -> ModuleType:
    """Return torchcrepe.

    Raises:
        PitchError: it is not installed.
    """
    try:
        import torchcrepe
    except ModuleNotFoundError as error:
        raise PitchError(
            f"the pitch is tracked by torchcrepe, which lacks {error.name}: pip install torchcrepe"
        ) from None
    return torchcrepe


def _most_likely_path(salience: Tensor) -> Tensor:
    """Return the bin of each frame (frames,), given how likely each bin is (frames, bins).

    A voice glides by up to 240 cents a frame, or leaps anywhere. torchcrepe's own decoder knows no leaps and stays
    where silence has left it; it also adds noise to the pitch.
    """
    from librosa.sequence import viterbi  # comes with torchcrepe

    count = salience.shape[1]
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    glide = np.maximum(_GLIDE - distance, 0.0)
    transition = (1 - _LEAP) * glide / glide.sum(1, keepdims=True) + _LEAP / count
    likely = salience.numpy().astype(np.float64).T + _FLOOR
    return torch.from_numpy(viterbi(likely / likely.sum(0), transition).astype(np.int64))


def _hertz(bins: Tensor) -> Tensor:
    return 10 * 2 ** ((_LOWEST_BIN + 20 * bins) / 1200)


def _median_of_three(values: Tensor) -> Tensor:
    if len(values) < 3:
        return values
    padded = torch.cat([values[:1], values, values[-1:]])
    return padded.unfold(0, 3, 1).median(-1).values


def _levels(audio: Tensor, frames: int) -> Tensor:
    """Return the root mean square of the 64 ms around each frame, relative to the loudest."""
    padded = torch.nn.functional.pad(audio, (512, 512 + _RATE // FRAME_RATE))
    power = padded.unfold(0, 1024, _RATE // FRAME_RATE)[:frames].square().mean(-1).sqrt()
    return power / power.max().clamp(min=1e-9)
