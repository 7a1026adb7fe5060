"""Griffin-Lim against the numbers of literal implementations, and mel inversion against scipy's exact solver."""

from pathlib import Path

import numpy as np
import pytest
import scipy.optimize
import torch
import torchaudio
from torch import Tensor

from framework.audio.griffin_lim import GriffinLim, fast_griffin_lim, invert_mel
from framework.audio.mel import PRESETS, MelSpectrogram
from framework.music.notes import Note
from framework.music.soundfont import Performance, render

REFERENCE = Path(__file__).parents[1] / "reference" / "griffinlim.pt"


def melody(sample_rate: int, seconds: float = 2.0) -> Tensor:
    """Return four decaying harmonic notes with a little noise as audio `(1, 1, time)`."""
    time = torch.arange(int(sample_rate * seconds)) / sample_rate
    note = time % (seconds / 4)
    pitch = torch.tensor([220.0, 277.2, 329.6, 440.0])[(time / (seconds / 4)).long()]
    tones = sum(torch.sin(2 * torch.pi * pitch * k * note) / k for k in range(1, 12)) * torch.exp(-3 * note)
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return (0.25 * tones + 1e-3 * noise)[None, None]


@pytest.mark.parametrize("iterations", [1, 32, 100])
@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_spectral_convergence_is_that_of_the_literal_algorithm(iterations, momentum):
    reference = torch.load(REFERENCE, weights_only=True)
    window = torch.hann_window(1024)

    def spectrum(audio: Tensor) -> Tensor:
        return torch.stft(audio, 1024, 256, 1024, window, return_complex=True).abs()

    target = spectrum(reference["x"].float()[None])
    found = spectrum(fast_griffin_lim(target, window, 1024, 256, iterations, momentum, length=22050))
    convergence = ((target - found).norm() / target.norm()).item()
    name = f"fgla_.99_{iterations}" if momentum else f"gla_{iterations}"
    assert convergence == pytest.approx(reference["spectral_convergence"][name], rel=1e-3)


@pytest.mark.parametrize(("n_fft", "hop_length", "win_length"), [(1024, 256, 1024), (512, 128, 400), (480, 200, 480)])
@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_audio_is_that_of_torchaudio(n_fft, hop_length, win_length, momentum):
    window = torch.hann_window(win_length)
    clips = torch.cat([melody(22050, 0.5), 0.5 * melody(22050, 0.5).flip(-1)])[:, 0]
    spectrum = torch.stft(clips, n_fft, hop_length, win_length, window, return_complex=True).abs()
    for length in (None, clips.shape[-1]):
        own = fast_griffin_lim(spectrum, window, n_fft, hop_length, 4, momentum, length)
        other = torchaudio.functional.griffinlim(
            spectrum, window, n_fft, hop_length, win_length, 1.0, 4, momentum, length, rand_init=False
        )
        assert own.shape == other.shape
        assert torch.allclose(own, other, atol=2e-3)
        assert (own - other).norm() < 1e-3 * other.norm()


def test_the_true_phase_is_found_at_once_and_random_ones_are_drawn_from_the_seed():
    window, audio = torch.hann_window(1024), melody(22050)[0, :, : 256 * 100]
    spectrum = torch.stft(audio, 1024, 256, 1024, window, return_complex=True)
    found = fast_griffin_lim(spectrum.abs(), window, 1024, 256, 2, phase=spectrum.angle())
    assert torch.allclose(found, audio, atol=1e-5)
    log_mel = MelSpectrogram(PRESETS["hifigan_22k"])(audio[None])

    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return GriffinLim(PRESETS["hifigan_22k"], 4, random_phase=True)(log_mel)

    assert torch.equal(drawn(0), drawn(0))
    assert (drawn(0) - drawn(1)).norm() > 0.1 * drawn(0).norm()


@pytest.mark.parametrize("frames", [2, 5, 40])
def test_audio_as_short_as_it_can_be_is_made_and_shorter_is_refused(frames):
    window, magnitude = torch.hann_window(256), torch.rand(1, 129, frames)
    with pytest.raises(ValueError, match=r"give from \d+ to") as refused:
        fast_griffin_lim(magnitude, window, 256, 64, 2, length=1)
    least = int(str(refused.value).split("give from ")[1].split()[0])
    assert fast_griffin_lim(magnitude, window, 256, 64, 2, length=least).shape == (1, least)
    with pytest.raises(ValueError, match="give from"):
        fast_griffin_lim(magnitude, window, 256, 64, 2, length=least - 1)


