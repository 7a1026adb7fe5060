"""The profile of a small training, against what is known of it."""

import gzip
import json
from types import SimpleNamespace

import lightning as L
import pytest
import torch

from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.generators.hifigan import HiFiGAN
from framework.tracking.profile import LEFT_OUT, StepProfile, attributed


class Noise(L.LightningDataModule):
    sample_rate = 22050

    def train_dataloader(self):
        clips = [{"audio": 0.1 * torch.ones(1, 2048), "key": "noise"}] * 20
        return torch.utils.data.DataLoader(clips)

    def advance(self, batch):
        pass


class Tiny(HiFiGAN):
    channels, upsample_rates, upsample_kernels = 16, (16, 16), (32, 32)
    residual_block, kernels, dilations = 2, (3,), ((1,),)

    def build_discriminators(self):
        return {"multi_period": MultiPeriodDiscriminator((2,), (4, 4))}


def train(profiler, steps):
    torch.manual_seed(0)
    system = Tiny()
    L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", callbacks=[profiler] if profiler else [],
    ).fit(system, datamodule=Noise())  # fmt: skip
    return system


def test_a_table_of_the_parts_and_a_trace_and_the_training_is_the_same(tmp_path, capsys):
    profiled = train(StepProfile(tmp_path, 2), LEFT_OUT + 3)
    shown = capsys.readouterr().err
    rows = {line[:44].strip(): line[44:].split() for line in shown.splitlines() if "%" in line}
    # In a step the discriminator runs twice on real and on fake audio, and there are two optimisers.
    calls = {"data": "1", "generator": "1", "discriminator multi_period": "4", "loss mel": "1", "front end": "1"}
    assert {name: rows[name][0] for name in calls} == calls
    for name in ("generator, backward", "discriminator multi_period, backward", "loss mel, backward", "optimisers"):
        assert float(rows[name][-3]) > 0
    shares = [float(next(cell for cell in row if "%" in cell).rstrip("%")) for row in rows.values()]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert min(shares) >= 0
    assert float(rows["generator"][-1]) > 0
    trace = json.loads(gzip.decompress((tmp_path / "trace.json.gz").read_bytes()))
    assert any(event["name"] == "ostinato: generator" for event in trace["traceEvents"])

    plain = train(None, LEFT_OUT + 3)
    assert all(torch.equal(p, q) for p, q in zip(profiled.parameters(), plain.parameters(), strict=True))
    assert not profiled.generator._forward_hooks
    assert "log_dict" not in vars(profiled)


def test_too_short_a_training_says_so(tmp_path, capsys):
    train(StepProfile(tmp_path, 2), LEFT_OUT)
    assert "no profile" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_operations_gradient_belongs_to_the_part_it_was_in():
    def event(name, start, number=-1, above=None):
        return SimpleNamespace(name=name, sequence_nr=number, cpu_parent=above, time_range=SimpleNamespace(start=start))

    step, engine = event("ostinato: step", 0), "autograd::engine::evaluate_function: "
    first, second = (event(f"ostinato: {name}", start, above=step) for name, start in (("a", 1), ("b", 5)))
    # The last operation of the first part needs no gradient, and has the number of the second part's.
    forward = [event("aten::mul", s, n, p) for s, n, p in ((2, 1, first), (3, 2, first), (6, 2, second), (8, 3, step))]
    backward = [event(engine + "Mul", 10 + i, n, step) for i, n in enumerate((3, 2, 1, 9))]
    inside = event("aten::mul", 11.5, 7, backward[1])
    found = attributed([*backward, inside, *forward, second, first, step])
    assert [part for _, part, _ in found] == [
        *("step", "a", "b"), "step, backward", "b, backward", "a, backward", "the rest of the step, backward",
    ]  # fmt: skip
    assert [above for _, _, above in found] == [None, step, step, step, step, step, step]
