"""Multi-scale spectral losses against official numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.weights import load_reference

from framework.losses.multi_scale_spectral import CentredMultiScaleSpectralLoss, MultiScaleSpectralLoss

OFFICIAL = np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz")


def test_official_numbers():
    real, fake = (torch.from_numpy(OFFICIAL[name])[:, None] for name in ("a", "b"))
    loss = MultiScaleSpectralLoss()
    for size in (2048, 64):
        expected = torch.from_numpy(OFFICIAL[f"mag_{size}"])
        torch.testing.assert_close(loss.magnitudes(real[:, 0], size).mT, expected, atol=2e-5, rtol=0)
    for size in loss.sizes:
        magnitude, log_magnitude = OFFICIAL[f"loss_{size}"]
        assert loss.distance(fake[:, 0], real[:, 0], size).item() == pytest.approx(magnitude + log_magnitude, rel=1e-6)
        linear = MultiScaleSpectralLoss((size,), log_magnitude_weight=0.0)
        assert linear(fake, real).item() == pytest.approx(magnitude, rel=1e-6)
    assert loss(fake, real).item() == pytest.approx(OFFICIAL["loss_total"].item(), rel=1e-7)
    assert not loss.state_dict()


def test_ddsp_pytorch_numbers():
    core = load_reference("ddsp_pytorch")["core"]
    loss = CentredMultiScaleSpectralLoss((1024, 512, 256, 128))
    for size, (mean, shape) in zip(loss.sizes, core["mss"], strict=True):
        magnitudes = loss.magnitudes(core["sig"], size)
        assert magnitudes.shape == shape
        assert magnitudes.mean().item() == pytest.approx(mean, rel=1e-6)
    # A tenth of the audio: linear distances are 0.9 of the mean, logarithmic ones ln 10 but for the 1e-7.
    fake, real = 0.1 * core["sig"][:, None], core["sig"][:, None]
    expected = sum(0.9 * mean + np.log(10) for mean, _ in core["mss"])
    assert loss(fake, real).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [MultiScaleSpectralLoss(), CentredMultiScaleSpectralLoss()])
@pytest.mark.parametrize(("level", "quiet"), [(0.0, 0.0), (0.1, 0.0), (0.0, 1e-19), (0.0, 1e-36), (0.0, 1e-39)])
def test_silence_has_finite_losses_and_gradients(loss, level, quiet):
    real = level * torch.randn(1, 1, 4096)
    fake = (quiet * torch.randn(1, 1, 4096)).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(fake, real)
    value.backward()
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert fake.grad.isfinite().all()
