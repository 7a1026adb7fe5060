"""What of a system is exported, and its graph for any number of clips and, from a few on, of frames."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from framework.errors import OstinatoError
from framework.export.fourier import RealFourierHead, RealSpectrum
from framework.export.mel_inversion import RealMelInversion
from framework.export.recurrent import ScannedLSTM
from framework.generators.codecs.autoencoder import Autoencoder
from framework.generators.diffwave import DiffWave
from framework.generators.fourier import Spectrum
from framework.generators.mel_inversion import MelInversion, MelInversionNetwork
from framework.generators.parallel_wavegan import ParallelWaveGAN
from framework.generators.univnet import UnivNet
from framework.generators.vocos import FourierHead
from framework.generators.wavenet.system import WaveNet
from framework.inference.layers import remove_weight_norm
from framework.paradigms.system import System

TRACED = (2, 40)
"""Clips and frames of the example whose graph is taken."""
SHORTEST = 8
"""Frames that a program of torch.export takes at least: some networks, as those that reflect, fit no fewer."""
COUNTERPARTS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    FourierHead: RealFourierHead,
    Spectrum: RealSpectrum,
    nn.LSTM: ScannedLSTM,
    MelInversionNetwork: RealMelInversion,
}
"""What computes the same in operations that graphs have."""

SCALES = {"mel": 1, "labels": 0}
"""Of each condition the frames that a frame is along its last axis, as `Program.frame_axis` has them."""

FAITHFUL = 90.0
"""Least ratio (dB) of what the generator makes to what the program makes otherwise; float32 rounds at about 140."""
FAITHFUL_PHASE = 20.0
"""The same where the phase is sought: iterations amplify rounding, and of two equal peaks another one may be taken."""

Inputs = tuple[Tensor, ...]


class ExportError(OstinatoError, ValueError):
    """A system that is no program of a fixed graph, or a program that does not do what the system does."""


@dataclass(frozen=True)
class Program:
    """A network as it is exported.

    Args:
        network: Inputs -> audio.
        inputs: Names of its inputs.
        frame_axis: For each input, the samples or frames that a frame of the conditioning is along its last axis; 0 for
            an input that has a value a clip.
        example: Function of clips and frames that returns the inputs.
        faithful: Least ratio (dB) of the generator's audio to the difference between it and the program's.
    """

    network: nn.Module
    inputs: tuple[str, ...]
    frame_axis: tuple[int, ...]
    example: Callable[[int, int], Inputs]
    faithful: float = FAITHFUL


@singledispatch
def program(system: System) -> Program:
    """Return what is exported of a system: of a vocoder the generator, log-mel -> audio.

    Raises:
        ExportError: it is no vocoder.
    """
    if type(system).condition is not System.condition or not system.reconstructs_input:
        raise ExportError(
            f"{type(system).__name__} is neither a vocoder nor a codec: `ostinato release` makes a file of any system"
        )
    return Program(
        system.network, ("mel",), (1,), lambda clips, frames: (system.front_end(noise(system, clips, frames)),)
    )


@program.register
def _(system: WaveNet) -> Program:
    """Return the network: past samples and log-mel -> what is known of each next one."""

    def example(clips: int, frames: int) -> Inputs:
        audio = noise(system, clips, frames)
        given = {"mel": system.front_end(audio)[..., :frames], "labels": torch.zeros(clips, dtype=torch.long)}
        return system.past(system.signal(audio)), *(given[name] for name in names)

    names = tuple(conditions(system, 1, 8))
    network = Conditioned(system.network, names, system.prepared)
    return Program(network, ("past", *names), (system.preset.hop_length, *(SCALES[n] for n in names)), example)


@program.register
def _(system: MelInversion) -> Program:
    """Return the generator: log-mel -> audio."""
    vocoder = program.dispatch(System)(system)
    return replace(vocoder, faithful=FAITHFUL_PHASE)


@program.register
def _(system: UnivNet) -> Program:
    """Return the generator: log-mel and noise -> audio."""

    def example(clips: int, frames: int) -> Inputs:
        return system.front_end(noise(system, clips, frames)), torch.randn(clips, system.noise, frames)

    return Program(system.network, ("mel", "noise"), (1, 1), example)


@program.register
def _(system: ParallelWaveGAN) -> Program:
    """Return the generator: log-mel and noise at the sample rate -> audio."""
    hop_length = system.preset.hop_length

    def example(clips: int, frames: int) -> Inputs:
        mel = system.condition({"audio": noise(system, clips, frames)})
        return mel, torch.randn(clips, 1, mel.shape[-1] * hop_length)

    return Program(system.network, ("mel", "noise"), (1, hop_length), example)


@program.register
def _(system: DiffWave) -> Program:
    """Return the denoising network: the sampler calls it once a step."""

    def example(clips: int, frames: int) -> Inputs:
        timesteps = torch.linspace(0, len(system.noise_schedule) - 1, clips + 2)[1:-1]
        return noise(system, clips, frames), timesteps, *conditions(system, clips, frames).values()

    names = tuple(conditions(system, 1, 8))
    network = Conditioned(system.network, names)
    scales = system.preset.hop_length, 0, *(SCALES[n] for n in names)
    return Program(network, ("noisy", "timesteps", *names), scales, example)


@program.register
def _(system: Autoencoder) -> Program:
    """Return the decoder: codes (or latents) -> audio."""

    def example(clips: int, frames: int) -> Inputs:
        return (system.encode(0.1 * torch.randn(clips, 1, frames * system.network.samples_per_frame)),)

    return Program(Decoder(system.network), ("codes",), (1,), example)


class Conditioned(nn.Module):
    """A network whose condition comes last, if it has one.

    Args:
        network: Called as `network(..., **{name: condition})`.
        names: The names of the condition, one or none.
        prepared: Makes of a log-mel what the network takes.
    """

    def __init__(
        self, network: nn.Module, names: tuple[str, ...], prepared: Callable[[Tensor], Tensor] = lambda mel: mel
    ) -> None:
        super().__init__()
        self.network, self.names, self.prepared = network, names, prepared

    def forward(self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Tensor:
        """Return what the network predicts."""
        given = [x for x in (first, second, third) if x is not None]
        named = {name: given.pop() for name in self.names}
        if "mel" in named:
            named["mel"] = self.prepared(named["mel"])
        return self.network(*given, **named)


class Decoder(nn.Module):
    """An autoencoder's second half: codes -> audio."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(network)
        del self.network.encoder

    def forward(self, codes: Tensor) -> Tensor:
        """Decode."""
        return self.network.decode(codes)


