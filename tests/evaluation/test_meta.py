"""The evaluation of metrics by graded degradations: the degradations are what they say, and good metrics are found."""

import math

import numpy as np
import pytest
import torch

from framework.audio.mel import PRESETS
from framework.errors import InvalidValueError
from framework.evaluation.degradations import DEGRADATIONS, bars_of
from framework.evaluation.meta import meta_evaluate, meta_table
from framework.evaluation.metrics.metric import Metric
from framework.evaluation.metrics.shelf import metrics_named

RATE = 22050
BY_NAME = {degradation.name: degradation for degradation in DEGRADATIONS}


def melody(seed, seconds=4):
    """Return notes with overtones, half a second each."""
    random, time = np.random.default_rng(seed), np.arange(RATE // 2) / RATE
    notes = 220 * 2 ** (random.permutation(24)[: 2 * seconds] / 12)
    parts = [sum(np.sin(2 * np.pi * k * f * time) / k**2 for k in range(1, 9)) * np.exp(-3 * time) for f in notes]
    return torch.from_numpy(0.2 * np.concatenate(parts)).float()


@pytest.fixture(scope="module")
def clip():
    return melody(0)


@pytest.mark.parametrize("degradation", DEGRADATIONS, ids=lambda d: d.name)
def test_degradations_keep_the_length_and_are_nothing_at_grade_0(clip, degradation):
    assert degradation(clip, RATE, 0) is clip
    for grade in (0.2, 1.0):
        made = degradation(clip, RATE, grade, seed=1)
        assert made.shape == clip.shape
        assert torch.isfinite(made).all()
        assert torch.equal(made, degradation(clip, RATE, grade, seed=1))
        assert (made - clip).abs().max() > 1e-3


def peak_frequency(audio):
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio)), 16 * len(audio)).abs()
    return spectrum.argmax().item() * RATE / (16 * len(audio))


def test_degradations_are_as_strong_as_they_say(clip):
    power = clip.square().mean()
    noisy = BY_NAME["noise"](clip, RATE, 0.4)
    assert 10 * torch.log10((noisy - clip).square().mean() / power).item() == pytest.approx(-30, abs=0.2)
    tone = torch.sin(2 * math.pi * 440 * torch.arange(2 * RATE) / RATE)
    assert peak_frequency(BY_NAME["detuning"](tone, RATE, 1)[:RATE]) == pytest.approx(440 * 2 ** (1 / 12), rel=2e-3)
    assert peak_frequency(BY_NAME["time_stretch"](tone, RATE, 1)[:RATE]) == pytest.approx(440, rel=2e-3)
    dull = torch.fft.rfft(BY_NAME["low_pass"](torch.randn(RATE), RATE, 1)).abs()
    assert dull[2000:].max() < 1e-2 * dull[:400].max()
    clipped = BY_NAME["clipping"](clip, RATE, 1)
    assert clipped.square().mean().item() == pytest.approx(power.item(), rel=1e-4)
    assert (clipped.abs() > 0.999 * clipped.abs().max()).float().mean() > 0.3


def test_shuffled_and_repeated_bars_are_bars_of_the_clip(clip):
    inner = slice(200, -200)
    bars = bars_of(clip, RATE)

    def sources(name, grade):
        made = bars_of(BY_NAME[name](clip, RATE, grade, seed=3), RATE)
        return [next(i for i, b in enumerate(bars) if torch.allclose(b[inner], m[inner])) for m in made]

    assert sorted(sources("shuffled_bars", 1)) == list(range(len(bars)))
    assert sum(a != b for a, b in enumerate(sources("shuffled_bars", 0.5))) == len(bars) // 2
    assert sources("repeated_bars", 1) == [0] * len(bars)
    assert len({*sources("repeated_bars", 0.4)}) == len(bars) - round(0.4 * (len(bars) - 1))


def test_a_distance_to_the_true_clip_follows_every_degradation():
    clips = [melody(seed) for seed in range(2)]
    metrics = metrics_named(["log_mel_error", "frechet_distance", "kernel_distance"])
    constant = Metric("constant", "constant", "", "lower", "none", lambda made, true: 1.0)
    reverse = Metric("reverse", "reverse", "", "higher", "none", metrics[0].measure)
    found = {t.name: t for t in meta_evaluate(clips, PRESETS["hifigan_22k"], [*metrics, constant, reverse], grades=3)}
    assert next(iter(found)) == "log_mel_error"
    best = found["log_mel_error"]
    assert best.mean >= 0.9
    assert best.format_change < 0.1
    assert not best.depends_on_format
    for name, value in best.correlations.items():
        assert found["reverse"].correlations[name] == pytest.approx(-value)
        assert len(best.values[name]) == 4
    assert all(math.isnan(value) for value in found["constant"].correlations.values())
    assert found["constant"].mean == 0
    assert found["frechet_distance"].of_sets
    assert found["frechet_distance"].correlations["noise"] == pytest.approx(1)
    # Statistics over time do not know the order of bars.
    assert found["frechet_distance"].values["shuffled_bars"][-1] < 0.1 * found["frechet_distance"].values["noise"][-1]
    table = meta_table(list(found.values()))
    assert table.splitlines()[1].startswith(best.title)
    assert "white noise, -50 to 0 dB, of sets: Frechet distance" in table


def test_a_metric_that_depends_on_the_format_is_named():
    def least_difference(made, true):
        steps = made.audio.diff().abs()
        return float(steps[steps > 0].min() * 1e6 + (made.audio - true.audio).abs().mean())

    metric = Metric("least", "least step", "", "lower", "none", least_difference)
    (found,) = meta_evaluate([melody(0)], PRESETS["hifigan_22k"], [metric], grades=2)
    assert found.depends_on_format
    assert "least step depends on the bit depth or sample rate of the files" in meta_table([found])


@pytest.mark.parametrize(("clips", "grades"), [([], 4), ([torch.zeros(100)], 4), ([melody(0)], 1)])
def test_too_little_to_evaluate_metrics_is_refused(clips, grades):
    with pytest.raises(InvalidValueError):
        meta_evaluate(clips, PRESETS["hifigan_22k"], [], grades=grades)
