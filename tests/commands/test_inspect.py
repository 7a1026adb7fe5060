"""`ostinato inspect` on networks whose filters are known."""

from types import SimpleNamespace

import pytest
import soundfile
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm

from framework.catalogue import find
from framework.cli import main
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator
from framework.evaluation.filters import FilterBank, filter_banks, mel_spaced
from framework.tracking.filters import SIZE, filter_picture

RATE = 22050
PITCHES = torch.tensor([3000.0, 440.0, 8000.0, 1200.0])


def sinusoids(taps: int) -> torch.Tensor:
    """Return windowed sinusoids of `PITCHES` as kernels `(filters, 1, taps)`."""
    return (torch.hann_window(taps) * torch.sin(2 * torch.pi * PITCHES[:, None] * torch.arange(taps) / RATE))[:, None]


class Fake(nn.Module):
    """The least that is asked of a system, around one network."""

    preset = SimpleNamespace(sample_rate=RATE)

    def __init__(self, generator: nn.Module, **discriminators: nn.Module) -> None:
        super().__init__()
        self.generator, self.discriminators = generator, nn.ModuleDict(discriminators)

    def training_losses(self, batch):
        return {"loss": self.generator(batch["audio"]).mean()}


def noise(time: int | None) -> dict:
    return {"audio": 0.1 * torch.randn(1, 1, time or 4096, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def strided():
    """Return a weight-normalised strided convolution of known sinusoids, which another one follows."""
    first = nn.Conv1d(1, 4, 257, stride=4)
    first.weight.data = sinusoids(257)
    return nn.Sequential(weight_norm(first), nn.ReLU(), nn.Conv1d(4, 4, 5))


def test_known_sinusoids_are_found_and_sorted(strided):
    (bank,) = filter_banks(Fake(strided), noise)
    assert bank.name == "generator.0"
    assert bank.sample_rate == RATE
    torch.testing.assert_close(bank.peaks, PITCHES.sort()[0], atol=2 * RATE / 4096, rtol=0)
    torch.testing.assert_close(bank.kernels, sinusoids(257)[PITCHES.argsort(), 0].flip(-1))


def test_averaged_and_folded_audio_is_seen_at_a_lower_rate(strided):
    halved = nn.Sequential(nn.AvgPool1d(4, 2, 2), *strided)
    banks = filter_banks(Fake(nn.Identity(), periods=MultiPeriodDiscriminator((2, 3), (4, 4)), halved=halved), noise)
    assert [bank.name for bank in banks] == [f"discriminators.periods.discriminators.{i}.convs.0" for i in (0, 1)] + [
        "discriminators.halved.1"
    ]
    assert [bank.sample_rate for bank in banks] == [RATE / 2, RATE / 3, RATE / 2]
    assert [bank.kernels.shape for bank in banks] == [(4, 5), (4, 5), (4, 257)]


def test_a_network_of_one_length_is_run_on_a_segment():
    fixed = nn.Sequential(nn.Conv1d(1, 4, 25, stride=4, padding=11), nn.Flatten(), nn.LazyLinear(1))
    fixed(noise(None)["audio"])
    (bank,) = filter_banks(Fake(nn.Identity(), fixed=fixed), noise)
    assert (bank.name, bank.sample_rate, bank.kernels.shape) == ("discriminators.fixed.0", RATE, (4, 25))


class Dilated(nn.Module):
    """Two channels of the audio or its levels, then causal convolutions of two taps in two stacks."""

    def __init__(self, levels: bool) -> None:
        super().__init__()
        self.levels = levels
        self.first = nn.Embedding(256, 2) if levels else nn.Conv1d(1, 2, 1)
        if levels:
            amplitudes = torch.linspace(-1, 1, 256)
            self.first.weight.data = torch.stack([amplitudes, 2 * amplitudes], 1)
        self.layers = nn.ModuleList(nn.Conv1d(2, 2, 2, dilation=d, bias=False) for d in (1, 2, 4, 1, 2, 4))

    def forward(self, audio):
        if self.levels:
            hidden = self.first(((audio[:, 0] + 1) * 127.5).round().long()).mT
        else:
            hidden = self.first(audio)
        for layer in self.layers:
            hidden = layer(pad(hidden, (layer.dilation[0], 0)))
        return hidden


@pytest.mark.parametrize("levels", [False, True])
def test_the_response_of_a_stack_is_that_to_an_impulse(levels):
    torch.manual_seed(1)
    network = Dilated(levels)
    (bank,) = filter_banks(Fake(network), noise)
    assert bank.name == "generator.layers.2"
    impulse = torch.zeros(1, 2, 32)
    weights = network.first.weight
    impulse[0, :, 0] = weights[255] - weights[127] if levels else weights[:, 0, 0]
    for layer in network.layers[:3]:
        impulse = layer(pad(impulse, (layer.dilation[0], 0)))
    expected = FilterBank.sorted("", impulse[0, :, :9].detach(), RATE)
    assert bank.kernels.shape == expected.kernels.shape
    assert (bank.kernels - expected.kernels).norm() < 0.05 * expected.kernels.norm()


def test_learnt_transforms_are_found_and_fixed_ones_are_not():
    def cqt(trainable: bool) -> MultiScaleSubBandCQTDiscriminator:
        return MultiScaleSubBandCQTDiscriminator(RATE, (256,), 4, (12,), 2, (1,), trainable=trainable)

    assert filter_banks(Fake(nn.Identity(), cqt=cqt(False)), noise) == []
    real, imaginary = filter_banks(Fake(nn.Identity(), cqt=cqt(True)), noise)
    assert imaginary.name == f"{real.name} 2"
    # The highest octave's semitones, from the C three octaves above the lowest.
    expected = 32.70 * 2 ** (3 + torch.arange(12) / 12)
    torch.testing.assert_close(real.peaks, expected, rtol=0.02, atol=0.0)


def test_the_picture_opens_at_its_size(strided, tmp_path):
    (bank,) = filter_banks(Fake(strided), noise)
    filter_picture(bank).save(tmp_path / "filters.png")
    with Image.open(tmp_path / "filters.png") as picture:
        assert picture.size == SIZE
        assert len(picture.getcolors(1 << 20)) > 100


def test_the_mel_scale_is_even_in_mels():
    centres = mel_spaced(79, RATE)
    mels = 2595 * torch.log10(1 + centres / 700)
    assert torch.allclose(mels.diff(), mels[:1].expand(78), rtol=1e-3)
    assert centres[-1] < RATE / 2


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "in").mkdir()
    for number in range(8):
        tone = 0.3 * torch.sin(2 * torch.pi * 110 * (number + 1) * torch.arange(22050) / RATE)
        soundfile.write(tmp_path / "in" / f"{number}.wav", tone.numpy(), RATE)
    return tmp_path


SMALL = [
    "hifigan_bach", "--data", "in", "--model.channels=16", "--model.upsample_rates=[16,16]", "--data.batch_size=2",
    "--model.upsample_kernels=[32,32]", "--trainer.max_steps=1", "--data.segment=2048", "--trainer.accelerator=cpu",
]  # fmt: skip


def test_a_runs_filters_are_drawn_and_logged(place, capsys):
    assert main(["inspect", *SMALL]) == 2
    assert "no run of HiFiGANBach" in capsys.readouterr().err
    assert main(["fit", *SMALL]) == 0
    assert main(["inspect", *SMALL]) == 0
    assert "3 pictures in " in capsys.readouterr().out
    assert len(list(place.glob("runs/*/*/filters/*.png"))) == 3
    assert len(list(place.glob("runs/*/*/wandb/offline-run-*/files/media/images/filters/*.png"))) == 3


def test_where_there_is_nothing_to_see_a_line_says_why(place, capsys):
    assert main(["inspect", "griffin_lim", "--data", "in"]) == 0
    assert "it has no weights" in capsys.readouterr().out
    small = find("hifigan_bach")(channels=16, upsample_rates=(16, 16), upsample_kernels=(32, 32))
    torch.save({"generator": small.generator.state_dict()}, place / "official")
    assert main(["inspect", *SMALL, "--ckpt_path", "official"]) == 2
    assert "say by --output" in capsys.readouterr().err
    assert main(["inspect", *SMALL, "--ckpt_path", "official", "--output", "out"]) == 0
    assert "holds the generator of HiFiGANBach alone" in capsys.readouterr().out
    assert not (place / "out").exists()
