"""Sampling in constant work per sample, compiled and in PyTorch, held against the whole network."""

import threading

import pytest
import torch
from torch.nn.functional import pad

from framework.audio.mu_law import encode
from framework.generators.wavenet import sampling as wavenet_sampling
from framework.generators.wavenet.network import WaveNetNetwork
from framework.generators.wavenet.queue import sample_by_queue
from framework.generators.wavenet.sampling import cached_outputs, sample
from framework.losses.likelihood import Gaussian, LogisticMixture, MuLawSoftmax
from framework.native.build import BuildError, find_compiler


class Halved(MuLawSoftmax):
    """A distribution that the compiled step knows nothing of."""

    def sample(self, output, uniforms, temperature=1.0):
        return super().sample(output, uniforms, temperature) / 2


MEL = {"n_mels": 5, "upsample_scales": (4, 2)}
CONFIGURATIONS = {
    "paper": {"dilations": (1, 2, 4, 8, 16, 1, 2), "gate_channels": 48, "skip_channels": 40},
    "r9y9": {"dilations": (1, 2, 4) * 2, "kernel": 3, "scaled": True, "normed": True} | MEL,
    "ungated": {"dilations": (1, 2, 4), "gated": False, "num_classes": 3, "skip_channels": 70},
    "no skip": {"dilations": (1, 3, 5, 20), "kernel": 3, "skip_channels": 0, "num_classes": 3} | MEL,
    "one tap": {"dilations": (1, 2), "kernel": 1},
}
DISTRIBUTIONS = [MuLawSoftmax(), LogisticMixture(3), Gaussian()]


@pytest.fixture(params=["compiled", "eager"])
def step(request, monkeypatch, tmp_path_factory):
    """Each test goes through both steps; what is compiled is kept for the session."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("OSTINATO_CACHE", str(folder))
    monkeypatch.setenv("OSTINATO_NATIVE", "0" if request.param == "eager" else "1")
    if request.param == "compiled":
        try:
            find_compiler()
        except BuildError as error:
            pytest.skip(str(error))
        assert wavenet_sampling.library("wavenet") is not None
    return request.param


def build(distribution, **values):
    """Return a network whose biases matter too."""
    torch.manual_seed(0)
    values = {"residual_channels": 24, "gate_channels": 40, "skip_channels": 16} | values
    network = WaveNetNetwork(distribution.in_channels, distribution.parameters, **values).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return network


def conditions(network, batch, time):
    condition = {}
    if network.upsampling is not None:
        frames = -(-time // network.hop_length) + 2 * network.upsampling.context
        condition["mel"] = torch.randn(batch, network.upsampling.conv_in.in_channels, frames)
    if network.embedding is not None:
        condition["labels"] = torch.arange(batch) % network.embedding.num_embeddings
    return condition


def whole(network, distribution, audio, **condition):
    """Return the outputs of the whole network on the true past."""
    with torch.no_grad():
        return network(distribution.inputs(pad(audio, (1, 0))[..., :-1]), **condition)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("values", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_outputs_are_those_of_the_whole_network(step, values, distribution, monkeypatch):
    monkeypatch.setattr(wavenet_sampling, "PIECE", 37)
    network = build(distribution, **values)
    for batch in (1, 3):
        audio = 1.6 * torch.rand(batch, 1, 130) - 0.8
        condition = conditions(network, batch, 130)
        wanted = whole(network, distribution, audio, **condition)
        outputs = cached_outputs(network, distribution, audio, **condition)
        torch.testing.assert_close(outputs, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, Halved()], ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_each_sample_is_drawn_from_what_the_whole_network_says_of_its_past(step, distribution, temperature):
    network = build(distribution, **CONFIGURATIONS["r9y9"])
    uniforms = torch.rand(3, distribution.uniforms, 100)
    condition = conditions(network, 3, 100)
    audio = sample(network, distribution, uniforms, temperature=temperature, **condition)
    drawn = distribution.sample(whole(network, distribution, audio, **condition), uniforms, temperature)
    torch.testing.assert_close(audio, drawn, rtol=0, atol=1e-4)
    assert audio.std() > 1e-3


def test_mu_law_samples_are_those_of_the_obvious_implementation(step):
    distribution = MuLawSoftmax()
    network = build(distribution, **CONFIGURATIONS["paper"])
    uniforms = torch.rand(2, 1, 300)
    wanted = sample_by_queue(network, distribution, uniforms, temperature=0.9)
    assert torch.equal(encode(sample(network, distribution, uniforms, temperature=0.9)), encode(wanted))


def test_a_stream_does_not_depend_on_its_neighbours_threads_or_pieces(step, monkeypatch):
    distribution = MuLawSoftmax()
    network = build(distribution, **CONFIGURATIONS["r9y9"])
    condition, uniforms = conditions(network, 5, 90), torch.rand(5, 1, 90)
    together = sample(network, distribution, uniforms, **condition)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(wavenet_sampling, "PIECE", 13)
    done = []
    shared = sample(network, distribution, uniforms, **condition, progress=done.append)
    alone = sample(network, distribution, uniforms[4:], condition["mel"][4:])
    assert torch.equal(together, shared)
    assert torch.equal(together[4:], alone)
    assert done == [*range(13, 90, 13), 90]


def test_several_threads_sample_at_once(step):
    distribution = Gaussian()
    network = build(distribution, **CONFIGURATIONS["paper"])
    uniforms = torch.rand(4, 1, 1, 200)
    wanted = [sample(network, distribution, part) for part in uniforms]
    got: dict[int, torch.Tensor] = {}
    threads = [
        threading.Thread(target=lambda i=i: got.update({i: sample(network, distribution, uniforms[i])}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(got[i], wanted[i]) for i in range(4))


def test_weights_that_are_not_numbers_show(step):
    distribution = MuLawSoftmax()
    network = build(distribution, **CONFIGURATIONS["paper"])
    with torch.no_grad():
        network.layers[0].conv.bias.fill_(torch.nan)
    assert cached_outputs(network, distribution, torch.zeros(1, 1, 4)).isnan().all()
    assert sample(network, distribution, torch.rand(2, 1, 20)).shape == (2, 1, 20)


def test_nothing_to_sample(step):
    distribution = MuLawSoftmax()
    network = build(distribution, **CONFIGURATIONS["paper"])
    assert sample(network, distribution, torch.rand(2, 1, 0)).shape == (2, 1, 0)


def test_conditions_that_do_not_fit_are_refused():
    distribution = MuLawSoftmax()
    network = build(distribution, **CONFIGURATIONS["no skip"])
    condition = conditions(network, 2, 50)
    with pytest.raises(ValueError, match=r"takes \['mel', 'labels'\], given \['labels'\]"):
        sample(network, distribution, torch.rand(2, 1, 50), labels=condition["labels"])
    with pytest.raises(ValueError, match="lasts 56 samples, fewer than the 57"):
        sample(network, distribution, torch.rand(2, 1, 57), **condition)
    with pytest.raises(ValueError, match="1 streams need as many mel, not 2"):
        sample(network, distribution, torch.rand(1, 1, 50), **condition)
