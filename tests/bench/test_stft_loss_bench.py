"""The benchmark of the STFT loss runs, and its check detects wrong values and gradients."""

import pytest
import torch

from framework.bench import stft_loss
from framework.bench.harness import BenchError, run_benchmark


def test_the_benchmark_runs(monkeypatch):
    monkeypatch.setattr(stft_loss, "SIZES", ((1, 4096),))
    (benchmark,) = stft_loss.benchmarks({})
    result = run_benchmark(benchmark, rounds=1, seconds=0.0)
    assert [row.name for row in result.rows] == ["auraloss", "torch.stft and autograd", "ours"]
    assert "gradients' errors" in result.checked


@pytest.mark.parametrize(
    ("wrong", "complaint"), [(lambda x: 1.0001 * x, "the value of"), (lambda x: x.detach() + 0 * x, "the gradient of")]
)
def test_another_loss_is_found_out(wrong, complaint):
    real = 0.1 * torch.randn(1, 1, 4096)
    losses = {"auraloss": stft_loss.peer(), "other": lambda f, r: wrong(stft_loss.written_out(f, r))}
    with pytest.raises(BenchError, match=f"{complaint} other"):
        stft_loss.check(losses, 0.5 * real + 0.01, real)
