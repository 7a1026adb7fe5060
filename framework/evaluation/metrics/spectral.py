"""Distances between spectra of the same clip, frame by frame."""

from framework.audio.distances import log_mel_errors, magnitudes, stft_distances
from framework.evaluation.metrics.metric import Clip, Metric


def log_mel_error(generated: Clip, true: Clip) -> float:
    """Return the mean absolute difference of natural-log mels: see `framework.audio.distances.log_mel_errors`."""
    return log_mel_errors(generated.audio, true.audio, true.preset).item()


def stft_distance(generated: Clip, true: Clip) -> float:
    """Return the multi-resolution STFT distance: see `framework.audio.distances.stft_distances`."""
    return stft_distances(generated.audio, true.audio).item()


def log_spectral_distance(generated: Clip, true: Clip, n_fft: int = 2048) -> float:
    """Return the log-spectral distance in dB (Gray & Markel, 1976; ten times the bels of Liu et al., 2022).

    The root mean square over frequencies of the difference of the two log power spectra, in dB, of Hann windows of
    2048 samples every 512, and the mean of that over frames. Powers are floored at 1e-7 (-70 dB), or digital silence
    would be infinitely far from anything. Audio at half the amplitude has 20 log10 2 = 6.02 dB.
    """
    decibels = [20 * magnitudes(clip.audio, n_fft).log10() for clip in (generated, true)]
    return (decibels[0] - decibels[1]).square().mean(1).sqrt().mean().item()


METRICS = (
    Metric(
        "log_mel_error", "log-mel L1", "", "lower",
        "Kong et al. (2020), equation 7, of natural logarithms", log_mel_error, perfect=0.0,
    ),
    Metric(
        "stft_distance", "MR-STFT", "", "lower", "Yamamoto et al. (2020), equations 3 to 6", stft_distance, perfect=0.0
    ),
    Metric(
        "log_spectral_distance", "log-spectral distance", "dB", "lower",
        "Gray & Markel (1976); Liu et al. (2022), in dB", log_spectral_distance, perfect=0.0,
    ),
)  # fmt: skip
