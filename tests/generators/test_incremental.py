"""Synthesis in pieces of any lengths gives the samples of the whole, and keeps no more memory for a longer input."""

import random

import pytest
import torch

from framework.generators.hifigan import HiFiGAN, HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator
from framework.inference.incremental import incremental, run

SMALL = {"n_mels": 20, "channels": 32}
NETWORKS = {
    "v1": lambda: HiFiGANGenerator(**SMALL, upsample_rates=(8, 4, 2), upsample_kernels=(16, 8, 4)),
    "v3": lambda: HiFiGANGenerator(
        **SMALL,
        upsample_rates=(8, 4),
        upsample_kernels=(16, 8),
        residual_block=2,
        kernels=(3, 5),
        dilations=((1, 2), (2, 6)),
    ),
    "without_fusion": lambda: HiFiGANGenerator(**SMALL, upsample_rates=(4, 3), upsample_kernels=(4, 9), fusion=False),
    "melgan": lambda: MelGANGenerator(20, 8, upsample_rates=(8, 3, 2)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


@torch.no_grad()
@pytest.mark.parametrize("longest", [1, 7, 40])
def test_pieces_give_what_the_whole_gives(network, longest, monkeypatch):
    monkeypatch.setenv("OSTINATO_NATIVE", "0")
    draw = random.Random(longest)
    mel = torch.randn(2, 20, 61)
    lengths = [draw.randint(1, longest) for _ in range(61)]
    pieces = mel.split(list(cut(lengths, 61)), dim=-1)
    audio = torch.cat(list(network.stream(pieces)), dim=-1)
    assert audio.shape == (2, 1, 61 * network.hop_length)
    torch.testing.assert_close(audio, network(mel), rtol=0, atol=2e-6)


def cut(lengths, total):
    """Yield lengths until they make up the total."""
    for length in lengths:
        if length >= total:
            break
        yield length
        total -= length
    yield total


@torch.no_grad()
def test_what_is_kept_does_not_grow_and_every_sample_comes_once(network):
    torch.manual_seed(1)
    seen, kept = 0, []
    layer = incremental(getattr(network, "model", network))
    for audio in run(layer, (torch.randn(1, 20, 16) for _ in range(60))):
        seen += audio.shape[-1]
        kept.append(sum(held(layer)))
    assert seen == 60 * 16 * network.hop_length
    assert max(kept[5:]) == min(kept[5:-1])


def held(layer):
    """Yield the number of values that each layer keeps."""
    for name in ("kept", "waiting"):
        tensors = getattr(layer, name, None)
        yield from (t.numel() for t in ([tensors] if torch.is_tensor(tensors) else tensors or []))
    for inner in (*getattr(layer, "layers", ()), *getattr(layer, "branches", ())):
        yield from held(inner)


@torch.no_grad()
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_long_recording_is_generated_in_pieces(monkeypatch, ema_decay):
    torch.manual_seed(0)
    system = HiFiGAN(
        channels=16, upsample_rates=(16, 16), upsample_kernels=(32, 32), kernels=(3,), dilations=((1,),),
        ema_decay=ema_decay,
    ).eval()  # fmt: skip
    batch = {"audio": 0.1 * torch.randn(1, 1, 31 * 22050)}
    in_pieces = system.synthesize(batch)
    monkeypatch.setattr("framework.synthesizer.LONG", 1e9)
    whole = system.synthesize(batch)
    assert in_pieces.shape == batch["audio"].shape
    torch.testing.assert_close(in_pieces, whole, rtol=0, atol=1e-5)
    mels = torch.cat(list(system.front_end.pieces(batch["audio"], 100)), dim=-1)
    torch.testing.assert_close(mels, system.front_end(batch["audio"]), rtol=0, atol=1e-5)
