"""Distances between waveforms of the same clip, phase included."""

from framework.evaluation.metrics.metric import Clip, Metric, NotMeasurableError


def si_sdr(generated: Clip, true: Clip) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019, equation 4).

    Of s scaled to fit, a s with a = <x, s> / <s, s>, and of what is left of x, in 64 bit; no mean is removed. It
    compares phases: what sounds the same with another phase, as of most vocoders, is near 0 dB or under.

    Raises:
        NotMeasurableError: the true or the generated audio is silent.
    """
    x, s = generated.audio.double().flatten(), true.audio.double().flatten()
    if not s.any() or not x.any():
        raise NotMeasurableError("silent")
    fitted = s * (x @ s) / (s @ s)
    left = x - fitted
    return (10 * (fitted.square().sum() / left.square().sum()).log10()).item()


METRICS = (Metric("si_sdr", "SI-SDR", "dB", "higher", "Le Roux et al. (2019), equation 4", si_sdr),)
