"""Output distributions of autoregressive networks: negative log-likelihood and sampling."""

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
"""Quantisation levels of mu-law audio; bits per sample of every distribution refer to these."""

OPEN = 1e20
"""Outer edge of the outermost bins: large enough for any scale; unlike with infinity, its gradient is 0, not NaN."""


class Distribution(ABC):
    """Distribution of each sample given the samples before it, with parameters that a network predicts.

    Training minimises `nll`, whose definition differs between distributions. `level_nll` can be compared between them:
    it is the negative log-probability (nats) of the sample's mu-law level among 256, the integral of the density over
    that level's range.
    """

    in_channels: int
    """Channels of the network's input."""
    parameters: int
    """Channels of the network's output."""
    uniforms: ClassVar[int] = 1
    """Number of uniform random numbers that drawing one sample takes."""

    def inputs(self, audio: Tensor) -> Tensor:
        """Convert audio `(batch, 1, time)` to the network's input."""
        return audio

    @abstractmethod
    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        """Return the negative log-likelihood `(batch, time)` in nats, as float32 for every type of `output`.

        Args:
            output: Parameters `(batch, parameters, time)`.
            audio: Audio `(batch, 1, time)` in [-1, 1].
        """

    def level_nll(self, output: Tensor, audio: Tensor) -> Tensor:
        """Return -ln P of each sample's mu-law level `(batch, time)`, rounded as in `framework.audio.mu_law`."""
        lower, upper = boundaries(encode(audio[:, 0], LEVELS), LEVELS)
        return -self.log_interval(output.double(), lower, upper).float()

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return ln P(lower < sample < upper) `(batch, time)`; bounds may be infinite; gradients are not supported."""
        raise NotImplementedError(f"{type(self).__name__} has no density to integrate")

    @abstractmethod
    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        """Draw audio `(batch, 1, time)` in [-1, 1].

        Args:
            output: Parameters `(batch, parameters, time)`.
            uniforms: Random numbers in [0, 1) `(batch, self.uniforms, time)`, which determine the draw.
            temperature: Values below 1 favour likely samples; 0 returns the most likely one.
        """


def choose(logits: Tensor, uniforms: Tensor, temperature: float) -> Tensor:
    """Sample an index `(batch, time)` from logits `(batch, choices, time)` with the inverse distribution function."""
    logits = logits.float()
    peaked = (logits - logits.amax(1, keepdim=True)) / max(temperature, 1e-6)
    cumulative = peaked.softmax(1).cumsum(1)
    # With rounding, the probabilities may sum to less than 1.
    threshold = uniforms[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(1).clamp(max=logits.shape[1] - 1)


class MuLawSoftmax(Distribution):
    """Softmax over the 256 levels of mu-law audio (van den Oord et al., 2016, section 2.2)."""

    in_channels = LEVELS
    parameters = LEVELS

    def inputs(self, audio: Tensor) -> Tensor:
        """Return the levels as int64 `(batch, time)`; the network looks them up instead of taking one-hot channels."""
        return encode(audio[:, 0], LEVELS)

    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        return cross_entropy(output.float(), encode(audio[:, 0], LEVELS), reduction="none")

    def level_nll(self, output: Tensor, audio: Tensor) -> Tensor:
        return self.nll(output, audio)

    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        return decode(choose(output, uniforms[:, 0], temperature), LEVELS).unsqueeze(1)


class LogisticMixture(Distribution):
    """Discretised mixture of logistics (Salimans et al., 2017, PixelCNN++, section 2.1) over 16 bit audio.

    The network predicts the logits, means and log scales of the components. The probability of a bin is computed
    exactly, with sigma(b) - sigma(a) = (1 - exp(a - b)) sigma(b) sigma(-a); the official code falls back to the density
    if it is small.

    Args:
        mixtures: Number of components.
        levels: Number of evenly spaced levels from -1 to 1; the likelihood is that of the bin around a sample.
        smallest_log_scale: Lower bound of the log scales.
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
        """Return logits, means and log scales, each `(batch, mixtures, time)`."""
        logits, means, log_scales = output.chunk(3, dim=1)
        return logits, means, log_scales.clamp(self.smallest_log_scale, -2 * self.smallest_log_scale)

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Return ln P(lower < sample < upper) `(batch, time)`; differentiable if the bounds are finite."""
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
        """Return the quantiles of the standard logistic distribution at these probabilities."""
        # The official code's limits: the outer 1e-5 of each tail is not drawn.
        return uniforms.clamp(1e-5, 1 - 1e-5).logit()


class Gaussian(Distribution):
    """Gaussian with predicted mean and log standard deviation (ClariNet: Ping et al., 2018); `nll` is of the density.

    Args:
        smallest_log_scale: Lower bound of the log standard deviation.
    """

    in_channels = 1
    parameters = 2

    def __init__(self, smallest_log_scale: float = -16.0) -> None:
        self.smallest_log_scale = smallest_log_scale

    def split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and the log standard deviations, each `(batch, time)`."""
        return output[:, 0], output[:, 1].clamp(self.smallest_log_scale, -2 * self.smallest_log_scale)

    def nll(self, output: Tensor, audio: Tensor) -> Tensor:
        mean, log_scale = self.split(output.float())
        standardised = (audio[:, 0] - mean) * torch.exp(-log_scale)
        return 0.5 * math.log(2 * math.pi) + log_scale + 0.5 * standardised.square()

    def log_interval(self, output: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        mean, log_scale = self.split(output)
        sharpness = torch.exp(-log_scale)
        lower, upper = (lower - mean) * sharpness, (upper - mean) * sharpness
        # Mirrored into the lower tail, where both probabilities are small and their difference is accurate.
        mirrored = lower > 0
        lower, upper = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
        below, above = torch.special.log_ndtr(lower), torch.special.log_ndtr(upper)
        integral = above + torch.log(-torch.expm1(below - above))
        # For bounds that are close together, the difference would cancel.
        width, middle = upper - lower, (lower + upper) / 2
        density = width.log() - 0.5 * (middle.square() + math.log(2 * math.pi))
        return torch.where(width < 1e-5, density, integral)

    def sample(self, output: Tensor, uniforms: Tensor, temperature: float = 1.0) -> Tensor:
        mean, log_scale = self.split(output.float())
        quantile = self.quantile(uniforms[:, 0])
        return (mean + temperature * log_scale.exp() * quantile).clamp(-1, 1).unsqueeze(1)

    @staticmethod
    def quantile(uniforms: Tensor) -> Tensor:
        """Return the quantiles of the standard normal distribution at these probabilities."""
        return torch.special.ndtri(uniforms.clamp(1e-7, 1 - 1e-7))
