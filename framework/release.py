"""Using a released system (`ostinato release`), for which few packages are enough.

    system = load("hifigan_bach.safetensors")
    audio = system.synthesize(recording)  # (batch, 1, time), or a log-mel (batch, mels, frames)

It needs torch, torchaudio, numpy, safetensors, docstring-parser, soundfile, pillow and tqdm. Lightning, W&B,
jsonargparse and webdataset need not be installed. A system whose class is an experiment's own also
needs the file of the experiment and what that imports, such as mido.
"""

import functools
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import InvalidTypeError, InvalidValueError
from framework.hyperparameters import stored_values
from framework.private_names.of_torch import with_children
from framework.runs.identity import of_project
from framework.runs.limits import TooLargeError, sized_by
from framework.runs.released import ReleaseError, read_release
from framework.runs.stored_code import StoredCodeError, check_path
from framework.synthesizer import Synthesizer

ONLY_TRAINED_WITH = (
    "averaged_generator",
    "discriminators",
    "losses",
    "adversarial_loss",
    "feature_matching",
    "balancer",
)
"""Parts of trained systems that synthesis does not need and that a release does not have."""
AUTOENCODER = "autoencoder."
"""Prefix of the weights of an autoencoder in the file of a system that works on its codes."""


@dataclass(frozen=True)
class Released:
    """A released system, for synthesis.

    Args:
        system: The system, without what only training needs.
        metadata: Metadata of the release: experiment, hyperparameters, step, run, data and their licence, versions.
    """

    system: Any
    metadata: dict[str, Any]

    @property
    def generator(self) -> nn.Module:
        """The generator for synthesis (`eval_generator`), with weight normalisation removed."""
        return self.system.generator

    @property
    def front_end(self) -> nn.Module:
        """The mel front end: audio `(batch, 1, time)` -> log-mel `(batch, mels, frames)`."""
        return self.system.front_end

    @property
    def sample_rate(self) -> int:
        """Sample rate (Hz)."""
        return self.system.preset.sample_rate

    def to(self, device: torch.device | str) -> "Released":
        """Move it to a device and return it."""
        self.system.to(device)
        return self

    def synthesize(self, source: Tensor) -> Tensor:
        """Generate audio `(batch, 1, time)` from audio `(1, 1, time)` or a log-mel `(batch, mels, frames)`.

        Random numbers are drawn from torch's generators. Several threads may call the method at the same time.

        Raises:
            ValueError: the source has another shape, or it is a log-mel and the system reads none, such as a codec.
        """
        preset, source = self.system.preset, source.to(self.system.device)
        if source.dim() != 3 or source.shape[1] not in (1, preset.n_mels):
            raise InvalidValueError(
                f"audio (1, 1, time) or log-mels (batch, {preset.n_mels}, frames) are wanted, not {tuple(source.shape)}"
            )
        if source.shape[1] == 1:
            return self.system.synthesize(self.system.batch_from_audio(source))
        frames = source.shape[-1] - (preset.padding == "center")
        silence = torch.zeros(len(source), 1, frames * preset.hop_length, device=source.device)
        # A copy that shares the networks, because other threads may be using the front end.
        given = GivenMel(source.float())
        system = with_children(self.system, {"front_end": given})
        audio = system.synthesize({"audio": silence})
        if not given.read:
            raise InvalidValueError(f"{type(system).__name__} does not read log-mels: give it audio (1, 1, time)")
        return audio


class GivenMel(nn.Module):
    """A front end that returns one log-mel `(batch, mels, frames)` for any audio.

    Attributes:
        read: Whether the log-mel was used.
    """

    def __init__(self, mel: Tensor) -> None:
        super().__init__()
        self.mel, self.read = mel, False

    def forward(self, audio: Tensor) -> Tensor:
        """Return the mel."""
        self.read = True
        return self.mel

    def pieces(self, audio: Tensor, frames: int = 1024) -> Iterator[Tensor]:
        """Yield the mel in pieces of so many frames."""
        self.read = True
        yield from self.mel.split(frames, dim=-1)


