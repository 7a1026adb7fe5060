"""Reverberation as one long filter that is learnt with the network (DDSP: Engel et al., 2020, section 3.4)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from framework.annotations import NonNegativeFloat, PositiveInt
from framework.audio.checks import check_shape
from framework.audio.convolution import convolve
from framework.checks import checked


class TrainableReverb(nn.Module):
    """A room whose impulse response is learnt sample by sample (official code).

    Args:
        length: Samples of the impulse response; 3 s at 16 kHz.
    """

    @checked
    def __init__(self, length: PositiveInt = 48000) -> None:
        super().__init__()
        self.response = nn.Parameter(1e-6 * torch.randn(length))

    def forward(self, audio: Tensor) -> Tensor:
        """Add the reverberation to dry audio `(batch, 1, time)`, cut to its length."""
        return add_reverb(audio, self.response)


class DecayReverb(nn.Module):
    """A room whose impulse response is learnt noise under an exponential decay (ddsp_pytorch).

    The response is `noise * exp(-500 softplus(-decay) t) * sigmoid(wet)` at t seconds.

    Args:
        length: Samples of the impulse response.
        sample_rate: Hz.
        wet: Initial level, before the sigmoid.
        decay: Initial decay, before the softplus: the larger, the longer.
    """

    t: Tensor

    @checked
    def __init__(
        self, length: PositiveInt, sample_rate: PositiveInt, wet: float = 0.0, decay: NonNegativeFloat = 5.0
    ) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.rand(length, 1) * 2 - 1)
        self.decay = nn.Parameter(torch.tensor(decay))
        self.wet = nn.Parameter(torch.tensor(wet))
        self.register_buffer("t", torch.arange(length).reshape(1, -1, 1) / sample_rate, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Add the reverberation to dry audio `(batch, 1, time)`, cut to its length."""
        response = self.noise * torch.exp(-softplus(-self.decay) * self.t * 500) * torch.sigmoid(self.wet)
        return add_reverb(audio, response.flatten())


def add_reverb(audio: Tensor, response: Tensor) -> Tensor:
    """Add to audio `(batch, 1, time)` its convolution with a response `(taps,)`, without delay and cut to its length.

    The first tap, which would be dry sound, counts as zero: the dry sound is added as it is.

    Raises:
        InvalidValueError: the audio or the response has another shape, or is empty.
    """
    check_shape("audio", audio, "batch", 1, "time")
    check_shape("response", response, "taps")
    time = audio.shape[-1]
    wet = convolve(audio, torch.cat([torch.zeros_like(response[:1]), response[1:time]]))
    return audio + wet[..., :time]
