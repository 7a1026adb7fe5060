"""WaveNet's network against official numbers, and its one-sample-at-a-time form against the whole."""

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.generators.wavenet.network import WaveNetNetwork
from framework.generators.wavenet.queue import WaveNetQueue, sample_by_queue
from framework.inference.layers import remove_weight_norm
from framework.losses.likelihood import Gaussian, LogisticMixture, MuLawSoftmax
from framework.runs.importers import load_official

R9Y9 = {"kernel": 3, "residual_channels": 128, "gate_channels": 256, "skip_channels": 128, "n_mels": 80}
R9Y9 |= {"scaled": True, "normed": True}
CYCLES_OF_10 = tuple(2**i for i in range(10)) * 3
CYCLES_OF_6 = tuple(2**i for i in range(6)) * 4


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "trained", "folded", "field"),
    [
        ("wavenet_mulaw256", (256, 256, CYCLES_OF_10), 4_699_944, 4_676_388, 6139),
        ("wavenet_gaussian", (1, 2, CYCLES_OF_6), 3_717_292, 3_698_598, 505),
    ],
)
@torch.no_grad()
def test_vocoders_equal_official_before_and_after_folding(name, arguments, trained, folded, field):
    reference = load_reference(name)
    network = WaveNetNetwork(*arguments, **R9Y9)
    assert (parameters(network), network.receptive_field, network.hop_length) == (trained, field, 256)
    load_official(network, {"state_dict": official_state(reference["keys"]), "global_step": torch.tensor(0)})
    # Kept are all outputs, or every eighth.
    every = reference["x"].shape[-1] // reference["out"].shape[-1]
    for _ in range(2):
        output = network(reference["x"], reference["c"])
        torch.testing.assert_close(output[..., ::every], reference["out"], atol=1e-5, rtol=0)
        remove_weight_norm(network)
    assert parameters(network) == folded
    assert not any("parametrizations" in name for name in network.state_dict())


@torch.no_grad()
def test_global_condition_equals_official():
    reference = load_reference("wavenet_small_global")
    cycle = tuple(2**i for i in range(4)) * 2
    network = WaveNetNetwork(256, 256, cycle, 2, 32, 64, 32, num_classes=4, label_channels=16, scaled=True, normed=True)
    load_official(network, {"state_dict": official_state(reference["keys"])})
    output = network(reference["idx"], labels=reference["g"][:, 0])
    torch.testing.assert_close(output, reference["out"], atol=1e-5, rtol=0)
    assert parameters(network) == 78_016
    assert parameters(remove_weight_norm(network)) == 76_160


def test_sizes():
    assert parameters(WaveNetNetwork(1, 30, CYCLES_OF_6, **R9Y9)) == 3_720_932
    paper = WaveNetNetwork(256, 256)
    assert (parameters(paper), paper.receptive_field) == (1_267_392, 3070)
    assert parameters(WaveNetNetwork(256, 256, tuple(2**i for i in range(10)) * 4)) == 1_640_512


SMALL = [
    {"in_channels": 256, "dilations": (1, 2, 4, 1, 2)},
    {"in_channels": 1, "dilations": (1, 3, 2), "kernel": 3, "scaled": True, "normed": True},
    {"in_channels": 1, "dilations": (4, 2, 1), "n_mels": 5, "upsample_scales": (2, 3), "context": 1, "normed": True},
    {"in_channels": 256, "dilations": (1, 8), "num_classes": 3, "label_channels": 4, "scaled": True},
    {"in_channels": 1, "dilations": (2, 1), "n_mels": 4, "upsample_scales": (4,), "num_classes": 2, "gated": False},
    {"in_channels": 256, "dilations": (1, 2, 4), "skip_channels": 0, "scaled": True},
    {"in_channels": 1, "dilations": (1, 1), "kernel": 1},
]


def build(arguments, batch=2, time=24, dtype=torch.float32):
    """Return a small network with inputs, mel and labels for it."""
    torch.manual_seed(0)
    small = {"out_channels": 6, "residual_channels": 8, "gate_channels": 12, "skip_channels": 10}
    network = WaveNetNetwork(**small | arguments).to(dtype)
    levels = network.in_channels > 1
    inputs = torch.randint(256, (batch, time)) if levels else 0.3 * torch.randn(batch, 1, time, dtype=dtype)
    mel = labels = None
    if network.upsampling:
        frames = time // network.hop_length + 2 * network.upsampling.context
        mel = torch.randn(batch, arguments["n_mels"], frames, dtype=dtype)
    if network.embedding:
        labels = torch.randint(arguments["num_classes"], (batch,))
    return network, inputs, mel, labels


@pytest.mark.parametrize("arguments", SMALL)
def test_outputs_see_exactly_the_receptive_field_and_nothing_later(arguments):
    network, inputs, mel, labels = build(arguments, batch=1, dtype=torch.double)
    if inputs.dtype == torch.int64:
        inputs = torch.nn.functional.one_hot(inputs, 256).transpose(1, 2).double()
    inputs.requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs, mel, labels)[..., 20].sum(), inputs)
    seen = gradient[0].abs().sum(0).nonzero().flatten().tolist()
    assert (min(seen), max(seen)) == (21 - network.receptive_field, 20)


@pytest.mark.parametrize("arguments", SMALL)
@torch.no_grad()
def test_queue_equals_whole(arguments):
    network, inputs, mel, labels = build(arguments)
    whole, condition = network(inputs, mel, labels), network.upsample(mel)
    queue = WaveNetQueue(network, 2, network.embed(labels))
    steps = [
        queue.step(inputs[..., t : t + 1], None if condition is None else condition[..., t : t + 1]) for t in range(24)
    ]
    torch.testing.assert_close(torch.stack(steps, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("distribution", [MuLawSoftmax(), LogisticMixture(2), Gaussian()])
@torch.no_grad()
def test_samples_are_drawn_from_what_teacher_forcing_predicts(distribution):
    network, *_ = build({"in_channels": distribution.in_channels, "out_channels": distribution.parameters})
    uniforms = torch.rand(2, distribution.uniforms, 24)
    audio = sample_by_queue(network, distribution, uniforms, temperature=0.9)
    past = distribution.inputs(torch.nn.functional.pad(audio, (1, 0))[..., :-1])
    torch.testing.assert_close(distribution.sample(network(past), uniforms, 0.9), audio, atol=1e-5, rtol=0)
    # A sequence does not hear the others of its batch.
    alone = sample_by_queue(network, distribution, uniforms[1:], temperature=0.9)
    torch.testing.assert_close(alone, audio[1:], atol=1e-4, rtol=0)


@torch.no_grad()
def test_levels_stand_for_one_hot_channels():
    network, levels, *_ = build(SMALL[0])
    one_hot = torch.nn.functional.one_hot(levels, 256).transpose(1, 2).float()
    torch.testing.assert_close(network(levels), network(one_hot), atol=1e-6, rtol=0)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="layers and gates to halve, not 0 and 128"):
        WaveNetNetwork(1, 2, ())
