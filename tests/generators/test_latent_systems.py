"""Systems on a trained autoencoder: latent diffusion, and a language model of codes."""

import math

import pytest
import torch
import yaml

from framework.export.release import load_eval_weights, release
from framework.generators.codecs.dac import DAC
from framework.generators.codecs.vae import VAE
from framework.generators.latent.code_language_model import CodeLanguageModel, PromptError
from framework.generators.latent.code_transformer import Cache, CodeTransformer, chosen, delayed, undelayed
from framework.generators.latent.latent_diffusion import LatentDiffusion
from framework.generators.latent.pretrained import NotTrainedError, Pretrained
from framework.release import Released, load
from framework.runs.checkpoints import read_checkpoint
from framework.runs.finding import runs_in
from framework.runs.identity import canonical


class TinyVAE(VAE):
    mel = "hifigan_22k"
    encoder_channels = 4
    decoder_channels = 16
    rates = (4, 4)
    latent_dim = 3

    def build_discriminators(self):
        return {}


class TinyCodec(DAC):
    mel = "hifigan_22k"
    encoder_channels = 4
    decoder_channels = 16
    rates = (4, 4)
    n_codebooks = 3
    codebook_size = 10

    def build_discriminators(self):
        return {}


class TinyDiffusion(LatentDiffusion):
    mel = "hifigan_22k"
    timesteps = 4
    channels = 8
    layers = 2
    cycle = 2


class TinyModel(CodeLanguageModel):
    mel = "hifigan_22k"
    channels = 16
    layers = 2
    heads = 2
    context = 12


