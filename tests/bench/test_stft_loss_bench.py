"""The bench of the STFT loss holds its contest, and notices a loss whose value or gradient is another."""

import pytest
import torch

from framework.bench import stft_loss
from framework.bench.harness import BenchError, hold


def test_contest_is_held(monkeypatch):
    monkeypatch.setattr(stft_loss, "SIZES", ((1, 4096),))
    (contest,) = stft_loss.contests({})
    result = hold(contest, rounds=1, seconds=0.0)
    assert [row.name for row in result.rows] == ["auraloss", "torch.stft and autograd", "ours"]
    assert "gradients' errors" in result.checked


@pytest.mark.parametrize(
    ("wrong", "complaint"), [(lambda x: 1.0001 * x, "a value"), (lambda x: x.detach() + 0 * x, "gradient")]
)
def test_another_loss_is_found_out(wrong, complaint):
    real = 0.1 * torch.randn(1, 1, 4096)
    losses = {"auraloss": stft_loss.peer(), "other": lambda f, r: wrong(stft_loss.written_out(f, r))}
    with pytest.raises(BenchError, match=f"other.*{complaint}"):
        stft_loss.check(losses, 0.5 * real + 0.01, real)
