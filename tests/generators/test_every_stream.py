"""Every decoder and vocoder, given its input in pieces, gives the samples of the whole in bounded memory."""

import gc
import random

import pytest
import torch

from framework.errors import InvalidValueError
from framework.generators.bigvgan import BigVGANGenerator
from framework.generators.codecs.dac import DACDecoder
from framework.generators.codecs.encodec import EncodecNetwork
from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator
from framework.generators.multi_band_melgan import MultiBandMelGANGenerator
from framework.generators.parallel_wavegan import ParallelWaveGANGenerator
from framework.generators.univnet import UnivNetGenerator
from framework.generators.vocos import (
    CosineHead,
    FourierHead,
    SymmetricExponentialHead,
    VocosBackbone,
    VocosDecoder,
    VocosNetwork,
)

CHANNELS, NOISE = 20, 6


def vocos(head, *sizes):
    return lambda: VocosNetwork(VocosBackbone(CHANNELS, 16, 24, 2), head(16, *sizes))


SHAPES = ((3,), ((1, 3),))
NETWORKS = {
    "hifigan": lambda: HiFiGANGenerator(CHANNELS, 16, (5, 2), (10, 4), 1, *SHAPES),
    "melgan": lambda: MelGANGenerator(CHANNELS, 8, (3, 2)),
    "multi_band_melgan": lambda: MultiBandMelGANGenerator(CHANNELS, 8, (3, 2), 2),
    "bigvgan": lambda: BigVGANGenerator(CHANNELS, 16, (4, 3), *SHAPES),
    "bigvgan_v2": lambda: BigVGANGenerator(CHANNELS, 16, (4, 3), *SHAPES, bounded=False),
    "bigvgan_without_filters": lambda: BigVGANGenerator(CHANNELS, 16, (4, 3), *SHAPES, antialiased=False),
    "univnet": lambda: UnivNetGenerator(CHANNELS, 4, NOISE, (4, 3), (1, 3)),
    "parallel_wavegan": lambda: ParallelWaveGANGenerator(CHANNELS, 4, 6, 2, (3, 2)),
    **{f"vocos_{padding}": vocos(FourierHead, 32, 8, padding) for padding in ("same", "center")},
    **{f"vocos_cosine_{padding}": vocos(CosineHead, 8, padding) for padding in ("same", "center")},
    **{f"vocos_symmetric_{padding}": vocos(SymmetricExponentialHead, 8, padding) for padding in ("same", "center")},
    "vocos_decoder": lambda: VocosDecoder(CHANNELS, 8, 16, 24, 2),
    "dac": lambda: DACDecoder(CHANNELS, 16, (4, 3)),
    "encodec": lambda: EncodecNetwork(4, (3, 2), CHANNELS, 1, 8, 1).decoder,
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def whole_of(network, signal, noise):
    noise = noise_of(network, noise)
    return network(signal) if noise is None else network(signal, noise)


def noise_of(network, noise):
    """Return the noise as a network takes it, None if it takes none."""
    if isinstance(network, ParallelWaveGANGenerator):
        return noise.transpose(1, 2).reshape(len(noise), 1, -1)
    return noise if isinstance(network, UnivNetGenerator) else None


def streamed(network, signal, noise, lengths):
    parts = [noise_of(network, part) for part in noise.split(lengths, dim=-1)]
    given = () if parts[0] is None else (parts,)
    return torch.cat(list(network.stream(signal.split(lengths, dim=-1), *given)), dim=-1)


def lengths_of(pattern, total):
    draw, lengths = random.Random(str(pattern)), []
    while sum(lengths) < total:
        lengths.append(min(draw.randint(0, pattern[1]) if pattern[0] == "random" else pattern[1], total - sum(lengths)))
    return lengths


HOP = 12
PATTERNS = [("equal", 1), ("equal", HOP - 1), ("equal", HOP), ("equal", HOP + 1), ("random", 3), ("random", 40)]


@torch.no_grad()
@pytest.mark.parametrize("native", ["1", "0"])
def test_pieces_of_any_length_give_the_samples_of_the_whole(network, native, monkeypatch):
    monkeypatch.setenv("OSTINATO_NATIVE", native)
    for total in (6, 67):
        signal, noise = torch.randn(2, CHANNELS, total), torch.randn(2, NOISE, total)
        whole = whole_of(network, signal, noise)
        for pattern in PATTERNS:
            audio = streamed(network, signal, noise, lengths_of(pattern, total))
            assert audio.shape == whole.shape
            # Compiled code adds in another order than PyTorch.
            torch.testing.assert_close(audio, whole, rtol=0, atol=3e-6 if native == "1" else 1e-6)


@torch.no_grad()
def test_what_a_stream_holds_does_not_grow(network):
    """Count the values of all tensors that the collector can reach, after many pieces and after many more."""
    given = (torch.randn(1, NOISE, 8) for _ in range(90)) if isinstance(network, UnivNetGenerator) else None
    pieces = (torch.randn(1, CHANNELS, 8) for _ in range(90))
    stream = network.stream(pieces, given) if given else network.stream(pieces)
    held = []
    for index, _ in enumerate(stream):
        if index in (30, 80):
            gc.collect()
            held.append(sum(o.numel() for o in gc.get_objects() if issubclass(type(o), torch.Tensor)))
    assert held[0] == held[1]


def test_pieces_of_other_channels_or_batches_are_refused(network):
    pieces = [torch.randn(1, CHANNELS, 8), torch.randn(2, CHANNELS, 8)]
    with pytest.raises((InvalidValueError, ValueError), match=r"a piece of shape \(2, .* follows one of \(1,"):
        list(network.stream(pieces))
