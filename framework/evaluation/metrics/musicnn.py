"""musicnn (Pons & Serra, 2019), a tagger of music, as an embedding: its network with the weights inside its package.

The weights are read from the files of the installed package, which is not imported and needs no TensorFlow.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

SAMPLE_RATE = 16_000
N_FFT, HOP, MELS = 512, 256, 96
FRAMES = 187
"""Frames of a window: the 3 seconds that the network was trained on."""

EPSILON = 1e-3
"""Epsilon of the batch normalisation, as in TensorFlow."""


def musicnn_mel(audio: Tensor) -> Tensor:
    """Return the log-mel spectrogram `(frames, 96)` of audio `(time,)` at 16 kHz, as musicnn's own extractor has it."""
    window = torch.hann_window(N_FFT, device=audio.device)
    spectrum = torch.stft(audio, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True).abs().square()
    bands = melscale_fbanks(N_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE, "slaney", "slaney")
    return torch.log10(10_000 * spectrum.T @ bands.to(audio.device) + 1)


class MusicNN(nn.Module):
    """The network of `MTT_musicnn`: log-mel spectrograms to the layer before the tags.

    Args:
        variables: The variables of the checkpoint by name; see `framework.evaluation.metrics.tensor_bundle`.
    """

    def __init__(self, variables: dict[str, np.ndarray]) -> None:
        super().__init__()
        for name, values in variables.items():
            if "Adam" not in name and values.ndim:
                self.register_buffer(name.replace("/", "_"), torch.from_numpy(values.copy()))

    def forward(self, mel: Tensor) -> Tensor:
        """Return embeddings `(batch, 200)` of log-mel spectrograms `(batch, frames, 96)`."""
        x = self.normalised(mel[:, None], 0)
        timbral = nn.functional.pad(x, (0, 0, 3, 3))
        parts = [self.block(timbral, number, "valid") for number in (0, 1)]
        parts += [self.block(x, number, "same") for number in (2, 3, 4)]
        front = torch.cat(parts, 1)
        first = self.dense_in_time(front, 5)
        second = first + self.dense_in_time(first, 6)
        third = second + self.dense_in_time(second, 7)
        features = torch.cat([front, first, second, third], 1)
        pooled = torch.stack([features.amax(-1), features.mean(-1)], -1).flatten(1)
        hidden = self.normalised(pooled, 9) @ self.get_buffer("dense_kernel") + self.get_buffer("dense_bias")
        return self.normalised(hidden.relu(), 10)

    def block(self, x: Tensor, number: int, padding: str) -> Tensor:
        """Convolve `(batch, 1, frames, mels)` and return the maximum over frequency, `(batch, channels, frames)`."""
        kernel = self.get_buffer(f"{_numbered('conv2d', number)}_kernel").permute(3, 2, 0, 1)
        if padding == "same":  # of even length: TensorFlow's extra frame comes last
            time = kernel.shape[2] - 1
            x = nn.functional.pad(x, (0, 0, time // 2, time - time // 2))
        convolved = nn.functional.conv2d(x, kernel, self.bias(number))
        return self.normalised(convolved.relu(), number + 1).amax(-1)

    def dense_in_time(self, x: Tensor, number: int) -> Tensor:
        """Return a convolution over 7 frames of `(batch, channels, frames)`."""
        kernel = self.get_buffer(f"{_numbered('conv2d', number)}_kernel")[:, :, 0].permute(2, 1, 0)
        return self.normalised(nn.functional.conv1d(x, kernel, self.bias(number), padding=3).relu(), number + 1)

    def bias(self, number: int) -> Tensor:
        """Return the bias of a convolution."""
        return self.get_buffer(f"{_numbered('conv2d', number)}_bias")

    def normalised(self, x: Tensor, number: int) -> Tensor:
        """Return `(batch, channels, ...)` normalised by the stored moments of a layer."""
        layer = _numbered("batch_normalization", number)
        mean, variance, gamma, beta = (
            self.get_buffer(f"{layer}_{part}") for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=EPSILON)


def _numbered(layer: str, number: int) -> str:
    return f"{layer}_{number}" if number else layer


def windows_of(frames: Tensor, length: int) -> Tensor:
    """Return windows `(windows, length, bands)` of `(frames, bands)`, each half a window after the one before.

    Frames fewer than a window are one window.
    """
    length = min(length, len(frames))
    return frames.unfold(0, length, max(length // 2, 1)).transpose(1, 2)


def checkpoint_folder(package: Path) -> Path:
    """Return the folder of the weights in the installed package."""
    return package / "MTT_musicnn"
