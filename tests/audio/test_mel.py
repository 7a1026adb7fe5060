from dataclasses import replace

import numpy as np
import pytest
import torch
import torchaudio
from reference.weights import load_reference

from framework.audio.mel import PRESETS, MelSpectrogram, mel_filters, preset


def test_hifigan_mel_equals_official():
    reference = load_reference("hifigan_mel")
    audio, convention = reference["wav"].unsqueeze(1), preset("hifigan_22k")
    torch.testing.assert_close(MelSpectrogram(convention)(audio), reference["mel8000"], atol=1e-5, rtol=0)
    torch.testing.assert_close(MelSpectrogram(convention.full_band())(audio), reference["melNone"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", ["center", "same"])
def test_vocos_mel_equals_official(padding):
    reference = load_reference("vocos_features")
    mel = MelSpectrogram(replace(preset("vocos_24k"), padding=padding))
    torch.testing.assert_close(mel(reference["y"].unsqueeze(1)), reference[padding], atol=1e-5, rtol=0)


def test_melgan_mel_is_a_decimal_logarithm_without_an_offset():
    audio = torch.randn(1, 1, 4096) * 0.1
    p = preset("melgan_22k")
    edge = (p.n_fft - p.hop_length) // 2
    padded = np.pad(audio[0, 0].double().numpy(), edge, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, p.n_fft)[:: p.hop_length]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(p.n_fft + 1)[:-1])).T
    expected = np.log10(np.maximum(mel_filters(p).numpy() @ magnitude, 1e-5))
    np.testing.assert_allclose(MelSpectrogram(p)(audio)[0].numpy(), expected, atol=1e-5)


def test_diffwave_mel_equals_the_torchaudio_transform_it_was_defined_by():
    audio = torch.randn(1, 4000) * torch.linspace(0, 1, 4000) ** 4
    mel = torchaudio.transforms.MelSpectrogram(
        22050, n_fft=1024, hop_length=256, f_min=20.0, f_max=11025.0, n_mels=80, power=1.0, normalized=True
    )(audio)
    decibel = 20 * torch.log10(mel.clamp(min=1e-5)) - 20
    expected = ((decibel + 100) / 100).clamp(0, 1)
    torch.testing.assert_close(MelSpectrogram(preset("diffwave_22k"))(audio[None]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_frames_and_gradient_on_silence(name):
    p = preset(name)
    audio = torch.zeros(2, 1, 8 * p.hop_length, requires_grad=True)
    mel = MelSpectrogram(p)(audio)
    assert mel.shape == (2, p.n_mels, 8 if p.padding == "same" else 9)
    mel.sum().backward()
    assert audio.grad.isfinite().all()


def test_autocast_changes_nothing():
    mel, audio = MelSpectrogram(preset("hifigan_22k")), torch.randn(1, 1, 4096) * 0.01
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mel(audio), mel(audio.float()))
        inside = mel(audio)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, mel(audio))
    assert not mel.state_dict()


def test_what_cannot_be_transformed_is_named():
    with pytest.raises(ValueError, match="did you mean hifigan_22k"):
        preset("hifigan_22")
    with pytest.raises(ValueError, match="mel bands are empty"):
        mel_filters(replace(preset("hifigan_22k"), n_fft=256, n_mels=128))
    with pytest.raises(ValueError, match="384 samples at each edge"):
        MelSpectrogram(preset("hifigan_22k"))(torch.zeros(1, 1, 384))
    with pytest.raises(ValueError, match="mono"):
        MelSpectrogram(preset("hifigan_22k"))(torch.zeros(1, 2, 4096))
