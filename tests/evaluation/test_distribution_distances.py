"""Frechet and kernel distance against the Gaussian closed form, scipy's matrix root and a double loop."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from framework.audio.mel import PRESETS
from framework.evaluation.metrics.distribution import frechet_distance, kernel_distance, log_mel_statistics, set_metrics
from framework.evaluation.metrics.metric import Clip
from framework.evaluation.metrics.shelf import metrics_named


def cloud(windows, dimensions, shift=0.0, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(
        random.standard_normal((windows, dimensions)) @ random.uniform(0, 1, (dimensions, dimensions)) + shift
    )


@pytest.mark.parametrize("windows", [(40, 50), (4, 5), (3, 60)])
def test_frechet_distance_is_that_by_the_root_of_the_product(windows):
    x, y = cloud(windows[0], 6), cloud(windows[1], 6, 1.0, 1)
    means = [part.numpy().mean(0) for part in (x, y)]
    covariances = [np.cov(part.numpy().T) for part in (x, y)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(means[0] - means[1]).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-4)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_scaled_and_shifted_sets_in_closed_form():
    y = cloud(30, 4)
    variance = y.var(0).sum().item()
    assert frechet_distance(y + 3, y) == pytest.approx(4 * 9)
    assert frechet_distance(2 * (y - y.mean(0)), y - y.mean(0)) == pytest.approx(variance)


def test_kernel_distance_is_the_double_loop():
    x, y = cloud(7, 3).numpy(), cloud(9, 3, 0.5, 1).numpy()
    # Of an even number the lower of the two in the middle, as torch and with it the metric's own code have it.
    width = sorted(np.linalg.norm(y[i] - y[j]) for i in range(9) for j in range(i))[17]

    def mean(a, b, skip):
        values = [
            np.exp(-np.sum((p - q) ** 2) / (2 * width**2))
            for i, p in enumerate(a) for j, q in enumerate(b) if not (skip and i == j)
        ]  # fmt: skip
        return np.mean(values)

    expected = 100 * (mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False))
    assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected)
    paired = torch.from_numpy(y + 1e-6)
    assert kernel_distance(paired, torch.from_numpy(y)) == pytest.approx(0, abs=1e-6)


def test_built_in_embedding_has_a_window_every_half_second_and_knows_loudness():
    preset = PRESETS["hifigan_22k"]
    audio = 0.1 * torch.randn(1, 1, 4 * 22050, generator=torch.Generator().manual_seed(0))
    embeddings = log_mel_statistics(Clip(audio, preset))
    assert embeddings.shape == (7, 160)
    louder = log_mel_statistics(Clip(2 * audio, preset))
    assert (louder - embeddings)[:, :80].mean() == pytest.approx(np.log(2), abs=1e-3)
    assert (louder - embeddings)[:, 80:].abs().max() < 1e-3
    assert log_mel_statistics(Clip(audio[..., :8192], preset)).shape == (1, 160)


def test_the_name_of_a_distance_says_over_what_it_is():
    built_in, own = set_metrics(), set_metrics(lambda audio, rate: audio[0], "clap.embed")
    assert [m.title for m in built_in] == [
        "Frechet distance (log-mel statistics)",
        "kernel distance (log-mel statistics)",
    ]
    assert [m.title for m in own] == ["Frechet distance (clap.embed)", "kernel distance (clap.embed)"]
    named = metrics_named(["frechet_audio_distance", "kernel_audio_distance"])
    assert [m.name for m in named] == [m.name for m in built_in] == ["frechet_distance", "kernel_distance"]


def test_one_window_has_no_distance():
    for distance in (frechet_distance, kernel_distance):
        assert math.isnan(distance(cloud(1, 3), cloud(9, 3)))
        assert math.isnan(distance(cloud(9, 3), cloud(1, 3)))
