"""MuseGAN against the numbers of its official implementations, the paper's variants, and a window's whole way."""

from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
import torch
import yaml
from reference.weights import fill_tensorflow_variable, load_reference, official_state, uniform

from datamodules.pianorolls import BachPianorolls
from framework.catalogue import find
from framework.cli import main
from framework.discriminators.musegan import ClipNorm, MuseGANDiscriminator, TutorialDiscriminator
from framework.generators.musegan.networks import MuseGANGenerator, TutorialGenerator
from framework.generators.musegan.paper import PaperGenerator
from framework.generators.musegan.system import SmallMuseGAN
from framework.generators.musegan.tracks import notes_of
from framework.release import load
from framework.runs.importers import load_official
from ostinato import runs as find_runs

VARIABLES = np.load(Path(__file__).parents[1] / "reference" / "musegan_tf.npz")


class Tiny(SmallMuseGAN):
    """The tutorial's networks on chorales."""

    data = BachPianorolls


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def tensorflow_variables(keys):
    listed = (str(entry).split("|") for entry in VARIABLES[keys])
    shapes = {name: tuple(int(n) for n in shape.strip("()").split(",") if n) for name, shape in listed}
    return {name: fill_tensorflow_variable(name, shape) for name, shape in shapes.items()}


@torch.no_grad()
def test_the_current_networks_are_tensorflows(tmp_path):
    generator, critic = MuseGANGenerator().eval(), MuseGANDiscriminator()
    assert (size(generator), size(critic)) == (2_578_127, 1_365_841)
    stored = tensorflow_variables("g_keys") | tensorflow_variables("d_keys")
    np.savez(tmp_path / "model.npz", **stored)
    for network in (generator, critic):
        load_official(network, tmp_path / "model.npz")
    roll = generator(torch.from_numpy(VARIABLES["z"]))
    official = roll.unflatten(2, (4, 48)).permute(0, 2, 3, 4, 1)
    torch.testing.assert_close(official[:, :, ::7, ::5], torch.from_numpy(VARIABLES["g_slice"]), atol=1e-5, rtol=0)
    assert official.mean().item() == pytest.approx(float(VARIABLES["g_mean"]), abs=1e-5)
    # The critic was given noise: a note at every tenth place.
    tested = torch.from_numpy(np.where(uniform("mx", (2, 4, 48, 84, 5)) > 0.8, np.float32(1), np.float32(-1)))
    ((logits,), _) = critic(tested.permute(0, 4, 1, 2, 3).flatten(2, 3))
    torch.testing.assert_close(logits.view(-1, 1), torch.from_numpy(VARIABLES["d_out"]), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_tutorials_networks_are_its_authors():
    reference = load_reference("musegan_tutorial")
    generator, critic = TutorialGenerator().eval(), TutorialDiscriminator()
    assert (size(generator), size(critic)) == (313_951, 204_321)
    load_official(generator, official_state(reference["g_keys"]))
    load_official(critic, official_state(reference["d_keys"]))
    roll = generator(reference["z"])
    assert (roll.mean().item(), roll.std().item()) == pytest.approx(reference["g_stats"], abs=1e-6)
    assert critic(roll)[0][0].shape == reference["d_out"].shape
    values = torch.randn(3, 4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    normed = ClipNorm(4)(values).flatten(1)
    torch.testing.assert_close(normed.std(1), torch.ones(3), atol=1e-4, rtol=0)


@torch.no_grad()
def test_chroma_counts_pitch_classes_in_beats():
    roll = torch.zeros(1, 5, 192, 84)
    roll[0, 2, 48 + 12 : 48 + 15, [4, 16]] = 1
    chroma = MuseGANDiscriminator().chroma_of(roll.unflatten(2, (4, 48)))
    assert chroma.shape == (1, 5, 4, 4, 12)
    assert chroma.sum() == 6 == chroma[0, 2, 1, 1, 4]


@pytest.mark.parametrize(
    ("players", "temporal", "latent_dim"),
    [("composer", False, 4 * 16), ("jamming", True, 5 * 3 * 16), ("hybrid", True, 5 * 4 * 8)],
)
@torch.no_grad()
def test_players_share_the_noise_that_the_paper_says(players, temporal, latent_dim):
    network = PaperGenerator(players, tracks=3, latent_dim=16, temporal=temporal).eval()
    assert network.latent_dim == latent_dim
    assert len(network.bars) == (1 if players == "composer" else 3)
    noise = torch.randn(1, latent_dim, generator=torch.Generator().manual_seed(0))
    roll = network(noise)
    assert roll.shape == (1, 3, 384, 84)
    # Another noise of the last player's second bar is heard in that bar alone, and where players have their own, in
    # that track alone.
    other = noise.clone()
    noises = network.common + network.own
    other.view(-1, noises, network.size)[1, -1] += 1
    differs = (network(other) != roll).unflatten(2, (4, 96)).flatten(3).any(-1)[0]
    expected = torch.zeros(3, 4, dtype=torch.bool)
    expected[slice(None) if players == "composer" else 2, 1] = True
    assert torch.equal(differs, expected)


@torch.no_grad()
def test_a_given_track_stays_and_is_answered():
    network = PaperGenerator("hybrid", tracks=3, latent_dim=16, temporal=False, given=1).eval()
    noise, given = torch.zeros(1, network.latent_dim), -torch.ones(1, 1, 384, 84)
    one = network(noise, given)
    torch.testing.assert_close(one[:, 1:2], given)
    given[0, 0, :96, 30:50] = 1
    other = network(noise, given)
    assert (other != one).unflatten(2, (4, 96)).flatten(3).any(-1)[0, :, 0].all()
    torch.testing.assert_close(other[:, [0, 2], 96:], one[:, [0, 2], 96:])


def test_a_monophonic_track_has_one_note_at_a_time_or_none():
    torch.manual_seed(0)
    generator = TutorialGenerator(tracks=3, width=8, monophonic=True)
    roll = generator(torch.randn(4, 128))
    assert roll.shape == (4, 3, 64, 72)
    assert roll.min() >= 0
    assert roll.sum(-1).max() < 1, "the rest has some of it"
    assert (roll > 0.5).sum(-1).max() <= 1
    for block in generator.transconv5:
        torch.nn.init.constant_(block.batchnorm.bias, -20.0)
    assert generator(torch.randn(4, 128)).max() < 1e-3, "pitches below 0 leave a rest"


def test_refined_notes_are_binary_with_a_straight_gradient():
    system = Tiny()
    values = torch.tensor([[0.2, 0.7, 1.4]], requires_grad=True)
    for how in ("hard", "bernoulli"):
        notes = system.binarised(values, how)
        assert set(notes.detach().round(decimals=5).ravel().tolist()) <= {0.0, 1.0}
        (gradient,) = torch.autograd.grad(notes.sum(), values)
        assert gradient.tolist() == [[1, 1, 0]]
    assert system.binarised(values, "hard").tolist() == [[0, 1, 1]]


def test_a_voice_of_one_note_at_a_time_has_the_likeliest_or_draws_it_or_a_rest():
    system = Tiny(monophonic=True)
    shares = torch.tensor([0.6, 0.3]).expand(20_000, 2).clone().requires_grad_()
    assert system.binarised(shares, "hard")[0].tolist() == [1, 0]
    assert system.binarised(0.4 * shares, "hard")[0].tolist() == [0, 0]
    notes = system.binarised(shares, "bernoulli")
    assert notes.detach().sum(-1).round(decimals=4).unique().tolist() == [0, 1]
    assert notes.detach().mean(0).tolist() == pytest.approx([0.6, 0.3], abs=0.02)
    (gradient,) = torch.autograd.grad(notes.sum(), shares)
    assert gradient.unique().tolist() == [1]


@torch.no_grad()
def test_the_critic_that_sees_edges_sees_where_notes_begin_and_end():
    critic, roll = TutorialDiscriminator(1, width=1, changes=True), torch.zeros(1, 1, 64, 72)
    roll[0, 0, 5:9, 30] = 1
    seen = []
    critic.conv0[0].register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    critic(roll)
    held, edges = seen[0].flatten(2, 3)[0]
    torch.testing.assert_close(held, roll[0, 0])
    assert edges.nonzero().tolist() == [[5, 30], [9, 30]]


def test_a_window_is_trained_on_measured_seen_heard_and_written(tmp_path):
    system = Tiny().eval()
    batch = system.stand_in()
    assert set(system.training_losses(batch)) == {"adversarial", "feature_matching"}
    measures = system.measure(batch)
    assert {"energy_score", "empty_bars", "tonal_distance_real"} <= set(measures)
    assert system.pictures(system.example(batch), system.example(batch))["pianoroll"].size[0] == 64 * 8
    system.write(system.batch_from_audio(torch.zeros(1, 1, 1)), tmp_path / "song.wav")
    assert (tmp_path / "song.wav").stat().st_size > 64 / 4 * 60 / 90 * 22050
    tracks = mido.MidiFile(tmp_path / "song.mid").tracks
    assert [track.name for track in tracks] == ["soprano", "alto", "tenor", "bass"]
    programs = [message.program for track in tracks for message in track if message.type == "program_change"]
    assert programs == [40, 40, 41, 43]


def test_a_roll_is_its_notes():
    roll = np.zeros((8, 4), bool)
    roll[2:5, 1] = roll[6:, 1] = roll[0, 3] = True
    assert [(n.onset, n.duration, n.midi) for n in notes_of(roll, 60)] == [(0, 1, 63), (2, 3, 61), (6, 2, 61)]


def test_experiments_have_the_official_sizes_and_say_what_does_not_fit():
    assert size(find("musegan")().generator) == 2_578_127
    assert find("musegan").data.hyperparameters["beat_steps"].default == 12
    with pytest.raises(ValueError, match="the tracks are"):
        find("musegan_hybrid")(given="trumpet")
    with pytest.raises(ValueError, match="accompanied FILE"):
        find("ablations.musegan_with_piano")().batch_from_audio(torch.zeros(1, 1, 1))


def test_a_track_is_accompanied_from_its_first_bar_on(tmp_path):
    file, piano = pretty_midi.PrettyMIDI(initial_tempo=120), pretty_midi.Instrument(0)
    file.time_signature_changes = [pretty_midi.TimeSignature(1, 4, 0), pretty_midi.TimeSignature(4, 4, 0.5)]
    piano.notes = [pretty_midi.Note(80, 60 + (beat == 1), beat / 2, beat / 2 + 0.25) for beat in range(17)]
    file.instruments.append(piano)
    file.write(str(tmp_path / "pickup.mid"))
    system = find("ablations.musegan_with_piano")(accompanied=str(tmp_path / "pickup.mid"))
    roll = system.batch_from_audio(torch.zeros(1, 1, 1))["pianoroll"][0, system.given_track]
    assert roll[0].nonzero().tolist() == [[61 - system.grid.lowest]]
    assert roll.any(-1).nonzero()[-1] >= system.grid.beat_steps * 15


@torch.no_grad()
@pytest.mark.parametrize(("bars", "tracks"), [(2, 1), (4, 2), (7, 3)])
def test_networks_have_the_tracks_and_bars_of_the_data(bars, tracks):
    pairs = [
        (TutorialGenerator(8, tracks, 8, bars=bars), TutorialDiscriminator(tracks, 4, bars=bars), (16, 72)),
        (MuseGANGenerator(8, tracks, bars), MuseGANDiscriminator(tracks, bars=bars), (48, 84)),
    ]
    for generator, critic, (steps, pitches) in pairs:
        roll = generator(torch.randn(2, 8))
        assert roll.shape == (2, tracks, bars * steps, pitches)
        assert critic(roll)[0][0].shape[0] == 2


def test_a_command_trains_on_other_tracks_and_a_release_needs_no_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    small = ["--data.batch_size=4", "--data.validation_clips=1", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
    chosen = ['--data.tracks=["soprano","bass"]', "--data.bars=2"]
    assert main(["fit", "musegan_bach", *chosen, *small]) == 0
    (run,) = (run.folder.path for run in find_runs("runs"))
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert (stored["model"]["tracks"], stored["model"]["bars"]) == (["soprano", "bass"], 2)
    assert "tracks" not in stored["identity"]["model"]
    assert main(["release", str(run), "--output", "two.safetensors"]) == 0
    system = load("two.safetensors").system
    assert system.generate(system.batch_from_audio(torch.zeros(1, 1, 1))).shape == (1, 2, 32, 72)
    assert main(["fit", "musegan_bach", *chosen, *small, '--model.tracks=["alto"]']) == 2
    assert "--model.tracks is [alto], but by --data.tracks it is [soprano, bass]" in capsys.readouterr().err
    assert main(["fit", "musegan_bach", "--data.pitches=60"]) == 2
    assert "set --data.pitches 72" in capsys.readouterr().err
