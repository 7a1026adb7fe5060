import torch
from reference.weights import load_reference

from framework.audio.mu_law import boundaries, decode, encode


def test_levels_equal_official():
    reference = load_reference("mulaw256")
    assert torch.equal(encode(reference["x"]), reference["enc"])
    torch.testing.assert_close(decode(reference["enc"]), reference["dec"], atol=1e-6, rtol=0)


def test_every_level_survives_and_silence_is_128():
    for levels in (2, 256, 1024):
        level = torch.arange(levels)
        assert torch.equal(encode(decode(level, levels), levels), level)
    assert encode(torch.tensor([0.0, -2.0, 2.0])).tolist() == [128, 0, 255]


def test_boundaries_are_where_the_level_changes():
    lower, upper = boundaries(torch.arange(256))
    assert (lower[0], upper[-1]) == (-torch.inf, torch.inf)
    assert torch.equal(lower[1:], upper[:-1])
    assert encode(lower[1:] + 1e-5).tolist() == list(range(1, 256))
    assert encode(lower[1:] - 1e-5).tolist() == list(range(255))
