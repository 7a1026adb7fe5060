"""DDSP's networks: from f0 and loudness to the controls of oscillators and filtered noise, and on to audio.

Engel et al., 2020, section 4 and appendix B, as magenta's code has it, and as acids-ircam/ddsp_pytorch does.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from framework.annotations import NonNegativeInt, PositiveFloat, PositiveInt
from framework.audio.envelopes import exp_sigmoid, normalise_harmonics, resample
from framework.audio.filtered_noise import filter_blocks, filter_frames, impulse_responses, uniform_noise
from framework.audio.loudness import scale_f0, scale_loudness
from framework.audio.oscillators import harmonic_oscillators
from framework.audio.reverb import DecayReverb, TrainableReverb
from framework.checks import checked

NOISE_BIAS = -5.0
"""Added to what the network says of the noise, so that training begins without much of it."""


class Controls(NamedTuple):
    """What oscillators and noise are told once a frame.

    Attributes:
        amplitude: The amplitude of all harmonics together, `(batch, frames, 1)`.
        distribution: The share of each `(batch, frames, harmonics)`, summing to one.
        noise: Gain of the noise in each band `(batch, frames, bands)`.
    """

    amplitude: Tensor
    distribution: Tensor
    noise: Tensor


def mlp(inputs: int, width: int, layers: int, eps: float, slope: float) -> nn.Sequential:
    """Return layers of a linear map, layer normalisation and a leaky ReLU (section B.2); none change nothing."""
    sizes = [inputs] + [width] * layers
    steps = [(nn.Linear(size, width), nn.LayerNorm(width, eps=eps), nn.LeakyReLU(slope)) for size in sizes[:layers]]
    return nn.Sequential(*(module for step in steps for module in step))


def keras_weights(network: nn.Module) -> None:
    """Draw linear and recurrent weights as Keras does: Glorot's uniform, orthogonal across time, biases zero."""
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.GRU)):
            for name, weight in module.named_parameters():
                if name.startswith("bias"):
                    nn.init.zeros_(weight)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(weight)
                else:
                    nn.init.xavier_uniform_(weight)


class Decoder(nn.Module):
    """Recurrent decoder of controls (section B.2, figure 6; magenta's `RnnFcDecoder`).

    Each input goes through an MLP of its own, all of them through a GRU, and its output beside theirs through a last
    MLP. A Keras GRU with two biases is PyTorch's, but for the order of the gates: z, r, h there, r, z, n here.

    Args:
        inputs: Channels of each input.
        outputs: Channels of the output.
        width: The width of the MLPs.
        layers: Number of layers of each MLP; 0 leaves them out.
        units: Number of units of the GRU.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: int, width: int = 512, layers: int = 3, units: int = 512
    ) -> None:
        super().__init__()
        self.input_stacks = nn.ModuleList(mlp(size, width, layers, 1e-3, 0.2) for size in inputs)
        given = width * len(inputs) if layers else sum(inputs)
        self.rnn = nn.GRU(given, units, batch_first=True)
        self.out_stack = mlp(given + units, width, layers, 1e-3, 0.2)
        self.dense_out = nn.Linear(width if layers else given + units, outputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Decode inputs `(batch, frames, channels)` to `(batch, frames, outputs)`."""
        hidden = torch.cat([stack(x) for stack, x in zip(self.input_stacks, inputs, strict=True)], -1)
        return self.dense_out(self.out_stack(torch.cat([hidden, self.rnn(hidden)[0]], -1)))


class Encoder(nn.Module):
    """Encoder of what neither f0 nor loudness say (section B.1; magenta's `MfccTimeDistributedRnnEncoder`).

    Args:
        coefficients: Cepstral coefficients of the input.
        units: Number of units of the GRU.
        latent_dim: Channels of z.
    """

    def __init__(self, coefficients: int = 30, units: int = 512, latent_dim: int = 16) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(coefficients, affine=True)
        self.rnn = nn.GRU(coefficients, units, batch_first=True)
        self.dense_out = nn.Linear(units, latent_dim)

    def forward(self, mfcc: Tensor, frames: int) -> Tensor:
        """Encode `(batch, steps, coefficients)` as z `(batch, frames, latent_dim)`."""
        return resample(self.dense_out(self.rnn(self.norm(mfcc.mT).mT)[0]), frames)


