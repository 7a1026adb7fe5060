"""Networks with states and strides piece by piece: what they make of the whole, wherever the pieces are cut."""

import pytest
import torch
from torch import nn

from framework.generators.codecs.streaming import reach, stream


@torch.no_grad()
@pytest.mark.parametrize("piece", [1, 33, 50])
@pytest.mark.parametrize(("strides", "aligned"), [((2, 2), 2), ((2, 3), 2), ((3, 2), 3), ((6, 4), 6)])
def test_strides_inside_a_network_begin_with_its_pieces(strides, aligned, piece):
    torch.manual_seed(0)
    down, up = strides
    layers = nn.Sequential(
        nn.Conv1d(1, 4, 2 * down, stride=down, padding=1),
        nn.Conv1d(4, 4, 3, padding=1),
        nn.ConvTranspose1d(4, 1, 2 * up, stride=up, padding=1),
    )
    signal = torch.randn(1, 1, 301)
    assert reach(layers)[2] == aligned
    audio = torch.cat(list(stream(layers, signal.split(piece, dim=-1))), dim=-1)
    torch.testing.assert_close(audio, layers(signal), atol=1e-6, rtol=0)