def conditions(system: Any, clips: int, frames: int) -> dict[str, Tensor]:
    """Return by name what a network is given beside its signal, of so much noise."""
    batch = system.batch_from_audio(noise(system, clips, frames))
    return system.condition({n: v.expand(clips) if v.dim() == 1 else v for n, v in batch.items()})


def noise(system: System, clips: int, frames: int) -> Tensor:
    """Return quiet noise `(clips, 1, frames * hop)`."""
    return 0.1 * torch.randn(clips, 1, frames * system.preset.hop_length)


def exportable(network: nn.Module) -> nn.Module:
    """Return a network that computes the same in operations that other runtimes have."""
    plain = counterpart(remove_weight_norm(copy.deepcopy(network)))
    for module in list(plain.modules()):
        for name, child in module.named_children():
            setattr(module, name, counterpart(child))
    return plain.eval().requires_grad_(False)


def counterpart(network: nn.Module) -> nn.Module:
    """Return what computes the same as a network in operations that graphs have: itself, if it does."""
    return next((other(network) for kind, other in COUNTERPARTS.items() if isinstance(network, kind)), network)


def traced(exported: Program) -> ExportedProgram:
    """Return a network's graph, for any number of clips, and of frames from `SHORTEST` on.

    Raises:
        ExportError: it does what no fixed graph can.
    """
    network = exportable(exported.network)
    clips, frames = Dim("clips"), Dim("frames", min=SHORTEST)
    # What is not contiguous would stay so.
    inputs = tuple(given.contiguous() for given in exported.example(*TRACED))
    dynamic: Any = tuple(
        {0: clips} | ({x.dim() - 1: frames if scale == 1 else scale * frames} if scale else {})
        for x, scale in zip(inputs, exported.frame_axis, strict=True)
    )
    try:
        return torch.export.export(network, inputs, dynamic_shapes=dynamic, strict=False)
    except Exception as error:
        name = type(exported.network).__name__
        raise ExportError(f"{name} cannot be exported by torch.export: {beginning(error)}") from error


def beginning(error: Exception) -> str:
    """Return the beginning of what an error says, in one line."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]
