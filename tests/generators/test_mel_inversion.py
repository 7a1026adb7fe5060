"""Mel inversion: magnitudes that have the mel, audio in pieces, and what it refuses."""

import itertools

import pytest
import torch
from torch import Tensor

from framework.errors import InvalidValueError
from framework.generators.mel_inversion import BLOCK, MelInversion
from framework.losses.magnitude import LogMagnitudeLoss, SpectralConvergence
from framework.losses.stft import STFTDistance

SMALL = {"channels": 16, "hidden": 24, "layers": 2, "iterations": 3, "mel_consistency_steps": 2}


def small(**values: object) -> MelInversion:
    """Return a small system whose network's residual is not zero."""
    torch.manual_seed(0)
    system = MelInversion.variant(**(SMALL | values))().eval()
    torch.nn.init.normal_(system.trained.out.weight, std=0.05)
    return system


def pieces(log_mel: Tensor, seed: int) -> list[Tensor]:
    """Return a log-mel cut at random, with pieces of no and of one frame."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(log_mel.shape[-1] + 1, (6,), generator=generator).sort().values.tolist()
    places = [0, 0, 1, *places, log_mel.shape[-1]] if places[0] else [0, *places, log_mel.shape[-1]]
    return [log_mel[..., start:end] for start, end in itertools.pairwise(places)]


@torch.no_grad()
@pytest.mark.parametrize("mel", ["hifigan_22k", "vocos_24k", "bigvgan_44k"])
@pytest.mark.parametrize("frames", [5, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_pieces_give_the_samples_of_the_whole(mel, frames):
    system = small(mel=mel)
    log_mel = system.front_end(0.1 * torch.randn(2, 1, frames * system.preset.hop_length))
    whole = system.network(log_mel)
    assert whole.shape == (2, 1, frames * system.preset.hop_length)
    for seed in range(3):
        assert torch.equal(torch.cat(list(system.network.stream(pieces(log_mel, seed))), dim=-1), whole)


@torch.no_grad()
def test_blocks_give_the_samples_of_a_single_one(monkeypatch):
    system = small().double()
    log_mel = system.front_end.float()(0.1 * torch.randn(1, 1, 200 * 256)).double()
    whole = system.network(log_mel)
    for block in (13, 200):
        monkeypatch.setattr("framework.generators.mel_inversion.BLOCK", block)
        torch.testing.assert_close(system.network(log_mel), whole, atol=1e-9, rtol=0)


@torch.no_grad()
def test_a_stream_keeps_as_much_after_a_minute_as_after_a_second():
    system, given, made, behind = small(iterations=1), 0, 0, []
    layer, block = system.network.incremental(), system.front_end(0.1 * torch.randn(1, 1, BLOCK * 256))
    for _ in range(6):
        given, made = given + block.shape[-1] * 256, made + layer(block, False).shape[-1]
        behind.append(given - made)
    assert len(set(behind)) == 1


@torch.no_grad()
def test_the_magnitudes_have_the_mel_before_any_training():
    system = MelInversion.variant(**SMALL)().eval()
    audio = 0.1 * torch.randn(1, 1, 50 * 256)
    log_mel = system.front_end(audio)
    magnitude = system.trained(log_mel)
    assert magnitude.shape == (1, 50, 513)
    found = (magnitude @ system.trained.bands.filters.T).log()
    assert (found - log_mel.mT).abs().mean() < 0.03


def test_training_brings_magnitudes_nearer():
    system = small()
    audio = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(20 * 256) / 22050)[None, None]
    audio = audio + 1e-3 * torch.randn(1, 1, 20 * 256)
    optimizer = torch.optim.AdamW(system.parameters(), lr=3e-3)
    seen = []
    for _ in range(40):
        loss = torch.stack(list(system.training_losses({"audio": audio}).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[-1] < 0.7 * seen[0]


@pytest.mark.parametrize("mel", ["hifigan_22k", "vocos_24k"])
def test_training_sees_frames_of_the_recording_and_none_of_its_reflection(mel):
    system, given = small(mel=mel), []
    system.trained.register_forward_pre_hook(lambda network, arguments: given.append(arguments[0]))
    hop = system.preset.hop_length
    recording = 0.1 * torch.randn(1, 1, 40 * hop)
    system.training_losses({"audio": recording[..., 10 * hop : 24 * hop]})
    whole = system.front_end(recording)[..., 10 : 25 if system.preset.padding == "center" else 24]
    torch.testing.assert_close(given[0], whole[..., 2:-2], atol=1e-4, rtol=0)
    with pytest.raises(InvalidValueError, match=r"too short: set --data.segment to at least 1280"):
        system.training_losses({"audio": recording[..., : (4 if system.preset.padding == "same" else 3) * hop]})


def test_losses_are_the_terms_of_the_stft_loss():
    distance = STFTDistance(512, 128, 512, eps=1e-7)
    fake, real = torch.randn(2, 4096), torch.randn(2, 4096)
    magnitudes = [distance.spectra(audio).abs() for audio in (fake, real)]
    own = LogMagnitudeLoss()(*magnitudes) + SpectralConvergence()(*magnitudes)
    torch.testing.assert_close(own, distance(fake, real))
    silence = torch.zeros(1, 3, 5, requires_grad=True)
    (LogMagnitudeLoss()(silence, silence.detach()) + SpectralConvergence()(silence, silence.detach())).backward()
    assert torch.isfinite(silence.grad).all()


@torch.no_grad()
def test_what_is_too_short_is_refused_and_silence_stays_silent():
    system = small()
    assert system.network(torch.zeros(1, 80, 0)).shape == (1, 1, 0)
    with pytest.raises(InvalidValueError, match="too few frames"):
        system.network(torch.zeros(1, 80, 1))
    silence = MelInversion.variant(**SMALL)().eval().synthesize({"audio": torch.zeros(1, 1, 8192)})
    assert silence.shape == (1, 1, 8192)
    assert silence.abs().max() < 1e-2


@torch.no_grad()
def test_phases_are_sought_in_float32_when_the_network_is_in_bf16():
    system = small()
    audio = 0.1 * torch.randn(1, 1, 40 * 256)
    with torch.autocast("cpu", torch.bfloat16):
        made = system.synthesize({"audio": audio})
    assert made.dtype == torch.float32
    assert (system.front_end(made) - system.front_end(audio)).abs().mean() < 0.3
