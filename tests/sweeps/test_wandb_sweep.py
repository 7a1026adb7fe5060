"""W&B's sweep files, with W&B's own code for what an agent calls."""

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from experiments.ablations.hifigan_table3 import Full, WithoutMel
from framework.sweeps.sweep import Sweep, SweepError, Uniform
from framework.sweeps.wandb_sweep import read, write
from framework.workflow import experiment


def test_a_sweep_written_is_the_sweep_read(tmp_path):
    grid = {
        "model.kernels": [[3], [3, 7]],
        "model.mel_weight": Uniform(1.0, 100.0, log=True),
        "data.batch_size": [2, 4],
    }
    sweep = Sweep([Full, WithoutMel], grid=grid, seeds=2, samples=3, fixed={"trainer.max_steps": 10})
    write(tmp_path / "sweep.yaml", "test", sweep)
    back = read(tmp_path / "sweep.yaml")
    assert list(back.experiments) == [Full, WithoutMel]
    assert (dict(back.grid), back.seeds, dict(back.fixed)) == (grid, [1234, 1235], {"trainer.max_steps": 10})
    with pytest.raises(SweepError, match="neither where="):
        write(tmp_path / "sweep.yaml", "test", Sweep([Full], where=lambda e, v: True))


def test_what_an_agent_calls_is_a_command_of_ours(tmp_path, monkeypatch):
    write(tmp_path / "sweep.yaml", "test", Sweep([Full, WithoutMel], grid={"model.kernels": [[3, 7]]}))
    content = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    # What the server draws for a run: one value of each parameter.
    drawn = {name: {"value": says["values"][-1]} for name, says in content["parameters"].items()}
    words = create_sweep_command_args({"args": drawn})["args"]
    command = [part for word in content["command"] for part in (words if word == "${args}" else [word])]
    assert command[:3] == ["${env}", "ostinato", "fit"]
    plan = experiment.open_experiment(command[3:]).plan
    assert (plan.experiment, plan.values["kernels"], plan.seed) == (WithoutMel, (3, 7), 1234)


def test_numbers_without_a_point_are_numbers(tmp_path):
    (tmp_path / "sweep.yaml").write_text(
        """
        command: [fit, hifigan_v1]
        method: random
        run_cap: 2
        parameters:
          model.log: {distribution: log_uniform_values, min: 1e-5, max: 1}
          model.even: {distribution: uniform, min: -1e-5, max: 1}
          model.some: {values: [1e-5, 2E+3, 1e-word, [1e-4, 2]]}
          model.one: {value: .5e-3}
        """
    )
    sweep = read(tmp_path / "sweep.yaml")
    assert dict(sweep.grid) == {
        "model.log": Uniform(1e-5, 1, log=True),
        "model.even": Uniform(-1e-5, 1.0),
        "model.some": [1e-5, 2000.0, "1e-word", [1e-4, 2]],
    }
    assert dict(sweep.fixed) == {"model.one": 0.0005}
    assert all(1e-5 <= choice.values["model.log"] <= 1 for choice in sweep.choices())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("parameters: [", "cannot be read"),
        ("method: grid", "no parameters"),
        ("{method: bayes, parameters: {}}", "needs W&B's server"),
        ("{method: random, parameters: {}}", "by run_cap"),
        ("{early_terminate: {}, parameters: {}}", "early_terminate is not known here"),
        ("{parameters: {model.x: {values: [1]}}}", "no experiment"),
        ("{command: [fit, hifigan_v4], parameters: {model.x: {values: [1]}}}", "did you mean hifigan_v"),
        ("{command: [fit, hifigan_v1], parameters: {model.x: {distribution: beta, min: 1}}}", "beta is not known here"),
        ("{command: [fit, hifigan_v1], parameters: {model.x: 3}}", "model.x needs value"),
        (
            "{command: [fit, hifigan_v1], parameters: {model.x: {distribution: uniform, min: few, max: 3}}}",
            r"sweep\.yaml: model\.x: min and max have to be numbers, not 'few'",
        ),
        (
            "{command: [fit, hifigan_v1], parameters: {model.x: {min: 1, max: [2]}}}",
            r"sweep\.yaml: model\.x: min and max have to be numbers, not \[2\]",
        ),
    ],
)
def test_what_cannot_be_done_here_is_named(tmp_path, content, message):
    (tmp_path / "sweep.yaml").write_text(content)
    with pytest.raises(SweepError, match=message) as refused:
        read(tmp_path / "sweep.yaml")
    assert "\n" not in str(refused.value)
