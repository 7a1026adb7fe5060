"""The U-Net of whole-song generation against the numbers of its official implementation."""

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.generators.wholesong.networks import SegmentEncoder, WholeSongNetwork
from framework.generators.wholesong.unet import UNet
from framework.runs.importers import load_official

# Channels of the image, of what is noisy, rows of the earlier segments and of a token, width of a token, and weights.
LEVELS = {
    "frm": (8, 8, 0, 0, 12, 38_273_288),
    "ctp": (10, 2, 108, 4, 128, 38_924_290 + 1_246_378),
    "lsh": (12, 2, 136, 8, 256, 39_646_338 + 1_927_698),
    "acc": (14, 2, 136, 8, 256, 39_647_490 + 1_928_058),
}


def official_network(level):
    inputs, outputs, time, rows, width, _ = LEVELS[level]
    segments = SegmentEncoder(inputs, time, 128, rows, width) if time else None
    return WholeSongNetwork(UNet(inputs, outputs, tokens=width), segments, width)


@pytest.mark.parametrize("level", LEVELS)
def test_published_sizes(level):
    with torch.device("meta"):
        assert sum(p.numel() for p in official_network(level).parameters()) == LEVELS[level][-1]


@torch.no_grad()
@pytest.mark.parametrize("level", ["frm", "acc"])
def test_network_equals_the_official_one(level):
    reference = load_reference(f"wholesong_{level}")
    network = official_network(level)
    state = {f"ldm.{name}": value for name, value in official_state(reference["keys"]).items()}
    load_official(network, {"step": 0, "epoch": 0, "model": state, "optimizer": {}})
    seen = network.eps_model(reference["x"], reference["t"], reference["cond"])
    torch.testing.assert_close(seen, reference["out"], atol=1e-5, rtol=0)
    image, background = reference["x"].tensor_split([LEVELS[level][1]], dim=1)
    unconditional = network(image, reference["t"], background)
    torch.testing.assert_close(unconditional, reference["out_null_cond"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_token_sees_its_rows_of_both_maps_one_after_the_other():
    encoder = SegmentEncoder(3, time=12, pitch=5, rows=4, width=7)
    segments = torch.randn(2, 3, 12, 5)
    maps = encoder.layers(segments)
    for token in range(3):
        rows = torch.cat([maps[:, channel, 4 * token : 4 * token + 4].flatten(1) for channel in range(2)], dim=1)
        expected = rows @ encoder.squeeze.weight.T + encoder.squeeze.bias + encoder.pos_enc.weight[token]
        torch.testing.assert_close(encoder(segments)[:, token], expected)


def test_older_checkpoints_have_other_names():
    network = WholeSongNetwork(UNet(2, 2, channels=4, multipliers=(1,), tokens=3), None, 3)
    assert network.official_names("ldm.cond_enc.squeeze.bias") == "autoreg_cond_enc.squeeze.bias"
    assert network.official_names("ldm.style_enc.weight") == network.official_names("ldm.sigma2") == ""
