"""Vocos against the numbers of its official implementation, and its transforms against their definitions."""

from dataclasses import replace

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.audio.mel import MelSpectrogram, preset
from framework.generators.vocos import (
    CosineHead,
    FourierHead,
    SymmetricExponentialHead,
    Vocos,
    VocosBackbone,
    VocosNetwork,
    mdct_basis,
)
from framework.losses.mel import MelLoss
from framework.runs.importers import load_official

SMALL = {"channels": 16, "hidden": 24, "layers": 2}


@torch.no_grad()
def test_the_vocoder_equals_official():
    reference = load_reference("vocos_center")
    network = Vocos().generator
    assert sum(p.numel() for p in network.parameters()) == 13_531_650
    state = official_state(reference["keys"])
    # The vector was made with these as they start.
    state |= {name: torch.full_like(value, 1 / 8) for name, value in state.items() if name.endswith("gamma")}
    load_official(network, {"state_dict": state})
    torch.testing.assert_close(network(reference["mel"])[:, 0], reference["out"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "head"), [("vocos_mdct_cos", CosineHead), ("vocos_mdct_symexp", SymmetricExponentialHead)]
)
@torch.no_grad()
def test_cosine_transform_heads_equal_official(name, head):
    reference = load_reference(name)
    network = head(512, 256, "same")
    network.out.load_state_dict(official_state(reference["keys"]))
    torch.testing.assert_close(network(reference["x"])[:, 0], reference["out"], atol=1e-5, rtol=0)


def test_features_and_mel_loss_equal_official():
    features, tested = load_reference("vocos_features"), load_reference("vocos_disc")
    convention = preset("vocos_24k")
    for padding in ("center", "same"):
        mel = MelSpectrogram(replace(convention, padding=padding))(features["y"].unsqueeze(1))
        torch.testing.assert_close(mel, features[padding], atol=1e-5, rtol=0)
    loss = MelLoss(convention)(tested["yh"].unsqueeze(1), tested["y"].unsqueeze(1))
    assert loss.item() == pytest.approx(tested["losses"]["mel"], rel=1e-5)


def test_the_cosine_basis_is_orthonormal_and_overlaps_to_the_identity():
    basis = mdct_basis(8).double()
    audio = torch.randn(1, 1, 80, dtype=torch.double)
    coefficients = torch.nn.functional.conv1d(audio, basis, stride=8)
    again = torch.nn.functional.conv_transpose1d(coefficients, basis, stride=8)
    torch.testing.assert_close(again[..., 8:-8], audio[..., 8:-8], atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[:, 0] @ basis[:, 0].T, torch.eye(8, dtype=torch.double), atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["same", "center"])
def test_inverting_a_spectrum_gives_the_audio_again(padding):
    audio = torch.randn(2, 512)
    head = FourierHead(4, 64, 16, padding)
    if padding == "center":
        spectrum = torch.stft(audio, 64, 16, window=head.window, return_complex=True)
    else:
        edged = torch.nn.functional.pad(audio, (24, 24))
        spectrum = torch.stft(edged, 64, 16, window=head.window, center=False, return_complex=True)
    torch.testing.assert_close(head.invert(spectrum), audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["same", "center"])
@pytest.mark.parametrize("head", [FourierHead, CosineHead, SymmetricExponentialHead])
def test_every_head_is_as_long_as_the_audio(head, padding):
    audio = torch.randn(1, 1, 12 * 256)
    mel = MelSpectrogram(replace(preset("vocos_24k"), padding=padding))(audio)
    arguments = (16, 1024, 256, padding) if head is FourierHead else (16, 256, padding)
    network = VocosNetwork(VocosBackbone(100, 16, 24, 2), head(*arguments))
    assert network(mel).shape == audio.shape


def test_discriminators_are_weighted_as_the_official_code_means_them():
    system = Vocos(**SMALL)
    assert system.loss_weight("discriminator/multi_period") == system.loss_weight("multi_period") == 0.2
    assert system.loss_weight("discriminator/multi_resolution") == pytest.approx(0.1 / 3)
    assert system.loss_weight("mel") == 45.0