class DDSPNetwork(nn.Module):
    """Harmonic oscillators and filtered noise in a room, played by a decoder (section 4; magenta's code).

    Args:
        sample_rate: Hz.
        control_hop: Samples between two frames of the controls.
        harmonics: How many oscillators; 1 is a sine.
        noise_bands: Bands of the noise filter; 0 for no noise.
        width: The width of the MLPs.
        layers: Number of layers of each MLP.
        units: Number of units of the GRUs.
        latent_dim: Channels of z; 0 for no encoder.
        reverb_length: Samples of the room's impulse response; 0 for no room.
    """

    @checked
    def __init__(
        self,
        sample_rate: PositiveInt = 16000,
        control_hop: PositiveInt = 64,
        harmonics: PositiveInt = 60,
        noise_bands: NonNegativeInt = 65,
        width: PositiveInt = 512,
        layers: NonNegativeInt = 3,
        units: PositiveInt = 512,
        latent_dim: NonNegativeInt = 0,
        reverb_length: NonNegativeInt = 48000,
    ) -> None:
        super().__init__()
        self.sample_rate, self.control_hop = sample_rate, control_hop
        self.outputs = 1, harmonics, noise_bands
        inputs = (1, 1, latent_dim) if latent_dim else (1, 1)
        self.encoder = Encoder(units=units, latent_dim=latent_dim) if latent_dim else None
        self.decoder = Decoder(inputs, sum(self.outputs), width, layers, units)
        self.reverb = TrainableReverb(reverb_length) if reverb_length else None
        keras_weights(self)

    def forward(self, condition: Mapping[str, Tensor]) -> Tensor:
        """Return audio `(batch, 1, frames * control_hop)`.

        Args:
            condition: `f0` `(batch, frames)` in Hz, 0 where there is none; `loudness` `(batch, frames)` in dB; with an
                encoder `mfcc` `(batch, steps, 30)` of the whole.
        """
        f0, controls = condition["f0"], self.controls(condition)
        amplitudes = controls.amplitude * controls.distribution
        audio = harmonic_oscillators(f0, amplitudes, self.control_hop, self.sample_rate)
        if controls.noise.shape[-1]:
            noise = uniform_noise(controls.noise, self.control_hop)
            audio = audio + filter_frames(noise, impulse_responses(controls.noise))
        return audio if self.reverb is None else self.reverb(audio)

    def controls(self, condition: Mapping[str, Tensor]) -> Controls:
        """Return what oscillators and noise are told; for the arguments see `forward`."""
        f0 = condition["f0"]
        inputs = [scale_loudness(condition["loudness"])[..., None], scale_f0(f0)[..., None]]
        if self.encoder is not None:
            inputs.append(self.encoder(condition["mfcc"], f0.shape[1]))
        amplitude, distribution, noise = self.decoder(*inputs).split(self.outputs, -1)
        distribution = normalise_harmonics(exp_sigmoid(distribution), f0, self.sample_rate)
        return Controls(exp_sigmoid(amplitude), distribution, exp_sigmoid(noise.float() + NOISE_BIAS))


class DDSPPyTorchNetwork(nn.Module):
    """The same as acids-ircam/ddsp_pytorch builds it; its checkpoints load by their names.

    One MLP serves both inputs; f0 enters in Hz; the last MLP sees the inputs themselves beside the GRU's output;
    amplitudes and f0 are held for a frame, and a frame's noise ends with it.

    Args:
        sample_rate: Hz.
        control_hop: Samples between two frames of the controls.
        harmonics: How many oscillators.
        noise_bands: Bands of the noise filter; 0 for no noise.
        width: The width of the MLPs.
        layers: Number of layers of each MLP.
        units: Number of units of the GRU.
        reverb_length: Samples of the room's impulse response; 0 for no room.
        loudness_mean: Mean of the loudness of the data, as `log_magnitude_loudness` measures it.
        loudness_std: The same.
    """

    @checked
    def __init__(
        self,
        sample_rate: PositiveInt = 16000,
        control_hop: PositiveInt = 160,
        harmonics: PositiveInt = 100,
        noise_bands: NonNegativeInt = 65,
        width: PositiveInt = 512,
        layers: NonNegativeInt = 3,
        units: PositiveInt = 512,
        reverb_length: NonNegativeInt = 16000,
        loudness_mean: float = 0.0,
        loudness_std: PositiveFloat = 1.0,
    ) -> None:
        super().__init__()
        self.sample_rate, self.control_hop = sample_rate, control_hop
        self.loudness_mean, self.loudness_std = loudness_mean, loudness_std
        self.in_mlps = nn.ModuleList([mlp(1, width, layers, 1e-5, 0.01)] * 2)
        self.gru = nn.GRU(2 * width if layers else 2, units, batch_first=True)
        self.out_mlp = mlp(units + 2, width, layers, 1e-5, 0.01)
        last = width if layers else units + 2
        outputs = (harmonics + 1, noise_bands) if noise_bands else (harmonics + 1,)
        self.proj_matrices = nn.ModuleList(nn.Linear(last, size) for size in outputs)
        self.reverb = DecayReverb(reverb_length, sample_rate) if reverb_length else None
        # Official checkpoints hold these too; the last two are of use in real time only.
        self.register_buffer("sampling_rate", torch.tensor(sample_rate), persistent=False)
        self.register_buffer("block_size", torch.tensor(control_hop), persistent=False)
        self.register_buffer("cache_gru", torch.zeros(1, 1, units), persistent=False)
        self.register_buffer("phase", torch.zeros(1), persistent=False)

    def forward(self, condition: Mapping[str, Tensor]) -> Tensor:
        """Return audio `(batch, 1, frames * control_hop)` of `f0` (Hz) and `loudness`, both `(batch, frames)`."""
        f0, controls = condition["f0"], self.controls(condition)
        amplitudes = controls.amplitude * controls.distribution
        hop, rate = self.control_hop, self.sample_rate
        audio = harmonic_oscillators(f0, amplitudes, hop, rate, "nearest", "nearest", band_limited=False)
        if controls.noise.shape[-1]:
            audio = audio + filter_blocks(uniform_noise(controls.noise, hop), controls.noise)
        return audio if self.reverb is None else self.reverb(audio)

    def controls(self, condition: Mapping[str, Tensor]) -> Controls:
        """Return what oscillators and noise are told; for the arguments see `forward`."""
        f0 = condition["f0"]
        loudness = (condition["loudness"] - self.loudness_mean) / self.loudness_std
        inputs = f0[..., None], loudness[..., None]
        hidden = self.gru(torch.cat([mlp(x) for mlp, x in zip(self.in_mlps, inputs, strict=True)], -1))[0]
        hidden = self.out_mlp(torch.cat([hidden, *inputs], -1))
        harmonic, *noise = (projection(hidden) for projection in self.proj_matrices)
        harmonic = exp_sigmoid(harmonic)
        distribution = normalise_harmonics(harmonic[..., 1:], f0, self.sample_rate, leak=1e-4)
        gains = exp_sigmoid(noise[0].float() + NOISE_BIAS) if noise else harmonic[..., :0]
        return Controls(harmonic[..., :1], distribution, gains)
