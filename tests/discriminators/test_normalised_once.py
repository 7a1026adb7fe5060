"""Passes that share normalised weights."""

import copy

import torch

from framework.discriminators.base import normalised_once
from framework.discriminators.multi_scale import MultiScaleDiscriminator


def passes(network, audio):
    """Return the logits of two passes, and the gradients of both."""
    logits = [t for _ in range(2) for t in network(audio)[0]]
    sum(t.square().mean() for t in logits).backward()
    return logits, [p.grad for p in network.parameters()]


def test_weights_are_normalised_once_and_spectral_norms_iterate_at_every_pass():
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(2, (8, 8, 8, 8, 8, 8, 8), (1, 1, 1, 1, 1, 1, 1))
    plain, audio, calls = copy.deepcopy(network), torch.randn(2, 1, 500), [0, 0]
    for scale, discriminator in enumerate(network.discriminators):
        norm = discriminator.convs[0].parametrizations.weight[0]
        norm.register_forward_hook(lambda *_, scale=scale: calls.__setitem__(scale, calls[scale] + 1))
    expected = passes(plain, audio)
    with normalised_once(network):
        found = passes(network, audio)
    assert calls == [2, 1]
    for own, right in zip([*found[0], *found[1]], [*expected[0], *expected[1]], strict=True):
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-6)
    for own, right in zip(network.buffers(), plain.buffers(), strict=True):
        assert torch.equal(own, right)
    weight = network.discriminators[1].convs[0].parametrizations.weight
    with torch.no_grad():
        weight.original0.mul_(2)
    assert torch.equal(network.discriminators[1].convs[0].weight, weight())
    assert network(audio)[0][1].ne(found[0][1]).any()
