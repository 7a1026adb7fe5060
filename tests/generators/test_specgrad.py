"""Noise of a mel's envelope: what was whitened comes back, and noise gets the colours."""

import pytest
import torch

from framework.audio.distances import log_mel_error
from framework.audio.mel import MelSpectrogram, preset
from framework.audio.spectral_envelope import SpectralEnvelope
from framework.generators.specgrad import SpecGrad

CONVENTION = preset("diffwave_22k")


@pytest.fixture(scope="module")
def tones():
    """Return two notes one after the other, with 20 partials each, above a floor of noise."""
    seconds = torch.arange(2 * 11264) / 22050
    f0 = torch.where(seconds < 0.5, 220.0, 330.0)
    partials = sum((0.3 / k) * torch.sin(2 * torch.pi * k * f0 * seconds) for k in range(1, 21))
    noise = torch.randn(len(seconds), generator=torch.Generator().manual_seed(0))
    return (0.5 * partials + 1e-3 * noise).view(1, 1, -1)


def test_audio_whitened_and_coloured_again_is_the_audio(tones):
    envelope = SpectralEnvelope(CONVENTION)
    gains = envelope(MelSpectrogram(CONVENTION)(tones))
    white = envelope.whiten(tones, gains)
    assert 0.5 < white.std() < 4
    back = envelope.colour(white, gains)
    assert 10 * torch.log10(tones.square().sum() / (tones - back).square().sum()) > 20


def test_white_noise_takes_on_the_mel(tones):
    torch.manual_seed(0)
    system = SpecGrad(channels=8, layers=2)
    noise = torch.randn_like(tones)
    coloured = system.render(noise / system.std, {"audio": tones})
    white = noise * tones.std()
    assert log_mel_error(coloured, tones, CONVENTION) < log_mel_error(white, tones, CONVENTION) / 3


@pytest.mark.parametrize("time", [3000, 4096])
def test_what_is_generated_is_as_long_as_the_audio_and_silence_stays_silent(tones, time):
    torch.manual_seed(0)
    system = SpecGrad(channels=8, layers=2)
    assert system.synthesize({"audio": tones[..., :time]}).shape == (1, 1, time)
    assert system.synthesize({"audio": torch.zeros(1, 1, time)}).abs().max() < 0.01


def test_a_mel_whose_frames_lie_elsewhere_is_refused():
    with pytest.raises(ValueError, match="centred on multiples of the hop"):
        SpecGrad(mel="hifigan_22k", channels=8, layers=2)
