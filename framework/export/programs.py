"""Selects the network of a system that is exported, and traces its graph with dynamic batch size and length."""

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
"""Numbers of clips and frames of the example that is traced."""
SHORTEST = 8
"""Smallest number of frames of exported programs; networks with reflection padding do not accept fewer."""
COUNTERPARTS: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    FourierHead: RealFourierHead,
    Spectrum: RealSpectrum,
    nn.LSTM: ScannedLSTM,
    MelInversionNetwork: RealMelInversion,
}
"""Replacements of modules that compute the same with exportable operations."""

SCALES = {"mel": 1, "labels": 0}
"""Length of each condition along its last axis per frame, as in `Program.frame_axis`."""

FAITHFUL = 90.0
"""Smallest signal-to-noise ratio (dB) of a program; float32 rounding alone has about 140 dB."""
FAITHFUL_PHASE = 20.0
"""The same for iterative phase estimation, which amplifies rounding and may choose another of two equal peaks."""

Inputs = tuple[Tensor, ...]


class ExportError(OstinatoError, ValueError):
    """A system cannot be exported as a fixed graph, or the exported program's output differs."""


@dataclass(frozen=True)
class Program:
    """A network to export.

    Args:
        network: Maps the inputs to audio.
        inputs: Names of the inputs.
        frame_axis: For each input, the samples or frames that a frame of the conditioning is along its last axis; 0 for
            an input that has a value a clip.
        example: Function that returns inputs for numbers of clips and frames.
        faithful: Smallest allowed signal-to-noise ratio (dB) of the exported program.
    """

    network: nn.Module
    inputs: tuple[str, ...]
    frame_axis: tuple[int, ...]
    example: Callable[[int, int], Inputs]
    faithful: float = FAITHFUL


@singledispatch
def program(system: System) -> Program:
    """Return the program to export for a system; for a vocoder, the generator, which maps log-mel to audio.

    Raises:
        ExportError: the system is neither a vocoder nor a codec.
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
    """Return the network, which maps past samples and log-mel to the parameters of the next samples' distribution."""

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
    """Return the denoising network, which the sampler calls once per step."""

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
    """Wraps a network so that its condition, if any, is the last positional argument.

    Args:
        network: Called as `network(..., **{name: condition})`.
        names: Name of the condition; empty if there is none.
        prepared: Converts a log-mel to the network's condition.
    """

    def __init__(
        self, network: nn.Module, names: tuple[str, ...], prepared: Callable[[Tensor], Tensor] = lambda mel: mel
    ) -> None:
        super().__init__()
        self.network, self.names, self.prepared = network, names, prepared

    def forward(self, first: Tensor, second: Tensor | None = None, third: Tensor | None = None) -> Tensor:
        """Return the network's prediction."""
        given = [x for x in (first, second, third) if x is not None]
        named = {name: given.pop() for name in self.names}
        if "mel" in named:
            named["mel"] = self.prepared(named["mel"])
        return self.network(*given, **named)


class Decoder(nn.Module):
    """The decoder of an autoencoder, which maps codes to audio."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(network)
        del self.network.encoder

    def forward(self, codes: Tensor) -> Tensor:
        """Decode."""
        return self.network.decode(codes)


def conditions(system: Any, clips: int, frames: int) -> dict[str, Tensor]:
    """Return example conditions of a network by name."""
    batch = system.batch_from_audio(noise(system, clips, frames))
    return system.condition({n: v.expand(clips) if v.dim() == 1 else v for n, v in batch.items()})


def noise(system: System, clips: int, frames: int) -> Tensor:
    """Return quiet noise `(clips, 1, frames * hop)`."""
    return 0.1 * torch.randn(clips, 1, frames * system.preset.hop_length)


def exportable(network: nn.Module) -> nn.Module:
    """Return an equivalent network with operations that other runtimes support."""
    plain = counterpart(remove_weight_norm(copy.deepcopy(network)))
    for module in list(plain.modules()):
        for name, child in module.named_children():
            setattr(module, name, counterpart(child))
    return plain.eval().requires_grad_(False)


def counterpart(network: nn.Module) -> nn.Module:
    """Return the exportable replacement of a module, or the module itself."""
    return next((other(network) for kind, other in COUNTERPARTS.items() if isinstance(network, kind)), network)


def traced(exported: Program) -> ExportedProgram:
    """Trace a network's graph, for any number of clips and for `SHORTEST` frames or more.

    Raises:
        ExportError: the network cannot be traced as a fixed graph.
    """
    network = exportable(exported.network)
    clips, frames = Dim("clips"), Dim("frames", min=SHORTEST)
    # The layout of the example's tensors would be part of the graph.
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
    """Return the beginning of an error's message, in one line."""
    return " ".join((str(error).strip() or type(error).__name__).split())[:200]
