"""WaveNet one sample at a time, as plainly as it can be said."""

from collections import deque

import torch
from torch import Tensor
from torch.nn.functional import linear

from framework.generators.wavenet.network import WaveNetNetwork
from framework.losses.likelihood import Distribution
from framework.progress import progress


class WaveNetQueue:
    """One sample at a time: each layer remembers the inputs its next convolution needs (Paine et al., 2016).

    The outputs are those of `predict` on all the inputs so far, at the cost of one. This is the obvious
    implementation, which the fast ones are held against.

    Args:
        network: The network; its weights are read once.
        batch: How many sequences.
        label: Embedded labels `(batch, label, 1)`.
    """

    def __init__(self, network: WaveNetNetwork, batch: int, label: Tensor | None = None) -> None:
        self.network, self.label = network, label
        silence = network.first_conv.weight.new_zeros(batch, network.first_conv.out_channels)
        self.pasts = [deque([silence] * (layer.reach + 1), maxlen=layer.reach + 1) for layer in network.layers]
        self.weights = [layer.conv.weight.unbind(-1) for layer in network.layers]

    def step(self, inputs: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the distribution's parameters `(batch, out)` after one more input.

        Args:
            inputs: Audio `(batch, 1, 1)` or levels int64 `(batch, 1)`.
            condition: The upsampled mel `(batch, mels, 1)` at this sample.
        """
        network = self.network
        hidden = network.first(inputs)
        skips: Tensor | float = 0.0
        for layer, past, weights in zip(network.layers, self.pasts, self.weights, strict=True):
            past.append(hidden[..., 0])
            taps = [linear(past[k * layer.dilation], weight) for k, weight in enumerate(weights)]
            gates = (torch.stack(taps).sum(0) + layer.conv.bias).unsqueeze(-1)
            if layer.condition is not None:
                gates = gates + layer.condition(condition)
            if layer.label is not None:
                gates = gates + layer.label(self.label)
            activation = layer.activate(gates)
            if layer.skip is not None:
                skips = skips + layer.skip(activation)
            hidden = (hidden + layer.residual(activation)) * network.residual_scale
        return network.last(skips * network.skip_scale if isinstance(skips, Tensor) else hidden)[..., 0]


@torch.no_grad()
def sample_by_queue(
    network: WaveNetNetwork,
    distribution: Distribution,
    uniforms: Tensor,
    condition: Tensor | None = None,
    label: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Sample audio `(batch, 1, time)` from silence on, each sample drawn from what those before it predict.

    Args:
        network: The network.
        distribution: The distribution whose parameters the network gives.
        uniforms: Random numbers in [0, 1) `(batch, distribution.uniforms, time)` that determine the draws.
        condition: Upsampled mel `(batch, mels, time)`.
        label: Embedded labels `(batch, label, 1)`.
        temperature: The temperature of the draws.
    """
    queue = WaveNetQueue(network, len(uniforms), label)
    audio = uniforms.new_zeros(len(uniforms), 1, uniforms.shape[-1] + 1)
    for t in progress(range(uniforms.shape[-1]), "sampling", unit="samples"):
        now = None if condition is None else condition[..., t : t + 1]
        output = queue.step(distribution.inputs(audio[..., t : t + 1]), now)
        audio[..., t + 1 : t + 2] = distribution.sample(output[..., None], uniforms[..., t : t + 1], temperature)
    return audio[..., 1:]
