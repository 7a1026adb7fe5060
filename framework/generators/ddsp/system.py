"""DDSP: audio of oscillators and filtered noise that a network plays, learnt through both (Engel et al., 2020)."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from framework.annotations import NonEmpty, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range
from framework.audio.loudness import log_magnitude_loudness, loudness
from framework.audio.mfcc import MFCC
from framework.audio.pitch import track_pitch
from framework.data_module import data_module_of
from framework.errors import InvalidValueError
from framework.generators.ddsp.networks import DDSPNetwork, DDSPPyTorchNetwork
from framework.hyperparameters import runtime
from framework.losses.multi_scale_spectral import CentredMultiScaleSpectralLoss, MultiScaleSpectralLoss
from framework.paradigms.adversarial import Adversarial


class DDSP(Adversarial):
    """DDSP autoencoder with its f0 given (Engel et al., 2020); the defaults are magenta's `solo_instrument`.

    Trained on the spectral loss alone, unless a subclass builds discriminators. The mel is for pictures and distances;
    the network hears f0 and loudness, and z where there are latents. Every frame is given a pitch, as the official
    pitch tracker gives one: where there is none, the last one stays, and the loudness says that it fades.

    Timbre transfer is `synthesize` with a recording of another instrument, whose pitch is tracked.

    Args:
        control_hop: Samples between two frames of f0, loudness and controls; the data's `f0_hop`.
        harmonics: How many oscillators; 1 is a sine.
        noise_bands: Bands of the noise filter; 0 for no noise.
        width: The width of the MLPs.
        layers: Number of layers of each MLP.
        units: Number of units of the GRUs.
        latent_dim: Channels of z; 0 for no encoder.
        reverb_length: Samples of the room's impulse response; 0 for no room.
        spectral_sizes: Window lengths (samples) of the spectral loss.
        spectral_weight: Weight of the multi-scale spectral loss.
        pitch_shift: Semitones by which the pitch of a recording is raised.
        match_loudness: Whether a recording is brought to the mean loudness and the range of what was trained on.
    """

    mel = "ddsp_16k"
    learning_rate = 1e-3
    betas = (0.9, 0.999)
    weight_decay = 0.0
    learning_rate_decay = 0.98
    gradient_clip = 3.0
    decay_steps = 10_000
    control_hop: PositiveInt = 64
    harmonics: PositiveInt = 60
    noise_bands: NonNegativeInt = 65
    width: PositiveInt = 512
    layers: Annotated[int, Range(0, 1000)] = 3
    units: PositiveInt = 512
    latent_dim: NonNegativeInt = 0
    reverb_length: NonNegativeInt = 48000
    spectral_sizes: NonEmpty[Annotated[int, Range(2)]] = (2048, 1024, 512, 256, 128, 64)
    spectral_weight: NonNegativeFloat = 1.0
    pitch_shift: Annotated[float, Range(-60, 60)] = runtime(0.0)
    match_loudness: bool = runtime(True)

    def build(self) -> None:
        """Make the networks and the losses."""
        super().build()
        self.mfcc = MFCC(self.preset.sample_rate)
        # Number, sum and sum of squares of the loudness of voiced frames that were trained on.
        self.loudness_moments: Tensor
        self.register_buffer("loudness_moments", torch.zeros(3, dtype=torch.float64))
        # A little above that of digital silence.
        self.silence = self.loudness(torch.zeros(1, 1, 4096)).max().item() + 1e-3

    def build_generator(self) -> nn.Module:
        return DDSPNetwork(
            self.preset.sample_rate,
            self.control_hop,
            self.harmonics,
            self.noise_bands,
            self.width,
            self.layers,
            self.units,
            self.latent_dim,
            self.reverb_length,
        )

    def build_losses(self) -> dict[str, nn.Module]:
        return {"spectral": MultiScaleSpectralLoss(self.spectral_sizes)}

    def setup(self, stage: str) -> None:
        """Refuse data without f0, with f0 at other places, or with segments that are no whole number of frames."""
        super().setup(stage)
        if (data := data_module_of(self.trainer)) is None:
            return
        if data.f0_hop != self.control_hop:
            raise InvalidValueError(
                f"the data has f0 every {data.f0_hop} samples (0: not at all), the network hears it every "
                f"{self.control_hop}: set --data.f0_hop {self.control_hop}"
            )
        if data.segment % self.control_hop:
            raise InvalidValueError(
                f"a segment of {data.segment} samples is no whole number of frames of {self.control_hop}: "
                f"set --data.segment {-(-data.segment // self.control_hop) * self.control_hop}"
            )

    # Conditioning

    def loudness(self, audio: Tensor) -> Tensor:
        """Return the loudness `(batch, frames)` of audio `(batch, 1, time)`, at least one frame for each begun hop."""
        return loudness(audio, self.preset.sample_rate, self.control_hop)

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return f0, loudness and, for an encoder, cepstral coefficients: see `DDSPNetwork.forward`.

        Raises:
            ValueError: the batch has no f0.
        """
        if "f0" not in batch:
            raise InvalidValueError(
                f"{type(self).__name__} needs the pitch of its audio: use data that knows it, such as BachStems or an "
                f"AudioFolder, with --data.f0_hop {self.control_hop}"
            )
        f0, audio = batch["f0"], batch["audio"]
        decibels = batch["loudness"] if "loudness" in batch else self.loudness(audio)
        condition = {"f0": held_pitch(f0), "loudness": decibels[:, : f0.shape[1]]}
        return condition | {"mfcc": self.mfcc(audio)} if self.latent_dim else condition

    def on_train_batch_start(self, batch: dict[str, Any], batch_index: int) -> None:
        """Take note of how loud the instrument is."""
        super().on_train_batch_start(batch, batch_index)
        decibels = self.loudness(batch["audio"])[:, : batch["f0"].shape[1]]
        played = (batch["f0"] > 0) & (decibels > self.silence)
        values = torch.where(played, decibels, 0).double()
        self.loudness_moments += torch.stack([played.sum(), values.sum(), values.square().sum()])

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch: its pitch tracked and shifted, its loudness matched.

        Raises:
            PitchError: torchcrepe is not installed.
        """
        f0 = track_pitch(audio, self.preset.sample_rate, self.control_hop)
        decibels = self.loudness(audio)[:, : f0.shape[1]]
        count, total, squares = self.loudness_moments.tolist()
        if self.match_loudness and count:
            mean = total / count
            deviation = max(squares / count - mean**2, 0.0) ** 0.5
            decibels = matched_loudness(decibels, f0 > 0, mean, deviation, self.silence)
        return {"audio": audio, "f0": f0 * 2 ** (self.pitch_shift / 12), "loudness": decibels}


class DDSPPyTorch(DDSP):
    """DDSP as acids-ircam/ddsp_pytorch builds and trains it.

    The room's impulse response is noise under an exponential decay. A learning rate that decays is computed there, but
    never used.

    Args:
        loudness_mean: Mean of the loudness of the data, as `log_magnitude_loudness` measures it.
        loudness_std: The same; the network hears how many deviations a frame is from the mean.
    """

    learning_rate_decay = 1.0
    gradient_clip = 0.0
    control_hop = 160
    harmonics = 100
    reverb_length = 16000
    spectral_sizes = (4096, 2048, 1024, 512, 256, 128)
    loudness_mean: float = -3.8
    loudness_std: PositiveFloat = 1.5

    def build_generator(self) -> nn.Module:
        if self.latent_dim:
            raise InvalidValueError(
                f"{type(self).__name__} has no encoder: leave latent_dim at 0, or take magenta's networks"
            )
        return DDSPPyTorchNetwork(
            self.preset.sample_rate,
            self.control_hop,
            self.harmonics,
            self.noise_bands,
            self.width,
            self.layers,
            self.units,
            self.reverb_length,
            self.loudness_mean,
            self.loudness_std,
        )

    def build_losses(self) -> dict[str, nn.Module]:
        return {"spectral": CentredMultiScaleSpectralLoss(self.spectral_sizes)}

    def loudness(self, audio: Tensor) -> Tensor:
        """Return the loudness `(batch, frames)` of audio `(batch, 1, time)`, at least one frame for each begun hop."""
        padded = nn.functional.pad(audio, (0, -audio.shape[-1] % self.control_hop))
        return log_magnitude_loudness(padded, self.preset.sample_rate, self.control_hop)


def held_pitch(f0: Tensor) -> Tensor:
    """Return f0 `(batch, frames)` in Hz with the last pitch held where there is none, and the first one before it.

    Where there is none at all it stays 0.
    """
    voiced = f0 > 0
    last = torch.where(voiced, torch.arange(f0.shape[1], device=f0.device), -1).cummax(1).values
    return f0.gather(1, torch.where(last < 0, voiced.int().argmax(1, keepdim=True), last))


def matched_loudness(decibels: Tensor, voiced: Tensor, mean: float, deviation: float, silence: float) -> Tensor:
    """Bring the loudness of a recording's voiced frames to a mean and a deviation, and leave silence silent.

    The map is a line down to two deviations under the mean, at most twice and at least half as steep as no change, and
    from there on another one to silence. A recording without voiced frames is left as it is.

    Args:
        decibels: Loudness `(1, frames)`.
        voiced: Where there is a pitch `(1, frames)`.
        mean: Wanted mean.
        deviation: Wanted deviation.
        silence: Loudness of silence.
    """
    played = decibels[voiced & (decibels > silence)]
    if not len(played):
        return decibels
    own_mean, own_deviation = played.mean(), played.std(correction=0)
    slope = (deviation / own_deviation.clamp(min=1e-6)).clamp(0.5, 2.0)
    matched = mean + slope * (decibels - own_mean)
    knee = (own_mean - 2 * own_deviation).clamp(min=silence + 1e-3)
    at_knee = (mean + slope * (knee - own_mean)).clamp(min=silence)
    below = silence + (decibels - silence) * (at_knee - silence) / (knee - silence)
    return torch.where(decibels < knee, below, matched).clamp(min=silence)
