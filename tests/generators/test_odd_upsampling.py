"""Upsampling by odd factors, and HiFi-GAN's weights in every form that they are stored in."""

import pickle
import warnings
import zipfile

import pytest
import torch
from torch import nn
from torch.nn.functional import conv_transpose1d, leaky_relu

from framework.generators.bigvgan import BigVGANGenerator
from framework.generators.hifigan import HiFiGAN, HiFiGANGenerator
from framework.runs.checkpoints import CheckpointError
from framework.runs.torchscript import read_torchscript
from framework.workflow.weights import load_into

RATES, KERNELS = (5, 8, 4), (10, 16, 7)
SMALL = {"channels": 24, "upsample_rates": RATES, "upsample_kernels": KERNELS, "kernels": (3,), "dilations": ((1, 3),)}


class Block(nn.Module):
    """Written after the paper, with the names of the official code."""

    def __init__(self, channels):
        super().__init__()
        self.convs1 = nn.ModuleList(nn.Conv1d(channels, channels, 3, dilation=d, padding=d) for d in (1, 3))
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in (1, 3))

    def forward(self, x):
        for one, two in zip(self.convs1, self.convs2, strict=True):
            x = x + two(leaky_relu(one(leaky_relu(x, 0.1)), 0.1))
        return x


class Official(nn.Module):
    """HiFi-GAN whose stages cut the full transposed convolution by ceil((kernel - rate) / 2) at the beginning."""

    def __init__(self):
        super().__init__()
        self.conv_pre, self.conv_post = nn.Conv1d(80, 24, 7, padding=3), nn.Conv1d(3, 1, 7, padding=3)
        widths = (24, 12, 6, 3)
        stages = list(zip(widths, widths[1:], KERNELS, RATES, strict=False))
        self.ups = nn.ModuleList(nn.ConvTranspose1d(i, o, k, r) for i, o, k, r in stages)
        self.resblocks = nn.ModuleList(Block(width) for width in widths[1:])

    def forward(self, mel):
        x = self.conv_pre(mel)
        for up, block, rate, kernel in zip(self.ups, self.resblocks, RATES, KERNELS, strict=True):
            cut, length = -((rate - kernel) // 2), rate * x.shape[-1]
            full = conv_transpose1d(leaky_relu(x, 0.1), up.weight, up.bias, stride=rate)
            x = block(full[..., cut : cut + length])
        return torch.tanh(self.conv_post(leaky_relu(x)))


def normed(network, form):
    """Return a network with weight normalisation of some form."""
    norm = {"old": nn.utils.weight_norm, "parametrised": nn.utils.parametrizations.weight_norm}.get(form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in list(network.modules()):
            if norm and isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                norm(module)
    return network


@pytest.fixture(scope="module")
def mel():
    torch.manual_seed(1)
    return 2 * torch.randn(2, 80, 11)


def stored(form, script, folder):
    """Write the official network in some form; return it and its file."""
    torch.manual_seed(0)
    network = normed(Official(), form).eval()
    path = folder / "generator"
    if script:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.trace(network, torch.randn(1, 80, 4)).save(path)
    else:
        torch.save({"generator": network.state_dict()}, path)
    return network, path


@torch.no_grad()
@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("form", ["old", "parametrised", "folded"])
def test_stored_weights_of_any_form_give_the_audio_of_their_network(form, script, native, tmp_path, mel, monkeypatch):
    if form == "parametrised" and script:
        pytest.skip("TorchScript does not take parametrised modules")
    monkeypatch.setenv("OSTINATO_NATIVE", native)
    official, path = stored(form, script, tmp_path)
    system = HiFiGAN(**SMALL, mel="hifigan_16k").eval()
    assert load_into(system, path) == 0
    network, expected = system.generator, official(mel)
    assert network.hop_length == 160
    assert expected.shape == (2, 1, 11 * 160)
    torch.testing.assert_close(network(mel), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(network.prepared()(mel), expected, rtol=0, atol=2e-6)
    for length in (1, 5):
        pieces = torch.cat(list(network.stream(mel.split(length, dim=-1))), dim=-1)
        torch.testing.assert_close(pieces, expected, rtol=0, atol=2e-6)


@torch.no_grad()
def test_a_folded_channel_of_zeros_stays_silent(tmp_path, mel):
    official, path = stored("folded", False, tmp_path)
    official.conv_pre.weight[3] = 0
    torch.save(official.state_dict(), path)
    system = HiFiGAN(**SMALL, mel="hifigan_16k").eval()
    load_into(system, path)
    assert not system.generator.conv_pre.weight[3].any()
    torch.testing.assert_close(system.generator(mel), official(mel), rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("rates", [(5, 3), (3, 2)])
def test_bigvgan_takes_odd_factors_too(rates):
    network = BigVGANGenerator(20, 16, rates, (3,), ((1,),))
    assert network(torch.randn(1, 20, 9)).shape[-1] == 9 * network.hop_length


class Call:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return print, (self.target,)


def test_a_program_in_the_place_of_weights_is_not_run(tmp_path, capsys):
    _, path = stored("folded", True, tmp_path)
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    root = next(name.split("/")[0] for name in entries)
    for content in (pickle.dumps(Call("executed")), pickle.dumps([1]), entries[f"{root}/data.pkl"][:200], b""):
        with zipfile.ZipFile(tmp_path / "other", "w") as archive:
            for name, value in (entries | {f"{root}/data.pkl": content}).items():
                archive.writestr(name, value)
        with pytest.raises(CheckpointError, match="other is cut short or no checkpoint"):
            load_into(HiFiGAN(**SMALL, mel="hifigan_16k"), tmp_path / "other")
    assert "executed" not in capsys.readouterr().out
    assert set(read_torchscript(path)) == set(Official().state_dict())


@torch.no_grad()
def test_bf16_synthesis_keeps_the_first_stage_in_float32(mel):
    torch.manual_seed(0)
    network = HiFiGANGenerator(**SMALL).eval()
    kinds = []
    for layer in (network.conv_pre, network.resblocks[0], network.ups[1], network.resblocks[1].convs1[0]):
        layer.register_forward_hook(lambda module, given, output: kinds.append(output.dtype))
    whole = network(mel)
    kinds.clear()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(mel)
        network.train()(mel)
        pieces = torch.cat(list(network.stream(mel.split(5, dim=-1))), dim=-1)
    # Training is as before.
    assert kinds == [torch.float32] * 3 + [torch.bfloat16] * 5
    for audio in (rounded, pieces):
        noise = (audio.float() - whole).square().sum()
        assert 10 * (whole.square().sum() / noise).log10() > 40
