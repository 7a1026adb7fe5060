"""Losses against official numbers and closed forms; those on logits and maps are checked with the discriminators."""

from dataclasses import replace

import auraloss
import pytest
import torch
from reference.weights import load_reference
from torch import nn

from framework.audio.mel import preset
from framework.losses.adversarial import Hinge, LeastSquares, Minimax, NonSaturating, WassersteinGP
from framework.losses.feature_matching import FeatureMatching
from framework.losses.mel import MelLoss
from framework.losses.stft import MultiResolutionSTFTLoss


@pytest.mark.parametrize(("name", "fake", "real"), [("pwg_losses", "a", "b"), ("univnet_stft_loss", "x", "y")])
def test_stft_loss_equals_official_in_this_order_of_arguments(name, fake, real):
    reference = load_reference(name)
    fake, real = reference[fake].unsqueeze(1), reference[real].unsqueeze(1)
    loss = MultiResolutionSTFTLoss()
    expected = reference["sc"] + reference["mag"]
    assert loss(fake=fake, real=real).item() == pytest.approx(expected, rel=1e-6)
    assert abs(loss(fake=real, real=fake).item() - expected) > 1e-4
    assert not loss.state_dict()


def test_stft_loss_and_its_gradient_are_as_good_as_auralosss():
    sizes = [1024, 2048, 512], [120, 240, 50], [600, 1200, 240]
    torch.manual_seed(0)
    level = torch.tensor([0.3, 1e-3])[:, None, None]
    real = level * torch.randn(2, 1, 9001)
    fake = (0.7 * real + 0.3 * level * torch.randn_like(real)).requires_grad_()
    # Power below the floor, of no gradient, and equal audio, of no difference.
    fake.data[1, :, 4000:6000] *= 1e-4
    fake.data[0, :, 2000:5000] = real[0, :, 2000:5000]
    peer = auraloss.freq.MultiResolutionSTFTLoss(*sizes, eps=1e-7)
    expected = torch.autograd.grad(peer(fake, real), fake)[0], peer(fake, real)
    for part in peer.stft_losses:
        part.window = part.window.double()
    doubled = fake.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(peer(doubled, real.double()), doubled)

    value = MultiResolutionSTFTLoss()(fake, real)
    (gradient,) = torch.autograd.grad(3 * value, fake)
    assert value.item() == pytest.approx(expected[1].item(), rel=1e-6)
    error, theirs = ((g - exact).norm() / exact.norm() for g in (gradient / 3, expected[0]))
    assert error < 1.01 * theirs < 0.01


def test_stft_loss_of_equal_audio_is_zero_with_no_gradient():
    fake = torch.randn(1, 1, 4096, requires_grad=True)
    loss = MultiResolutionSTFTLoss()(fake, fake.detach().clone())
    loss.backward()
    assert loss.item() == 0
    assert not fake.grad.any()


@pytest.mark.parametrize("resolution", [(511, 50, 240), (512, 50, 600)])
def test_stft_loss_refuses_transforms_it_has_no_gradient_for(resolution):
    with pytest.raises(ValueError, match="n_fft = 51"):
        MultiResolutionSTFTLoss([resolution])


def test_mel_loss_equals_official():
    reference = load_reference("vocos_disc")
    loss = MelLoss(preset("vocos_24k"))(reference["yh"].unsqueeze(1), reference["y"].unsqueeze(1))
    assert loss.item() == pytest.approx(reference["losses"]["mel"], rel=1e-6)
    reference = load_reference("pwg_losses")
    full_band = replace(preset("pwg_22k"), f_min=0.0, f_max=None, log="e")
    loss = MelLoss(full_band)(reference["a"].unsqueeze(1), reference["b"].unsqueeze(1))
    assert loss.item() == pytest.approx(reference["mel"], rel=1e-6)


@pytest.mark.parametrize("loss", [MultiResolutionSTFTLoss(), MelLoss(preset("hifigan_22k").full_band())])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_gradients_are_finite_for_a_silent_generator_and_computed_in_float32(loss, level):
    real = level * torch.randn(2, 1, 4096)
    fake = torch.zeros(2, 1, 4096, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(fake, real)
    inside.backward()
    assert fake.grad.isfinite().all()
    assert inside.item() == loss(fake, real).item()


def test_audio_need_not_be_contiguous():
    fake, real = torch.randn(2, 4096, 1).mT, torch.randn(2, 4096, 1).mT
    loss = MultiResolutionSTFTLoss()
    assert loss(fake, real).item() == loss(fake.contiguous(), real.contiguous()).item()


def test_adversarial_losses_by_hand():
    real, fake = (
        [torch.tensor([[0.5, 2.0]]), torch.tensor([[3.0]])],
        [torch.tensor([[-2.0, 1.0]]), torch.tensor([[0.0]])],
    )
    values = {
        LeastSquares: ((0.25 + 1) / 2 + (4 + 1) / 2 + 4 + 0, (9 + 0) / 2 + 1),
        Hinge: ((0.5 + 0) / 2 + (0 + 2) / 2 + 0 + 1, 0.5 + 0),
        WassersteinGP: (-0.5 - 1.25 + 0 - 3, 0.5 + 0),
    }
    for loss, (discriminator, generator) in values.items():
        assert loss().discriminator(real, fake).item() == pytest.approx(discriminator)
        assert loss().generator(fake).item() == pytest.approx(generator)
    assert Hinge(clamp_generator=True).generator(fake).item() == pytest.approx((3 + 0) / 2 + 1)
    log_sigmoid = nn.functional.logsigmoid
    expected = -sum(log_sigmoid(r).mean() + (1 - f.sigmoid()).log().mean() for r, f in zip(real, fake, strict=True))
    assert NonSaturating().discriminator(real, fake).item() == pytest.approx(expected.item())
    assert NonSaturating().generator(fake).item() == pytest.approx(-sum(log_sigmoid(f).mean() for f in fake).item())
    assert Minimax().discriminator(real, fake).item() == pytest.approx(expected.item())
    saturated = sum((1 - f.sigmoid()).log().mean() for f in fake)
    assert Minimax().generator(fake).item() == pytest.approx(saturated.item())


def test_gradient_penalty_of_a_linear_critic():
    critic = nn.Linear(64, 1)

    def discriminator(audio):
        return [critic(audio.squeeze(1))], [[]]

    penalty = WassersteinGP(weight=10.0).penalty(discriminator, torch.randn(3, 1, 64), torch.randn(3, 1, 64))
    assert penalty.item() == pytest.approx(10 * (critic.weight.norm().item() - 1) ** 2, rel=1e-4)
    penalty.backward()
    assert critic.weight.grad.isfinite().all()
    images = WassersteinGP().penalty(lambda image: discriminator(image.flatten(1)), *torch.randn(2, 3, 1, 8, 8))
    assert images.item() == pytest.approx(penalty.item(), rel=1e-4)
    assert LeastSquares().penalty(discriminator, torch.zeros(1, 1, 64), torch.zeros(1, 1, 64)) is None


def test_feature_matching_leaves_the_real_maps_without_gradient():
    real, fake = torch.zeros(1, 2, requires_grad=True), torch.tensor([[1.0, -3.0]], requires_grad=True)
    outputs = ([real], [[real, real]]), ([fake], [[fake, fake]])
    assert FeatureMatching(scale=0.5)(*outputs).item() == pytest.approx(3.0)
    loss = FeatureMatching(include_logits=False)(*outputs)
    assert loss.item() == pytest.approx(4.0)
    loss.backward()
    assert real.grad is None
    assert fake.grad.tolist() == [[1.0, -1.0]]
