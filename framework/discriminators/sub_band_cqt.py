"""Multi-scale sub-band constant-Q discriminator (Gu et al., 2024)."""

from collections.abc import Sequence

import torch
import torchaudio
from nnAudio.features.cqt import CQT2010v2
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from framework.annotations import NonNegativeFloat, PositiveInt
from framework.checks import check_lengths, checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect, normed_conv2d
from framework.errors import InvalidValueError

LOWEST_BIN = 32.70  # Hz, the note C1


class CQTDiscriminator(nn.Module):
    """Convolves a complex constant-Q transform, first each octave separately, to align their different time spans."""

    def __init__(
        self,
        sample_rate: int,
        hop_length: int,
        octaves: int,
        bins: int,
        channels: int,
        dilations: Sequence[int],
        slope: float,
        trainable: bool,
    ) -> None:
        super().__init__()
        self.bins, self.slope = bins, slope
        # At twice the sample rate, the highest octave lies below the Nyquist frequency.
        self.resample = torchaudio.transforms.Resample(sample_rate, 2 * sample_rate)
        self.cqt_transform = CQT2010v2(
            sr=2 * sample_rate,
            hop_length=hop_length,
            fmin=LOWEST_BIN,
            n_bins=bins * octaves,
            bins_per_octave=bins,
            pad_mode="constant",
            # Magnitudes would have infinite gradients on silence.
            output_format="Complex",
            trainable=trainable,
            verbose=False,
        )
        forget_buffers(self.resample)
        forget_buffers(self.cqt_transform)
        self.conv_pres = nn.ModuleList(nn.Conv2d(2, 2, (3, 9), padding=(1, 4)) for _ in range(octaves))
        self.convs = nn.ModuleList([nn.Conv2d(2, channels, (3, 9), padding=(1, 4))])
        for dilation in dilations:
            self.convs.append(
                normed_conv2d(channels, channels, (3, 9), (1, 2), padding=(dilation, 4), dilation=(dilation, 1))
            )
        self.convs.append(normed_conv2d(channels, channels, (3, 3), padding=(1, 1)))
        self.conv_post = normed_conv2d(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, 1, frames, n)` and maps `(batch, channels, frames, bins)`."""
        octaves = self.transform(audio).split(self.bins, dim=-1)
        hidden = torch.cat([conv(octave) for conv, octave in zip(self.conv_pres, octaves, strict=True)], dim=-1)
        features = []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), self.slope)
            features.append(hidden)
        return self.conv_post(hidden), features

    def transform(self, audio: Tensor) -> Tensor:
        """Return the complex transform `(batch, 2, frames, bins)` of audio `(batch, 1, time)`."""
        with torch.autocast(audio.device.type, enabled=False):
            return self.cqt_transform(self.resample(audio.float())).permute(0, 3, 2, 1)


class MultiScaleSubBandCQTDiscriminator(Discriminator):
    """Discriminates pitch with constant-Q transforms of several resolutions (Gu et al., 2024, section 3).

    Args:
        sample_rate: Sample rate of the audio (Hz).
        hop_lengths: Hop length of each sub-discriminator (samples at twice the sample rate).
        octaves: Number of octaves from C1 (32.7 Hz) upwards.
        bins_per_octave: Bins in an octave for each sub-discriminator.
        channels: Width of the convolutions.
        dilations: Dilations along time of the strided convolutions.
        slope: Negative slope of the leaky ReLU.
        trainable: Whether the kernels of the transforms are trained too, initialised as a constant-Q transform.

    Raises:
        ValueError: the highest octave lies above the sample rate, or a hop length cannot be halved for each octave.
    """

    @checked
    def __init__(
        self,
        sample_rate: PositiveInt,
        hop_lengths: Sequence[PositiveInt] = (512, 256, 256),
        octaves: PositiveInt = 9,
        bins_per_octave: Sequence[PositiveInt] = (24, 36, 48),
        channels: PositiveInt = 32,
        dilations: Sequence[PositiveInt] = (1, 2, 4),
        slope: NonNegativeFloat = 0.1,
        trainable: bool = False,
    ) -> None:
        super().__init__()
        check_lengths(hop_lengths=hop_lengths, bins_per_octave=bins_per_octave)
        if LOWEST_BIN * 2**octaves > sample_rate:
            raise InvalidValueError(
                f"{octaves} octaves above {LOWEST_BIN} Hz go beyond {sample_rate} Hz: use fewer octaves"
            )
        for hop_length in hop_lengths:
            if hop_length % 2 ** (octaves - 1):
                raise InvalidValueError(
                    f"a hop of {hop_length} cannot be halved {octaves - 1} times, once for each octave"
                )
        self.discriminators = nn.ModuleList(
            CQTDiscriminator(sample_rate, hop_length, octaves, bins, channels, dilations, slope, trainable)
            for hop_length, bins in zip(hop_lengths, bins_per_octave, strict=True)
        )

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each resolution."""
        return collect(discriminator(audio) for discriminator in self.discriminators)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict, which has wrapped convolutions, to one of this network."""
        return name.replace(".conv.", ".")


def forget_buffers(module: nn.Module) -> None:
    """Exclude a module's buffers from checkpoints; its constructor computes them from its arguments."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        delattr(module, name)
        module.register_buffer(name, buffer, persistent=False)
