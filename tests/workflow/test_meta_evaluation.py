"""The evaluation of metrics on the held-out clips of a plan, and what it refuses."""

from types import SimpleNamespace

import pytest
import torch

from framework.audio.mel import PRESETS
from framework.evaluation.evaluation import EvaluationError
from framework.evaluation.metrics.metric import Metric
from framework.workflow.evaluations import meta_evaluation


def plan_of(batches):
    data = SimpleNamespace(held_out=lambda split, clips=None: batches[:clips] if split == "validation" else [])
    system = SimpleNamespace(preset=PRESETS["hifigan_22k"])
    return SimpleNamespace(system=system, data=data, prepare_data=lambda: None)


@pytest.fixture
def plan():
    random = torch.Generator().manual_seed(0)
    clips = [0.1 * torch.randn(1, 1, 30_000, generator=random).cumsum(-1).sin() for _ in range(2)]
    return plan_of([{"audio": clip} for clip in clips])


def test_the_metrics_that_are_named_follow_the_degradations(plan):
    found = meta_evaluation(plan, clips=1, metrics=["log_mel_error", "si_sdr"])
    assert {trust.name for trust in found} == {"log_mel_error", "si_sdr"}
    assert found[0].correlations["noise"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["dnsmos", "novelty"])
def test_metrics_without_a_true_clip_are_refused(plan, name):
    with pytest.raises(EvaluationError, match=f"{name} does not compare audio with true audio"):
        meta_evaluation(plan, metrics=[name, "si_sdr"])


def test_missing_packages_and_data_without_audio_are_refused(plan, monkeypatch):
    monkeypatch.setattr(Metric, "lacking", lambda self: "not installed: pip install pesq")
    with pytest.raises(EvaluationError, match="pesq is not installed: pip install pesq"):
        meta_evaluation(plan, metrics=["pesq"])
    with pytest.raises(EvaluationError, match="has no audio to degrade"):
        meta_evaluation(plan_of([{"notes": torch.zeros(1)}]))
