"""Resampling: what can be heard is kept, the rest is gone, and a part is the part of the whole."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.audio.files import resample as resample_tensor
from framework.audio.resample import resample, resampled_length, source_window

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.mark.parametrize(("source", "target"), [(48_000, 22_050), (44_100, 16_000), (16_000, 24_000), (8_000, 44_100)])
def test_tones_are_kept_and_what_cannot_be_heard_is_gone(source, target):
    def decibels(frequency: float) -> float:
        tone = np.sin(2 * np.pi * frequency * np.arange(source) / source)
        ideal = np.sin(2 * np.pi * frequency * np.arange(target) / target)
        inner = slice(target // 10, -target // 10)
        heard = resample(tone, source, target)[inner]
        if frequency < 0.45 * min(source, target):
            assert np.abs(heard / (heard.std() / ideal[inner].std()) - ideal[inner]).max() < 1e-3, "no delay"
        return 20 * np.log10(heard.std() / ideal[inner].std())

    lower = min(source, target)
    assert all(abs(decibels(share * lower)) < 0.02 for share in (0.01, 0.25, 0.43))
    assert -1.7 < decibels(0.465 * lower) < -1.4
    if target < source:
        tone = np.sin(2 * np.pi * 0.52 * target * np.arange(source) / source)
        assert 20 * np.log10(np.abs(resample(tone, source, target)[2000:-2000]).max()) < -100


@pytest.mark.parametrize(("source", "target"), [(48_000, 22_050), (44_100, 22_050), (16_000, 24_000)])
def test_another_implementation_of_the_same_filter_agrees(source, target):
    other = torchaudio.transforms.Resample(
        source,
        target,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
        dtype=torch.float64,
    )
    audio = noise(2 * 7001).reshape(2, 7001).astype(np.float64)
    found = resample(audio, source, target)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, other(torch.from_numpy(audio)).numpy(), atol=1e-6)
    np.testing.assert_array_equal(resample_tensor(torch.from_numpy(audio), source, target).numpy(), found)


@given(
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.integers(1, 8_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_a_stretch_is_the_same_part_of_the_whole(source, target, samples, begin, extent, odd):
    source += odd  # 44,101 Hz and the like
    if source == target:
        return
    whole = noise(samples)
    wanted = resample(whole, source, target)
    assert len(wanted) == resampled_length(samples, source, target) == -(-samples * target // source)
    start = int(begin * (len(wanted) - 1))
    count = 1 + int(extent * (len(wanted) - start - 1))
    first, last, skip = source_window(start, count, samples, source, target)
    assert 0 <= first < last <= samples
    part = resample(whole[first:last], source, target)[skip:][:count]
    np.testing.assert_allclose(part, wanted[start:][:count], atol=1e-6)


def test_odd_rates_are_off_by_less_than_a_cent():
    for source in (44_101, 44_099, 22_049, 47_993):
        tone = np.sin(2 * np.pi * 1000 * np.arange(4 * source) / source)
        found = resample(tone, source, 22_050)
        crossings = np.flatnonzero((found[:-1] < 0) & (found[1:] >= 0))
        fraction = -found[crossings] / (found[crossings + 1] - found[crossings])
        times = (crossings + fraction)[[10, -10]]
        hertz = (len(crossings[10:-9]) - 1) / (times[1] - times[0]) * 22_050
        assert abs(1200 * np.log2(hertz / 1000)) < 1


def test_equal_rates_change_nothing():
    audio = noise(100)
    assert resample(audio, 44_100, 44_100) is audio
