"""Metrics of audio of a system's own against closed forms; the classifier behind two of them."""

import math
from dataclasses import replace

import pytest
import torch

from framework.audio.mel import PRESETS
from framework.evaluation import note_classifier
from framework.evaluation.evaluating import evaluate, inapplicable
from framework.evaluation.evaluation import Subject
from framework.evaluation.metrics.metric import Clip
from framework.evaluation.metrics.novelty import inception_score, own_audio_metrics, start, variety
from framework.evaluation.metrics.shelf import metrics_named
from framework.evaluation.table import evaluation_table
from framework.generators.dcgan import SpectrogramDCGAN
from framework.generators.melgan import MelGAN
from framework.paradigms.classification import ClipClassifier

PRESET = PRESETS["ddsp_16k"]


def tone(f0, level=0.5):
    time = torch.arange(16_384) / 16_000
    return Clip(level * torch.sin(2 * torch.pi * f0 * time).view(1, 1, -1), PRESET)


def test_inception_score_in_closed_form():
    sure = torch.eye(5).repeat(2, 1).log()
    assert inception_score(sure, sure) == pytest.approx(5)
    assert inception_score(sure[:1].expand(4, -1), sure) == pytest.approx(1)
    assert inception_score(torch.full((6, 5), 0.2).log(), sure) == pytest.approx(1)
    # Two classes of five, told apart with certainty c: exp(ln 2 - H(c)).
    c = 0.9
    told = torch.tensor([[c, 1 - c, 0, 0, 0], [1 - c, c, 0, 0, 0]]).log()
    entropy = -c * math.log(c) - (1 - c) * math.log(1 - c)
    assert inception_score(told, sure) == pytest.approx(2 * math.exp(-entropy))
    assert math.isnan(inception_score(torch.cat([told, torch.full((1, 5), torch.nan)]), sure)), "NaN is not left out"


def test_distances_to_nearest_neighbours_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    generated, true = torch.randn(6, 3, generator=generator), 2 * torch.randn(5, 3, generator=generator)

    def among(clips):
        nearest = [min((a - b).norm().item() for b in clips if b is not a) for a in list(clips)]
        return sum(nearest) / len(nearest)

    assert variety(generated, true) == pytest.approx(among(list(generated)) / among(list(true)), rel=1e-5)
    assert variety(generated[:1].expand(4, -1), true) == pytest.approx(0, abs=1e-3)


def test_what_was_learnt_by_heart_is_nearer_to_the_training_than_what_was_held_out():
    known, held_out = [tone(f) for f in (200, 400, 800)], [tone(f) for f in (300, 600)]
    novelty = next(m for m in own_audio_metrics(lambda: [clip.audio for clip in known]) if m.name == "novelty")
    copied = torch.cat([novelty.embed(tone(f, 0.49)) for f in (200, 800)])
    true = torch.cat([novelty.embed(clip) for clip in held_out])
    expected = torch.stack([torch.stack([(start(h) - start(k)).norm() for k in known]).min() for h in held_out])
    torch.testing.assert_close(true[:, 0], expected, rtol=1e-3, atol=0)
    assert novelty.distance(copied, true) < 0.2
    assert novelty.distance(true, true) == 1
    with pytest.raises(ValueError, match="no training clips"):
        own_audio_metrics(tuple)[-1].embed(known[0])


def test_they_are_asked_only_of_systems_with_audio_of_their_own():
    found = metrics_named(["variety", "note_inception_score"])
    assert [metric.alone for metric in found] == [False, True]
    assert "reconstructs recordings" in inapplicable(found[0], MelGAN(channels=2))
    assert inapplicable(found[0], SpectrogramDCGAN(channels=2)) is None


def test_an_evaluation_has_them_beside_the_true_sets_own(tmp_path):
    asked = {metric.name: metric for metric in own_audio_metrics(lambda: [tone(f).audio for f in (200, 400)])}
    sure = replace(asked["note_inception_score"], embed=lambda clip: torch.eye(3)[[int(clip.audio.std() > 0.3)]].log())
    batches = [{"key": [str(f)], "audio": tone(f, level).audio} for f, level in ((300, 0.1), (350, 0.2), (500, 0.9))]
    subject = Subject("r", "f", "e", 0, "", {"class": "Tones", "fingerprint": "", "split": "validation"})
    found = evaluate(
        SpectrogramDCGAN(channels=2).eval(), batches, [sure, asked["variety"], asked["novelty"]], tmp_path, subject
    )
    of_true = found.distributions["note_inception_score"]["columns"]["truth"]["value"]
    split = {0: 2 / 3, 1: 1 / 3}
    assert of_true == pytest.approx(math.exp(-sum(p * math.log(p) for p in split.values())))
    assert found.distributions["novelty"]["columns"] == {}
    assert found.distributions["variety"]["value"] >= 0
    assert "truth" in evaluation_table(found).splitlines()[0]


def test_a_classifier_is_judged_by_what_it_tells_wrong_and_heard_as_it_is():
    system = note_classifier.NoteClassifier().eval()
    batch = {"audio": tone(440).audio, "key": ["a"], "instrument": torch.tensor([3])}
    system.generator.output.bias.data[3] = 1e3
    assert system.measure(batch)["error"] == 0
    assert system.measure(batch | {"instrument": torch.tensor([4])})["error"] == 1
    assert torch.equal(system.synthesize(batch), batch["audio"])
    assert system.training_losses(batch)["cross_entropy"] < 1e-3


def test_the_classifier_is_trained_once_and_hears_clips_of_any_length_and_rate(tmp_path, monkeypatch):
    trainings = []

    def train(path):
        trainings.append(path)
        state = note_classifier.NoteClassifier().state_dict()
        torch.save({"state_dict": state, "accuracy": 0.5}, path)

    monkeypatch.setattr(note_classifier, "_train", train)
    note_classifier.trained.cache_clear()
    classifier = note_classifier.trained(tmp_path)
    note_classifier.trained.cache_clear()
    before = torch.get_rng_state()
    again = note_classifier.trained(tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    note_classifier.trained.cache_clear()
    assert len(trainings) == 1
    assert classifier.accuracy == 0.5
    for name, value in classifier.system.state_dict().items():
        assert torch.equal(value, again.system.state_dict()[name])
    assert classifier.windows(torch.rand(1, 1, 16_000), 16_000).shape == (1, 80, 64)
    assert classifier.windows(torch.rand(1, 1, 60_000), 22_050).shape == (2, 80, 64)
    quiet, loud = (classifier.windows(tone(300, level).audio, 16_000) for level in (0.01, 0.9))
    torch.testing.assert_close(quiet, loud, atol=1e-2, rtol=0)
    assert ClipClassifier(3)(torch.randn(2, 80, 64)).shape == (2, 3)