def trained(folder, system):
    """Lay a run of a system with random weights into a folder."""
    torch.manual_seed(0)
    made = system()
    (folder / "checkpoints").mkdir(parents=True)
    config = {
        "experiment": f"experiments.{folder.parent.name}",
        "identity": {"system": canonical(system)},
        "model": canonical({n: v for n, v in made.hparams.items() if n != "data"}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": made.state_dict()}, folder / "checkpoints" / "last.ckpt")
    return made.eval()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return root, trained(root / "tiny_vae" / "a", TinyVAE), trained(root / "tiny_codec" / "b", TinyCodec)


def batch(time=320, clips=2):
    return {"audio": 0.3 * torch.randn(clips, 1, time), "key": ["clip"] * clips}


def test_the_vae_codes_means_and_pays_for_what_it_tells():
    system = TinyVAE().train()
    terms = system.training_losses(batch(1600))
    assert set(terms) == {"mel", "divergence"}
    mean, deviation = system.generator.posterior(system.generator.encoder(batch()["audio"]))
    normal = torch.distributions.Normal(0.0, 1.0)
    exact = torch.distributions.kl_divergence(torch.distributions.Normal(mean, deviation), normal)
    own = 0.5 * (mean.square() + deviation.square() - 1) - deviation.log()
    torch.testing.assert_close(own, exact)
    audio = batch(333)["audio"]
    assert system.eval().generate({"audio": audio}).shape == audio.shape
    assert system.encode(audio).shape == (2, 3, 21)
    pieces = system.network.stream_decode(iter(system.encode(audio).split(2, dim=-1)))
    torch.testing.assert_close(torch.cat(list(pieces), -1), system.decode(system.encode(audio)), atol=1e-5, rtol=0)


def test_a_trained_autoencoder_is_found_by_path_and_by_name(runs):
    root, vae, _ = runs
    folder = root / "tiny_vae" / "a"
    for target in (str(folder), str(folder / "checkpoints" / "last.ckpt"), "tiny_vae"):
        with runs_in(root):
            found = Pretrained(target).train()
        assert found.fingerprint == vae.fingerprint()
        assert not any(module.training for module in found.network.modules())
        assert not any(p.requires_grad for p in found.network.parameters())
        assert not found.state_dict(), "its weights are in its own run's checkpoint"
        assert next(found.double().network.parameters()).dtype == torch.float64
    with pytest.raises(NotTrainedError, match="a run of vae_bach under"):
        Pretrained("vae_bach")


def test_latent_diffusion_sees_normalised_latents_and_makes_audio(runs):
    root, vae, _ = runs
    system = TinyDiffusion(autoencoder=str(root / "tiny_vae" / "a")).train()
    examples = system.example(batch(3200))
    frames = examples.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(frames.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(frames.std(0), torch.ones(3), atol=1e-4, rtol=0)
    before = system.standard.mean.clone()
    clips = batch(333)
    torch.testing.assert_close(
        system.render(system.example(clips), clips)[..., :333], vae.generate(clips), atol=1e-5, rtol=0
    )
    assert torch.equal(system.standard.mean, before)
    system.training_losses(batch())["denoising"].backward()
    assert all(p.grad is None for p in system.latents.network.parameters())
    assert system.eval().synthesize(clips).shape == (2, 1, 333)
    assert system.resolved()["autoencoder"] == vae.fingerprint()


@pytest.mark.parametrize(("system", "folder"), [(TinyDiffusion, "tiny_vae/a"), (TinyModel, "tiny_codec/b")])
def test_held_out_clips_are_generated_and_measured(runs, system, folder):
    made = system(autoencoder=str(runs[0] / folder)).eval()
    clip = batch(330, 1)
    made.on_validation_batch_start(clip, 0)
    output = made.clip(clip)
    assert output["real"].shape == output["fake"].shape == (1, 330)
    assert made.monitor.removeprefix("validation/") in output["measures"]
    assert not output["reconstructs_input"]


def test_what_stands_on_another_autoencoder_is_refused(runs):
    root, _, _ = runs
    vae, codec = str(root / "tiny_vae" / "a"), str(root / "tiny_codec" / "b")
    with pytest.raises(NotTrainedError, match="has codes, not latents"):
        TinyDiffusion(autoencoder=codec)
    with pytest.raises(NotTrainedError, match="has latents, not codes"):
        TinyModel(autoencoder=vae)
    with pytest.raises(NotTrainedError, match="at 22050 Hz, this is for 24000 Hz"):
        TinyModel(autoencoder=codec, mel="vocos_24k")
    with pytest.raises(ValueError, match="has 3 codebooks"):
        TinyModel(autoencoder=codec, n_codebooks=4)
    system, stored = TinyModel(autoencoder=codec), {"autoencoder": "other"}
    with pytest.raises(NotTrainedError, match=r"another autoencoder \(other\)"):
        system.on_load_checkpoint(stored)
    system.on_save_checkpoint(stored)
    system.on_load_checkpoint(stored)


@pytest.mark.parametrize(
    ("cls", "source", "target"), [(TinyDiffusion, TinyVAE, "tiny_vae/a"), (TinyModel, TinyCodec, "tiny_codec/b")]
)
def test_a_release_has_its_autoencoder_in_it(runs, tmp_path, cls, source, target):
    autoencoder = runs[1] if source is TinyVAE else runs[2]
    system = cls(autoencoder=str(runs[0] / target)).eval()
    for parameter in system.generator.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    checkpoint = {}
    system.on_save_checkpoint(checkpoint)
    assert not any("network" in name for name in system.state_dict())
    whole, alone, clips = tmp_path / "whole.safetensors", tmp_path / "alone.safetensors", batch(333, 1)
    release(system, whole, {"step": 1})
    release(autoencoder, alone, {"step": 1})

    def made(of):
        torch.manual_seed(1)
        return (
            of.synthesize(clips["audio"])
            if isinstance(of, Released)
            else of.synthesize(of.batch_from_audio(clips["audio"]))
        )

    # Folding the weight normalisation changes the autoencoder's last bits; its codes stay.
    torch.testing.assert_close(made(load(whole)), made(system), atol=1e-5, rtol=0)
    assert made(system).abs().max() > 1e-3
    for file in (whole, alone):
        other = cls(autoencoder=str(file)).eval()
        assert other.resolved() == system.resolved()
        load_eval_weights(other, read_checkpoint(whole), whole)
        torch.testing.assert_close(made(other), made(system), atol=1e-5, rtol=0)
        other.on_load_checkpoint(checkpoint)
    assert read_checkpoint(whole)["hyper_parameters"]["autoencoder"] == str(whole)
    tested = source()
    load_eval_weights(tested, read_checkpoint(alone), alone)
    assert tested.fingerprint() == autoencoder.fingerprint() == load(alone).system.fingerprint()


def test_the_delay_pattern_is_a_book_a_step_and_comes_undone():
    codes = torch.arange(8).view(1, 2, 4)
    tokens = delayed(codes, -1)
    assert tokens.tolist() == [[[0, 1, 2, 3, -1], [-1, 4, 5, 6, 7]]]
    assert torch.equal(undelayed(tokens), codes)


@torch.no_grad()
def test_steps_by_the_cache_are_those_of_the_whole_and_none_sees_ahead():
    torch.manual_seed(0)
    network = CodeTransformer(books=2, size=6, channels=16, layers=3, heads=4, context=20, num_classes=3).eval()
    tokens, labels = torch.randint(7, (2, 2, 20)), torch.tensor([0, 2])
    whole = network(tokens, labels)
    cache = Cache(3)
    parts = [network(piece, labels, cache=cache) for piece in tokens.split([5, 1, 1, 7, 6], dim=-1)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=0)
    changed = tokens.clone()
    changed[..., 11:] = 0
    torch.testing.assert_close(network(changed, labels)[..., :11], whole[..., :11], atol=1e-6, rtol=0)
    assert not torch.allclose(network(tokens, labels.flip(0)), whole, atol=1e-3)
    with pytest.raises(ValueError, match="21 steps are more than the context of 20"):
        network(tokens[..., :1], labels, cache=cache)


def test_sampling_is_drawn_from_the_likeliest_alone():
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, 4)
    shares = [
        torch.bincount(chosen(logits, *how), minlength=4) / 4000
        for how in ((1, 0, 1), (1, 2, 1), (1, 0, 0.6), (0, 0, 1))
    ]
    for share, expected in zip(
        shares, [[0.5, 0.3, 0.15, 0.05], [0.625, 0.375, 0, 0], [0.625, 0.375, 0, 0], [1, 0, 0, 0]], strict=True
    ):
        torch.testing.assert_close(share, torch.tensor(expected, dtype=torch.float), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("top_k", "top_p", "left"), [(2, 0.5, 1), (3, 0.75, 2), (3, 0.8, 3), (4, 0.96, 4), (0, 0.9, 4), (3, 1.0, 3)]
)
def test_top_p_is_of_the_codes_that_top_k_leaves(top_k, top_p, left):
    probabilities = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05])
    torch.manual_seed(0)
    drawn = chosen(probabilities.log().flip(0).expand(3000, 5), 1.0, top_k, top_p)
    shares = (torch.bincount(drawn, minlength=5) / 3000).flip(0)
    torch.testing.assert_close(shares[:left], probabilities[:left] / probabilities[:left].sum(), atol=0.04, rtol=0)
    assert (shares[left:] == 0).all()


