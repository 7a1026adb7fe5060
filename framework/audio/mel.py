"""Log-mel spectrograms, each published convention pinned under a name.

Official codes differ in padding, filter bank, compression and floor, and a vocoder fed the spectrogram of another
one sounds broken without any error.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torchaudio
from torch import Tensor, nn

from framework.audio.checks import check_at_least, check_real
from framework.errors import InvalidValueError
from framework.hyperparameters import nearest


@dataclass(frozen=True)
class MelPreset:
    """A mel convention; everything that changes a value of the spectrogram is in it.

    The log-mel is `limits(scale * log(max(mel, floor)) + shift)`, of magnitudes `sqrt(re^2 + im^2 + power_offset)`.

    Args:
        name: What the convention is called.
        sample_rate: Sample rate (Hz).
        n_fft: Length of the Fourier transform (samples).
        hop_length: Samples between two frames.
        win_length: Length of the Hann window (samples).
        n_mels: Mel bands.
        f_min: Lower edge of the lowest band (Hz).
        f_max: Upper edge of the highest band (Hz); None is half the sample rate.
        padding: Reflected samples on each side: `same` (n_fft - hop)/2, which gives time/hop frames, or `center`
            n_fft/2, which gives one more.
        power_offset: Added to the power of each bin under the root.
        mel_scale: Formula of the mel scale: Slaney's (librosa) or HTK's (torchaudio).
        mel_norm: `slaney` gives each filter unit area, None unit height.
        normalized: Whether the spectrum is divided by the window's energy norm.
        log: Base of the logarithm, e or 10.
        floor: Smallest mel value that enters the logarithm.
        scale: Factor on the logarithm.
        shift: Offset added after the factor.
        limits: Range the result is clipped to; None leaves it.
    """

    name: str
    sample_rate: int
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float | None = None
    padding: Literal["same", "center"] = "same"
    power_offset: float = 0.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    normalized: bool = False
    log: Literal["e", "10"] = "e"
    floor: float = 1e-5
    scale: float = 1.0
    shift: float = 0.0
    limits: tuple[float, float] | None = None

    def full_band(self) -> "MelPreset":
        """Return the same convention up to half the sample rate, on which HiFi-GAN's loss compares (appendix A)."""
        return self if self.f_max is None else replace(self, name=f"{self.name}_full_band", f_max=None)

    def bands(self, log_mel: Tensor) -> Tensor:
        """Return the mel magnitudes behind log-mels of this convention; what it clipped stays clipped."""
        check_real("log-mels", log_mel)
        log_mel = log_mel if log_mel.is_floating_point() else log_mel.float()
        return (math.e if self.log == "e" else 10.0) ** ((log_mel - self.shift) / self.scale)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and greatest mel magnitude that log-mels of this convention tell apart; others are clipped."""
        base = math.e if self.log == "e" else 10.0
        low, high = (base ** ((limit - self.shift) / self.scale) for limit in self.limits or (-math.inf, math.inf))
        return max(self.floor, low), high

    @property
    def frame_rate(self) -> float:
        """Frames per second (Hz)."""
        return self.sample_rate / self.hop_length


_HIFIGAN = MelPreset("hifigan_22k", 22050, f_max=8000.0, power_offset=1e-9)

PRESETS: dict[str, MelPreset] = {
    preset.name: preset
    for preset in (
        _HIFIGAN,
        replace(_HIFIGAN, name="hifigan_16k", sample_rate=16000, n_fft=640, hop_length=160, win_length=640),
        replace(_HIFIGAN, name="univnet_24k", sample_rate=24000, n_mels=100, f_max=12000.0),
        replace(_HIFIGAN, name="bigvgan_24k", sample_rate=24000, n_mels=100, f_max=12000.0),
        replace(
            _HIFIGAN,
            name="bigvgan_44k",
            sample_rate=44100,
            n_fft=2048,
            hop_length=512,
            win_length=2048,
            n_mels=128,
            f_max=None,
        ),
        MelPreset("melgan_22k", 22050, log="10"),
        # ParallelWaveGAN additionally standardises each band over its corpus.
        MelPreset("pwg_22k", 22050, f_min=80.0, f_max=7600.0, padding="center", log="10", floor=1e-10),
        # So does r9y9/wavenet_vocoder.
        MelPreset("wavenet_22k", 22050, f_min=125.0, f_max=7600.0, padding="center", log="10", floor=1e-10),
        # DDSP is not conditioned on mels: this one is to draw and to measure by.
        MelPreset("ddsp_16k", 16000, f_max=8000.0),
        # Images in [-1, 1] of 64 bands, from e^-11.5 to e^2.
        MelPreset("dcgan_16k", 16000, n_mels=64, f_max=8000.0, scale=2 / 13.5, shift=9.5 / 13.5, limits=(-1.0, 1.0)),
        MelPreset("vocos_24k", 24000, n_mels=100, padding="center", mel_scale="htk", mel_norm=None, floor=1e-7),
        # 20 dB below full scale is taken off, 100 dB of range mapped to [0, 1].
        MelPreset(
            "diffwave_22k",
            22050,
            f_min=20.0,
            padding="center",
            mel_scale="htk",
            mel_norm=None,
            normalized=True,
            log="10",
            scale=0.2,
            shift=0.8,
            limits=(0.0, 1.0),
        ),
    )
}


def preset(name: str) -> MelPreset:
    """Return the mel convention of that name.

    Raises:
        ValueError: naming the nearest known one.
    """
    if name not in PRESETS:
        raise InvalidValueError(f"no mel preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name]


class MelSpectrogram(nn.Module):
    """Log-mel spectrogram of a pinned convention: audio `(batch, 1, time)` -> `(batch, mels, frames)`.

    Computed in float32 whatever the surrounding autocast. Gradients are finite on silence. The filter bank follows from
    the preset and stays out of checkpoints.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, preset: MelPreset) -> None:
        super().__init__()
        self.preset = preset
        self.register_buffer("window", torch.hann_window(preset.win_length), persistent=False)
        self.register_buffer("filters", mel_filters(preset), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Transform audio `(batch, 1, time)` to `(batch, mels, frames)`.

        Raises:
            ValueError: when the audio is not mono, or too short for the reflected edges.
        """
        return self._log(self.magnitude(audio))

    def pieces(self, audio: Tensor, frames: int = 1024) -> Iterator[Tensor]:
        """Yield the log-mel of audio `(batch, 1, time)` in pieces of so many frames, in the memory of one.

        Raises:
            ValueError: as the whole.
        """
        check_at_least("frames", frames, 1)
        p, padded = self.preset, self._reflected(audio)
        count = (padded.shape[-1] - p.n_fft) // p.hop_length + 1
        for start in range(0, count, frames):
            end = min(start + frames, count)
            yield self._log(self._spectra(padded[:, start * p.hop_length : (end - 1) * p.hop_length + p.n_fft]))

    def _log(self, magnitude: Tensor) -> Tensor:
        p = self.preset
        with torch.autocast(magnitude.device.type, enabled=False):
            mel = self.filters @ magnitude
            log = torch.log if p.log == "e" else torch.log10
            mel = p.scale * log(mel.clamp(min=p.floor)) + p.shift
            return mel if p.limits is None else mel.clamp(*p.limits)

    def magnitude(self, audio: Tensor) -> Tensor:
        """Return the linear magnitudes `(batch, n_fft / 2 + 1, frames)` that the mel bands of `(batch, 1, time)` sum.

        Raises:
            ValueError: when the audio is not mono, or too short for the reflected edges.
        """
        return self._spectra(self._reflected(audio))

    def _reflected(self, audio: Tensor) -> Tensor:
        p = self.preset
        check_real("audio", audio)
        if audio.dim() != 3 or audio.shape[1] != 1 or not len(audio):
            raise InvalidValueError(f"mel spectrograms are of mono audio (batch, 1, time), not {tuple(audio.shape)}")
        reflected = (p.n_fft - p.hop_length if p.padding == "same" else p.n_fft) // 2
        if audio.shape[-1] <= reflected:
            raise InvalidValueError(
                f"{p.name} reflects {reflected} samples at each edge: a clip of {audio.shape[-1]} is too short"
            )
        return nn.functional.pad(audio.float(), (reflected, reflected), mode="reflect").squeeze(1)

    def _spectra(self, padded: Tensor) -> Tensor:
        p = self.preset
        spectrum = torch.stft(
            padded, p.n_fft, p.hop_length, p.win_length, self.window, center=False, return_complex=True
        )
        if p.normalized:
            spectrum = spectrum / self.window.square().sum().sqrt()
        # `abs` has gradient 0 at 0, where that of sqrt without an offset is infinite.
        if p.power_offset == 0:
            return spectrum.abs()
        return (spectrum.real.square() + spectrum.imag.square() + p.power_offset).sqrt()


def mel_filters(preset: MelPreset) -> Tensor:
    """Return the triangular filter bank `(mels, n_fft / 2 + 1)` of a convention.

    Raises:
        ValueError: when a band falls between two bins and would stay empty.
    """
    f_max = preset.sample_rate / 2 if preset.f_max is None else preset.f_max
    bins = preset.n_fft // 2 + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = torchaudio.functional.melscale_fbanks(
            bins, preset.f_min, f_max, preset.n_mels, preset.sample_rate, preset.mel_norm, preset.mel_scale
        ).T.contiguous()
    empty = (filters.amax(1) == 0).sum().item()
    if empty:
        raise InvalidValueError(
            f"{preset.name}: {empty} of {preset.n_mels} mel bands are empty: use fewer, or a longer n_fft"
        )
    return filters
