"""WaveNet's sampling step in PyTorch, where nothing can be compiled."""

import torch
from torch import Tensor

from framework.audio.mu_law import decode
from framework.generators.wavenet.weights import SamplingWeights
from framework.losses.likelihood import Distribution, MuLawSoftmax, choose


class EagerSteps:
    """Streams that are sampled in as few operations as it takes: four a layer.

    sigmoid(x) = (1 + tanh(x / 2)) / 2 makes filter and gate one tanh; the factors are in the weights. A one behind the
    activations makes the residual path's bias a row of its matrix.

    Args:
        weights: Weights of the network.
        distribution: What its outputs are parameters of.
        bias: Biases of the streams `(batch, layers, gates)`.
        initial: First input of the streams: levels int64, or samples, `(batch,)`.
    """

    def __init__(self, weights: SamplingWeights, distribution: Distribution, bias: Tensor, initial: Tensor) -> None:
        self.weights, self.distribution, self.value = weights, distribution, initial
        layers, taps, residual, gates = weights.past.shape
        batch, units = len(bias), weights.residual.shape[1]
        self.scale = torch.ones(gates)
        if weights.gated:
            self.scale[units:] = 0.5
        halved = 0.5 if weights.gated else 1.0
        self.past = (weights.past * self.scale).view(layers, taps * residual, gates)
        self.current = list(weights.current * self.scale)
        self.bias = (bias * self.scale).transpose(0, 1).contiguous()
        self.residual = list(torch.cat([weights.residual * halved, weights.residual_bias.unsqueeze(1)], dim=1))
        self.skip = (weights.skip * halved).flatten(0, 1)

        # Layer i looks back on slots first_slot[i] ... first_slot[i] + length[i] - 1 of one common memory.
        dilations = weights.dilations.long()
        self.length = (dilations * taps).clamp(min=1)
        self.first_slot = self.length.cumsum(0) - self.length
        self.lag = dilations.unsqueeze(1) * torch.arange(taps)
        self.memory = torch.zeros(int(self.length.sum()), batch, residual)
        self.time = 0

        self.hidden = torch.zeros(layers + 1, batch, residual)
        self.ahead = torch.zeros(layers, batch, gates)
        self.gates = torch.zeros(batch, gates)
        self.units = torch.ones(layers, batch, units + 1)
        # Views are made once: making one takes as long as a small product.
        self.hiddens, self.aheads, self.activations = list(self.hidden), list(self.ahead), list(self.units)
        self.outs = [activation[:, :units] for activation in self.activations]
        self.filter, self.gate = self.gates[:, :units], self.gates[:, units:]

    def run(
        self,
        uniforms: Tensor,
        temperature: float,
        condition: Tensor | None = None,
        forced: Tensor | None = None,
        parameters: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Sample on from where the last run ended.

        Args:
            uniforms: `(batch, uniforms, time)`.
            temperature: The temperature of the draws.
            condition: Upsampled mel `(batch, mels, time)`.
            forced: Levels or samples `(batch, time)` to go on from in place of those drawn.
            parameters: Whether to return the distributions' parameters too.

        Returns:
            Audio `(batch, time)`, and the parameters `(batch, out, time)` or None.
        """
        now = torch.arange(self.time, self.time + uniforms.shape[-1]).unsqueeze(1)
        writes = self.first_slot + now % self.length
        reads = (self.first_slot.unsqueeze(1) + (now.unsqueeze(-1) + self.lag) % self.length.unsqueeze(1)).flatten(1)
        self.time += len(now)
        projected = None if condition is None else self.project(condition)
        audio, outputs = [], []
        for t, (read, write) in enumerate(zip(reads, writes, strict=True)):
            output = self.step(read, write, None if projected is None else projected[t])
            drawn, following = self.draw(output, uniforms[..., t], temperature)
            audio.append(drawn)
            if parameters:
                outputs.append(output)
            self.value = following if forced is None else forced[:, t]
        drawn = torch.stack(audio, dim=-1)
        if self.is_levels:
            drawn = decode(drawn, len(self.weights.first))
        return drawn, torch.stack(outputs, dim=-1) if parameters else None

    def project(self, condition: Tensor) -> Tensor:
        """Return what a condition `(batch, mels, time)` adds to the gates, `(time, layers, batch, gates)`."""
        assert self.weights.condition is not None
        projected = condition.permute(2, 0, 1) @ self.weights.condition
        return projected.unflatten(-1, (self.weights.layers, -1)).transpose(1, 2) * self.scale

    def step(self, read: Tensor, write: Tensor, projected: Tensor | None) -> Tensor:
        """Return the parameters `(batch, out)` of the next sample."""
        w = self.weights
        self.look_back(read, projected)
        if len(w.first) > 1:
            torch.add(w.first[self.value], w.first_bias, out=self.hiddens[0])
        else:
            torch.addcmul(w.first_bias, self.value.unsqueeze(1), w.first, out=self.hiddens[0])
        for i in range(w.layers):
            hidden, activation = self.hiddens[i], self.activations[i]
            torch.addmm(self.aheads[i], hidden, self.current[i], out=self.gates)
            if w.gated:
                self.gates.tanh_()
                torch.addcmul(self.filter, self.filter, self.gate, out=self.outs[i])
            else:
                torch.clamp(self.gates, min=0, out=self.outs[i])
            torch.addmm(hidden, activation, self.residual[i], beta=w.residual_scale, out=self.hiddens[i + 1])
        self.memory.index_copy_(0, write, self.hidden[:-1])
        return self.last()

    def look_back(self, read: Tensor, projected: Tensor | None) -> None:
        """Compute what all layers' past inputs, and the condition, add to the gates."""
        layers, taps, residual, _ = self.weights.past.shape
        past = self.memory.index_select(0, read)
        if taps > 1:
            past = past.view(layers, taps, -1, residual).transpose(1, 2).flatten(2)
        elif taps == 0:
            past = past.new_zeros(layers, self.memory.shape[1], 0)
        torch.baddbmm(self.bias, past, self.past, out=self.ahead)
        if projected is not None:
            self.ahead += projected

    def last(self) -> Tensor:
        """Return the last convolutions of the skip paths, or of the last layer where there are none."""
        w = self.weights
        summed = self.hiddens[-1]
        if len(w.skip_bias):
            flat = torch.stack(self.outs, dim=1).flatten(1)
            summed = torch.addmm(w.skip_bias, flat, self.skip) * w.skip_scale
        for bias, matrix in zip(w.last_bias, w.last, strict=True):
            summed = torch.addmm(bias, summed.relu(), matrix)
        return summed[:, : w.outputs]

    @property
    def is_levels(self) -> bool:
        """Whether levels are drawn, which need not become audio to be the next inputs."""
        return type(self.distribution) is MuLawSoftmax

    def draw(self, output: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return what is drawn by `(batch, uniforms)`, levels or audio `(batch,)`, and the next input."""
        if self.is_levels:
            level = choose(output.unsqueeze(-1), uniforms, temperature)[:, 0]
            return level, level
        audio = self.distribution.sample(output.unsqueeze(-1), uniforms.unsqueeze(-1), temperature)
        return audio[:, 0, 0], self.distribution.inputs(audio).reshape(-1)