def test_codes_are_learnt_measured_and_continued(runs):
    root, _, codec = runs
    target = str(root / "tiny_codec" / "b")
    system = TinyModel(autoencoder=target, temperature=0.0, channels=32).train()
    clips = batch(10 * 16, 1)
    codes = system.example(clips)
    assert torch.equal(codes, codec.encode(clips["audio"]))
    # Of a transformer without weights in its heads all codes are equally likely.
    plain = TinyModel(autoencoder=target)
    for head in plain.generator.heads:
        torch.nn.init.zeros_(head.weight)
    assert plain.training_losses(clips)["nll"].item() == pytest.approx(math.log(10))
    assert plain.measure(batch(16 * 25))["bits_per_code"].item() == pytest.approx(math.log2(10), rel=1e-5)
    optimizer = torch.optim.Adam(system.generator.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = system.training_losses(clips)["nll"]
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    # What is known by heart is continued as it was, across a context that fills up.
    system.eval().prompt_seconds = 4 * 16 / 22050
    assert torch.equal(system.generate(clips), codes)
    assert system.synthesize(clips).shape == clips["audio"].shape
    longer = system.generate(batch(30 * 16, 2))
    assert longer.shape == (2, 3, 30)
    assert 0 <= longer.min() <= longer.max() < 10


@torch.no_grad()
def test_a_score_is_heard_frame_by_frame(runs):
    torch.manual_seed(0)
    system = TinyModel(autoencoder=str(runs[0] / "tiny_codec" / "b"), scored=True, context=40, temperature=0.0).eval()
    for embedding in system.generator.embeddings:
        torch.nn.init.zeros_(embedding.weight)
    clips = batch(20 * 16)
    silence = torch.zeros(2, 128, 20)
    low, late = (clips | {"score": silence.clone()} for _ in range(2))
    low["score"][:, 57] = 1
    late["score"][:, 57, :11] = late["score"][:, 81, 11:] = 1
    first, second = system.generate(low), system.generate(late)
    assert torch.equal(first[..., :9], second[..., :9])
    assert not torch.equal(first, second)
    assert not torch.allclose(system.measure(low)["bits_per_code"], system.measure(late)["bits_per_code"])
    assert torch.equal(system.generate(clips), system.generate(clips | {"score": silence}))


@torch.no_grad()
def test_latents_are_denoised_after_a_score(runs):
    torch.manual_seed(0)
    system = TinyDiffusion(autoencoder=str(runs[0] / "tiny_vae" / "a"), scored=True).eval()
    torch.nn.init.normal_(system.generator.output_projection.weight)
    clips, timesteps = batch(20 * 16), torch.tensor([0, 3])
    latents, score = system.example(clips), torch.zeros(2, 128, 20)
    score[:, 60, 10:] = 1
    silent, played = (
        system.generator(latents, timesteps, **system.condition(b)) for b in (clips, clips | {"score": score})
    )
    assert played.shape == latents.shape
    # The score enters behind the first convolution; the second, of dilation 2, sees two frames ahead.
    assert torch.equal(silent[..., :8], played[..., :8])
    assert (silent[..., 8:] - played[..., 8:]).abs().amin() > 0


def test_prompts_that_cannot_be_continued_are_refused(runs):
    root, _, _ = runs
    target = str(root / "tiny_codec" / "b")
    with pytest.raises(PromptError, match="leaves nothing of 10"):
        TinyModel(autoencoder=target, prompt_seconds=1.0).generate(batch(160))
    with pytest.raises(PromptError, match="longer than the context of 12 steps"):
        TinyModel(autoencoder=target, prompt_seconds=15 * 16 / 22050).generate(batch(20 * 16))
    with pytest.raises(ValueError, match="top_p = 0"):
        TinyModel(autoencoder=target, top_p=0.0)
    with pytest.raises(ValueError, match="must be at least 0"):
        TinyModel(autoencoder=target, prompt_seconds=-0.1)
    with pytest.raises(ValueError, match="need more steps"):
        TinyModel(autoencoder=target, context=2)
    with pytest.raises(ValueError, match="twice the 3 heads"):
        TinyModel(autoencoder=target, heads=3)


@pytest.mark.parametrize("settings", [(1e-45, 0, 1.0), (1.0, 0, 1e-50), (1.0, 1, 1.0)])
def test_the_narrowest_choice_is_the_likeliest_code(settings):
    logits = torch.tensor([[0.0, 50.0, -1000.0, 49.0]])
    assert chosen(logits, *settings).tolist() == [1]
