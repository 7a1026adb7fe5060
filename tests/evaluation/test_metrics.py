"""Every metric of clips against a closed form, an independent implementation, or its source's own package."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from framework.audio.mel import PRESETS, MelSpectrogram
from framework.evaluation.metrics.cepstral import aligned, mel_cepstral_distortion
from framework.evaluation.metrics.metric import Clip, NotMeasurableError
from framework.evaluation.metrics.pitch import f0_rmse, periodicity_rmse, voicing_f1
from framework.evaluation.metrics.shelf import UnknownMetricError, metrics_named
from framework.evaluation.metrics.signal import si_sdr
from framework.evaluation.metrics.spectral import log_mel_error, log_spectral_distance, stft_distance

PRESET = PRESETS["hifigan_22k"]


def clip(samples) -> Clip:
    return Clip(torch.as_tensor(np.asarray(samples), dtype=torch.float32)[None, None], PRESET)


def noise(time=22050, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(time)


def speechlike(seconds=2.0, f0=120.0):
    """Return a voice of sorts at 22.05 kHz: pulses through two formants, four syllables a second."""
    time = np.arange(round(seconds * 22050)) / 22050
    phase = np.cumsum(f0 * (1 + 0.1 * np.sin(2 * np.pi * time)) / 22050)
    source = np.diff(np.floor(phase), prepend=0.0) + 0.01 * np.random.default_rng(0).standard_normal(len(time))
    for frequency in (700, 1200):
        r = 0.98
        source = lfilter([1], [1, -2 * r * np.cos(2 * np.pi * frequency / 22050), r * r], source)
    voice = source * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time))
    return 0.5 * voice / np.abs(voice).max()


def test_perfect_is_what_the_true_clip_itself_has():
    true = clip(speechlike())
    measured = 0
    for metric in metrics_named():
        if getattr(metric, "perfect", None) is not None and not metric.lacking():
            assert metric.measure(clip(speechlike()), true) == pytest.approx(metric.perfect, abs=2e-3), metric.name
            measured += 1
    assert measured >= 4


def test_half_the_amplitude_in_closed_form():
    true, half = clip(noise()), clip(noise() / 2)
    assert log_mel_error(half, true) == pytest.approx(math.log(2), abs=1e-4)
    assert stft_distance(half, true) == pytest.approx(0.5 + math.log(2), abs=5e-3)
    assert log_spectral_distance(half, true) == pytest.approx(20 * math.log10(2), abs=0.02)
    assert mel_cepstral_distortion(half, true) == pytest.approx(0, abs=1e-3), "loudness is left out"
    assert si_sdr(clip(0.3 * noise()), true) > 120, "as is scale"


def test_si_sdr_of_orthogonal_noise_is_its_level():
    true, other = noise(), noise(seed=1)
    other -= true * (other @ true) / (true @ true)
    other *= np.linalg.norm(true) / np.linalg.norm(other)
    assert si_sdr(clip(true + 0.1 * other), clip(true)) == pytest.approx(20, abs=1e-3)
    with pytest.raises(NotMeasurableError, match="silent"):
        si_sdr(clip(true), clip(0 * true))
    torchmetrics = pytest.importorskip("torchmetrics.functional.audio", reason="torchmetrics is not installed")
    made = clip(true + 0.5 * noise(seed=2))
    expected = torchmetrics.scale_invariant_signal_distortion_ratio(made.audio, clip(true).audio).item()
    assert si_sdr(made, clip(true)) == pytest.approx(expected, abs=1e-3)


def test_alignment_is_the_plain_recursion():
    costs = np.random.default_rng(0).uniform(size=(13, 9))
    total, steps = np.full((14, 10), np.inf), np.zeros((14, 10), int)
    total[0, 0] = 0
    for i in range(1, 14):
        for j in range(1, 10):
            came = min((total[a], steps[a]) for a in ((i - 1, j - 1), (i - 1, j), (i, j - 1)))
            total[i, j], steps[i, j] = came[0] + costs[i - 1, j - 1], came[1] + 1
    assert aligned(costs) == pytest.approx(total[-1, -1] / steps[-1, -1])
    assert aligned(costs[:1]) == pytest.approx(costs[0].mean())
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    accumulated, path = librosa.sequence.dtw(C=costs)
    assert aligned(costs) == pytest.approx(accumulated[-1, -1] / len(path))


def test_cepstral_distortion_is_decibels_of_the_envelope_and_forgives_timing(monkeypatch):
    # Envelopes that differ by a cosine over the bands, of amplitude 0.5, and by a gain that does not count.
    shape = torch.cos(torch.pi * 3 * (torch.arange(PRESET.n_mels) + 0.5) / PRESET.n_mels)
    differ = (0.5 * shape + 1).expand(1, 50, -1).transpose(1, 2)
    with monkeypatch.context() as patched:
        mels = iter([differ, torch.zeros_like(differ)])
        patched.setattr(MelSpectrogram, "forward", lambda self, audio: next(mels))
        expected = (20 * torch.log10(torch.exp(0.5 * shape))).square().mean().sqrt().item()
        assert mel_cepstral_distortion(clip(noise()), clip(noise())) == pytest.approx(expected, rel=1e-5)
    voice = speechlike()
    late = np.concatenate([np.zeros(2560), voice[:-2560]])
    assert mel_cepstral_distortion(clip(late), clip(voice)) < 0.5 * mel_cepstral_distortion(
        clip(noise(44100)), clip(voice)
    )


def test_pitch_metrics_of_a_known_interval():
    pytest.importorskip("torchcrepe", reason="torchcrepe is not installed: pip install 'ostinato[pitch]'")

    def tone(f0):
        time = np.arange(22050) / 22050
        sound = sum(np.sin(2 * np.pi * k * f0 * time) / k for k in range(1, 6)) * 0.2
        return np.concatenate([sound, 1e-5 * noise(11025)])

    low, high = clip(tone(220.0)), clip(tone(220.0 * 2 ** (1 / 12)))
    assert f0_rmse(high, low) == pytest.approx(100, abs=8)
    assert voicing_f1(high, low) > 0.95
    assert periodicity_rmse(low, low) == 0
    silent = clip(np.zeros(33075))
    assert voicing_f1(silent, low) == 0
    assert 0.6 < periodicity_rmse(silent, low) < 1
    with pytest.raises(NotMeasurableError, match="voiced in both"):
        f0_rmse(silent, low)


def named(name):
    (metric,) = metrics_named([name])
    if metric.lacking():
        pytest.skip(metric.lacking())
    return metric


@pytest.mark.parametrize("name", ["pesq", "stoi", "estoi"])
def test_speech_metrics_are_what_torchmetrics_makes_of_the_packages(name):
    metric = named(name)
    torchmetrics = pytest.importorskip("torchmetrics.functional.audio", reason="torchmetrics is not installed")
    true, made = clip(speechlike()), clip(speechlike() + noise(44100))
    if name == "pesq":
        tensors = [torch.from_numpy(c.samples(16000)) for c in (made, true)]
        expected = torchmetrics.pesq.perceptual_evaluation_speech_quality(*tensors, 16000, "wb")
    else:
        stoi = torchmetrics.stoi.short_time_objective_intelligibility
        expected = stoi(made.audio[0], true.audio[0], 22050, extended=name == "estoi")
    assert metric.measure(made, true) == pytest.approx(expected.item(), rel=1e-4)
    assert metric.measure(made, true) < metric.perfect
    with pytest.raises(NotMeasurableError):
        metric.measure(clip(np.zeros(44100)), clip(np.zeros(44100)))


@pytest.mark.parametrize("name", ["visqol", "dnsmos"])
def test_visqol_and_dnsmos_know_better_from_worse(name):
    metric, voice = named(name), speechlike(1.0)
    good, bad = (metric.measure(clip(voice + level * noise()), clip(voice)) for level in (0, 3))
    assert 5 >= good > bad + 0.1
    assert bad >= 1


@pytest.mark.parametrize(
    ("name", "generated", "true"),
    [
        ("visqol", noise(), np.zeros(22050)),
        ("visqol", np.zeros(22050), noise()),
        ("pesq", np.zeros(44100), speechlike()),
        ("stoi", noise(400), noise(400)),
    ],
)
def test_what_models_of_hearing_cannot_judge_has_no_value(name, generated, true):
    with pytest.raises(NotMeasurableError):
        named(name).measure(clip(generated), clip(true))


def test_metrics_are_found_by_name_or_import_path():
    assert [m.name for m in metrics_named(["si_sdr", "pesq", "si_sdr"])] == ["si_sdr", "pesq"]
    own = "framework.evaluation.metrics.signal.METRICS"
    with pytest.raises(UnknownMetricError, match="is a tuple"):
        metrics_named([own])
    with pytest.raises(UnknownMetricError, match="did you mean pesq"):
        metrics_named(["pesk"])
    with pytest.raises(UnknownMetricError, match="cannot be imported"):
        metrics_named(embedder="nowhere.at_all")
    assert all(metric.source and metric.measure.__doc__ for metric in metrics_named() if hasattr(metric, "measure"))