def strings_and_piano() -> Tensor:
    """Return recorded instruments of the SoundFont, a violin and a piano in parts, as audio `(1, 1, time)`."""
    violin = Performance([Note(0.0, 0.5, 67), Note(0.5, 1.0, 76)], 40, 90)
    piano = Performance([Note(0.0, 1.0, 48), Note(0.25, 0.75, 55), Note(1.0, 0.5, 60)], 0, 90)
    audio = torch.from_numpy(render([violin, piano], 1.5, 22050).sum(0))
    return 0.95 * (audio / audio.abs().max())[None, None]


@pytest.mark.parametrize("name", ["hifigan_22k", "melgan_22k", "vocos_24k"])
def test_mel_inversion_is_least_squares_and_nearer_to_the_spectrum_than_the_exact_solver(name):
    module = MelSpectrogram(PRESETS[name])
    mel = module.filters @ module.magnitude(strings_and_piano())
    found = invert_mel(mel, module.filters)
    assert found.min() >= 0
    filters, spectrum = module.filters.double().numpy(), module.magnitude(strings_and_piano())
    own_distance, exact_distance = 0.0, 0.0
    for frame in range(0, mel.shape[-1], 8):
        target, own = mel[0, :, frame].double().numpy(), found[0, :, frame].double().numpy()
        exact, residual = scipy.optimize.nnls(filters, target)
        assert np.linalg.norm(filters @ own - target) <= residual + 2e-3 * np.linalg.norm(target)
        own_distance += float(np.linalg.norm(own - spectrum[0, :, frame].numpy()))
        exact_distance += float(np.linalg.norm(exact - spectrum[0, :, frame].numpy()))
    # Both are least squares: of the many solutions the exact solver's is a sparse one, which no spectrum is.
    assert own_distance < 0.5 * exact_distance


def test_mel_inversion_beats_the_clipped_pseudo_inverse():
    module = MelSpectrogram(PRESETS["hifigan_22k"])
    audio = melody(22050)
    mel, spectrum = module(audio).exp(), module.magnitude(audio)
    pseudo_inverse = (torch.linalg.pinv(module.filters) @ mel).clamp(min=0)
    found = invert_mel(mel, module.filters)

    def log_error(magnitude: Tensor) -> float:
        return ((module.filters @ magnitude).clamp(min=1e-5).log() - mel.log()).abs().mean().item()

    assert log_error(found) < 0.02 * log_error(pseudo_inverse)
    assert (found - spectrum).norm() < 0.9 * (pseudo_inverse - spectrum).norm()


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_convention_is_inverted(name):
    preset = PRESETS[name]
    module = MelSpectrogram(preset)
    audio = melody(preset.sample_rate)[..., : preset.hop_length * 40]
    log_mel = module(audio)
    fake = GriffinLim(preset)(log_mel)
    assert fake.shape == (1, 1, log_mel.shape[-1] * preset.hop_length)
    per_neper = preset.scale * (1.0 if preset.log == "e" else 1 / np.log(10))
    error = (module(fake[..., : audio.shape[-1]]) - log_mel).abs().mean().item() / per_neper
    assert error < 0.25


@pytest.mark.parametrize("name", ["hifigan_22k", "vocos_24k"])
def test_a_click_comes_back_where_it_was(name):
    preset = PRESETS[name]
    audio = torch.zeros(1, 1, preset.hop_length * 40)
    audio[..., 5003] = 0.9
    fake = GriffinLim(preset)(MelSpectrogram(preset)(audio))[0, 0]
    assert abs(fake.abs().argmax().item() - 5003) <= 32


def test_batches_short_clips_and_silence():
    preset = PRESETS["hifigan_22k"]
    vocoder, module = GriffinLim(preset), MelSpectrogram(preset)
    clips = torch.cat([melody(22050, 1.0), 0.5 * melody(22050, 1.0).flip(-1)])
    together = vocoder(module(clips))
    assert torch.allclose(together[1:], vocoder(module(clips[1:])), atol=2e-3)
    for frames in (0, 1, 2, 4):
        assert vocoder(module(clips)[..., :frames]).shape == (2, 1, frames * 256)
    assert vocoder(module(torch.zeros(1, 1, 8192))).abs().max() < 1e-4
    assert not vocoder.state_dict()
    with pytest.raises(ValueError, match="513 to 1536 samples of audio, not 2048"):
        fast_griffin_lim(torch.ones(1, 513, 5), vocoder.window, 1024, 256, length=2048)
    with pytest.raises(ValueError, match="not 256"):
        fast_griffin_lim(torch.ones(1, 513, 2), vocoder.window, 1024, 256)
