"""Distributions of the next sample: its likelihood to learn by, and draws from it."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from framework.annotations import PositiveInt
from framework.audio.mu_law import boundaries, decode, encode
from framework.checks import checked

LEVELS = 256
"""Levels of mu-law audio in which bits per sample are counted, whatever the distribution."""

OPEN = 1e20
"""End of an outermost bin: far enough for any scale, and unlike infinity with a gradient of 0."""


class Distribution(ABC):
    """Distribution of each sample given those before it, as a network's output says.

    Training minimises `nll`, each distribution's own. To compare distributions there is `level_nll`: the information
    (nats) in the sample's level among 256 of mu-law audio, for which a density is integrated over the level's range.
    """

    in_channels: int
    """Channels of the network's input."""
    parameters: int
    """Channels of the network's output."""
    uniforms: ClassVar[int] = 1
    """Uniform random numbers that one draw takes."""

    def inputs(self, audio: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` as the network takes it."""
        return audio

    @abstractmethod
    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        """Return the negative log-likelihood `(batch, time)` in nats, float32 whatever the output is.

        Args:
            output: Parameters `(batch, parameters, time)`.
            audio: Audio `(batch, 1, time)` in [-1, 1].
        """

    def level_nll(self, output: Tensor, audio: Tensor) -> Tensor:
        """Return -ln P of the samples' levels `(batch, time)`, levels as `framework.audio.mu_law` rounds to them."""
        lower, upper = boundaries(encode(audio[:, 0], LEVELS), LEVELS)
        return -self.log_interval(output.double(), lower, upper).float()

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return ln P(lower < sample < upper) `(batch, time)`; ends may be infinite, gradients are not meant."""
        raise NotImplementedError(f"{type(self).__name__} has no density to integrate")

    @abstractmethod
    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """Draw audio `(batch, 1, time)` in [-1, 1].

        Args:
            output: Parameters `(batch, parameters, time)`.
            uniforms: Random numbers in [0, 1) `(batch, self.uniforms, time)`, which determine the draw.
            temperature: Below 1 the likelier is preferred; 0 gives the likeliest.
        """


def choose(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Return one index `(batch, time)` of logits `(batch, choices, time)` by the inverse of their distribution."""
    logits = logits.float()
    peaked = (logits - logits.amax(1, keepdim=True)) / max(temperature, 1e-6)
    cumulative = peaked.softmax(1).cumsum(1)
    # Rounding may leave the sum short of 1.
    threshold = uniforms[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(1).clamp(max=logits.shape[1] - 1)


class MuLawSoftmax(Distribution):
    """Softmax over 256 levels of mu-law audio (van den Oord et al., 2016, section 2.2)."""

    in_channels = LEVELS
    parameters = LEVELS

    def inputs(self, audio: Tensor) -> Tensor:
        """Return the levels, int64 `(batch, time)`, in place of their one-hot channels."""
        return encode(audio[:, 0], LEVELS)

    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        return cross_entropy(output.float(), encode(audio[:, 0], LEVELS), reduction="none")

    def level_nll(self, output: Tensor, audio: Tensor) -> Tensor:
        return self.nll(output, audio)

    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        return decode(choose(output, uniforms[:, 0], temperature), LEVELS).unsqueeze(1)


class LogisticMixture(Distribution):
    """Discretised mixture of logistics (Salimans et al., 2017, PixelCNN++, section 2.1) over 16 bit audio.

    The output is the components' logits, means and logarithms of scales. The bins are closed exactly, by
    sigma(b) - sigma(a) = (1 - exp(a - b)) sigma(b) sigma(-a), where the official codes fall back to the density.

    Args:
        mixtures: Components.
        levels: Evenly spaced levels from -1 to 1; the likelihood is that of the bin around a sample.
        smallest_log_scale: Bound below which the logarithm of a scale does not go.
    """

    in_channels = 1
    uniforms = 2

    @checked
    def __init__(
        self, mixtures: PositiveInt = 10, levels: PositiveInt = 65536, smallest_log_scale: float = -16.0
    ) -> None:
        self.mixtures, self.levels, self.smallest_log_scale = mixtures, levels, smallest_log_scale
        self.parameters = 3 * mixtures

    def split(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, means and logarithms of scales, each `(batch, mixtures, time)`."""
        logits, means, log_scales = output.chunk(3, dim=1)
        return logits, means, log_scales.clamp(self.smallest_log_scale, -2 * self.smallest_log_scale)

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return ln P(lower < sample < upper) `(batch, time)`, with gradients where the ends are finite."""
        logits, means, log_scales = self.split(output)
        lower, upper = lower.clamp(min=-OPEN).unsqueeze(1), upper.clamp(max=OPEN).unsqueeze(1)
        sharpness = torch.exp(-log_scales)
        inside = torch.log(-torch.expm1((lower - upper) * sharpness))
        below = logsigmoid((upper - means) * sharpness)
        above = logsigmoid((means - lower) * sharpness)
        return torch.logsumexp(logits.log_softmax(1) + inside + below + above, dim=1)

    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        half, audio = 1 / (self.levels - 1), audio[:, 0].float().clamp(-1, 1)
        lower = (audio - half).masked_fill(audio <= half - 1, -OPEN)
        upper = (audio + half).masked_fill(audio >= 1 - half, OPEN)
        return -self.log_interval(output.float(), lower, upper)

    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        logits, means, log_scales = self.split(output.float())
        component = choose(logits, uniforms[:, 0], temperature).unsqueeze(1)
        mean, scale = means.gather(1, component), log_scales.gather(1, component).exp()
        return (mean + temperature * scale * self.quantile(uniforms[:, 1:])).clamp(-1, 1)

    @staticmethod
    def quantile(uniforms: Tensor) -> Tensor:
        """Return the standard logistic's values below which it is with these probabilities."""
        # The official code's limits: tails beyond 1e-5 are not drawn.
        return uniforms.clamp(1e-5, 1 - 1e-5).logit()


class Gaussian(Distribution):
    """A Gaussian (ClariNet: Ping et al., 2018): mean and logarithm of the deviation; `nll` is that of the density.

    Args:
        smallest_log_scale: Bound below which the logarithm of the deviation does not go.
    """

    in_channels = 1
    parameters = 2

    def __init__(self, smallest_log_scale: float = -16.0) -> None:
        self.smallest_log_scale = smallest_log_scale

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and the logarithms of the deviations, each `(batch, time)`."""
        return output[:, 0], output[:, 1].clamp(self.smallest_log_scale, -2 * self.smallest_log_scale)

    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        mean, log_scale = self.split(output.float())
        standardised = (audio[:, 0] - mean) * torch.exp(-log_scale)
        return 0.5 * math.log(2 * math.pi) + log_scale + 0.5 * standardised.square()

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        mean, log_scale = self.split(output)
        sharpness = torch.exp(-log_scale)
        lower, upper = (lower - mean) * sharpness, (upper - mean) * sharpness
        # In the lower tail both probabilities are small, and their difference is exact.
        mirrored = lower > 0
        lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
        below, above = torch.special.log_ndtr(lower), torch.special.log_ndtr(upper)
        integral = above + torch.log(-torch.expm1(below - above))
        # Of ends that nearly meet, the difference would be lost in rounding.
        width, middle = upper - lower, (lower + upper) / 2
        density = width.log() - 0.5 * (middle.square() + math.log(2 * math.pi))
        return torch.where(width < 1e-5, density, integral)

    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        mean, log_scale = self.split(output.float())
        quantile = self.quantile(uniforms[:, 0])
        return (mean + temperature * log_scale.exp() * quantile).clamp(-1, 1).unsqueeze(1)

    @staticmethod
    def quantile(uniforms: Tensor) -> Tensor:
        """Return the standard normal's values below which it is with these probabilities."""
        return torch.special.ndtri(uniforms.clamp(1e-7, 1 - 1e-7))