def load(path: str | Path) -> Released:
    """Open a released system, on the CPU and in evaluation mode.

    Raises:
        ReleaseError: the file is missing, damaged or of another version, or the code of its system has changed.
    """
    weights, metadata = read_release(path)
    # A system that works on an autoencoder's codes has it in its own file.
    own_file = {"autoencoder": str(path)} if "autoencoder" in metadata else {}
    return Released(restored(path, divided(weights)[0], metadata, own_file), metadata)


def load_autoencoder(path: str | Path) -> Any:
    """Open the autoencoder of a release: the released system, or the autoencoder whose codes it works on.

    Raises:
        ReleaseError: as `load` does.
    """
    weights, metadata = read_release(path)
    own, autoencoder = divided(weights)
    return restored(path, autoencoder or own, metadata | metadata.get("autoencoder", {}))


def divided(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Divide the weights of a release into those of the system and those of the autoencoder whose codes it works on."""
    theirs = {n.removeprefix(AUTOENCODER): value for n, value in weights.items() if n.startswith(AUTOENCODER)}
    return {n: value for n, value in weights.items() if not n.startswith(AUTOENCODER)}, theirs


def restored(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, Any], overrides: Mapping[str, Any] = {}
) -> Any:
    """Return a system with its weights.

    Args:
        path: The file of the release, for messages.
        weights: The weights by name.
        metadata: Class, hyperparameters and mel front end of the system.
        overrides: Hyperparameters in the place of the released ones.

    Raises:
        ReleaseError: the code of the system has changed, or a package is not installed.
    """
    version = f"{path} was released by ostinato {metadata['packages'].get('ostinato')}, and this is another version"
    check_path(metadata["system"], path)
    try:
        with sized_by([value.numel() for value in weights.values()], path, 1 << 22):
            system = bare(metadata["system"], {**metadata["hyperparameters"], **overrides})
    except (StoredCodeError, TooLargeError):
        raise
    except Exception as error:
        # Values from a file can make a constructor fail in any way; `--debug` shows where.
        if isinstance(error, ImportError) and error.name and not of_project(error.name):
            raise ReleaseError(f"{path} needs {error.name}, which is not installed: pip install it") from error
        said = " ".join(str(error).split())[:200]
        raise ReleaseError(f"{version}: {metadata['system']} cannot be built ({said})") from error
    stored, own = metadata["front_end"], asdict(system.preset)
    differing = [name for name in own if as_stored(own[name]) != stored.get(name)]
    if differing:
        name = differing[0]
        raise ReleaseError(
            f"{version}: {name} of its mel was {stored.get(name)}, of {system.preset.name} here {own[name]}"
        )
    if complaint := unlike(used(system.state_dict()), weights):
        raise ReleaseError(f"{version}: {complaint}")
    system.load_state_dict(weights, strict=False)
    if "fingerprint" in metadata:
        system.released_as = metadata["fingerprint"]
    return system


def bare(system: str, hyperparameters: dict[str, Any]) -> Any:
    """Return a system for synthesis, by its class `module:name` and its hyperparameters.

    Raises:
        ImportError, AttributeError: there is no such class.
        TypeError: it is no system, or has other hyperparameters.
    """
    module, _, name = system.partition(":")
    cls = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    if not (isinstance(cls, type) and issubclass(cls, Synthesizer)):
        raise InvalidTypeError(f"{system} is no system")
    return cls.for_synthesis(**stored_values(cls, hyperparameters) | {"ema_decay": 0.0})


def used(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights and buffers that synthesis needs."""
    return {name: value for name, value in weights.items() if name.partition(".")[0] not in ONLY_TRAINED_WITH}


def unlike(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return which weight is the first with another shape or missing in one of the two; empty if there is none."""
    for name in [*own, *other]:
        here, there = (tuple(weights[name].shape) if name in weights else None for weights in (own, other))
        if here != there:
            return f"{name} is {there or 'missing'} there and {here or 'missing'} here"
    return ""


def as_stored(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
