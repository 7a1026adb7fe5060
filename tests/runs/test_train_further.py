"""A run that starts from the checkpoint of another: trained further, it is the longer run, bit for bit."""

import pytest
import torch
from test_survival import Run, same

LENGTH = ("--data.batch_size=16", "--trainer.val_check_interval=2")
"""Three steps an epoch, and validations inside of epochs."""


def steps(count):
    return f"--trainer.max_steps={count}"


def from_(checkpoint):
    return f"--ckpt_path={checkpoint}"


def refused(run, *overrides):
    """Return the one line by which a command is refused."""
    assert run.start(*overrides).wait(120) == 2, run.said
    return [line for line in run.said.splitlines() if "error:" in line][-1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("further")


@pytest.fixture(scope="module")
def eight(place):
    """A run of eight steps at once."""
    return Run(place / "eight", *LENGTH, steps(8)).finish()


@pytest.fixture(scope="module", params=[3, 4], ids=["end of an epoch", "inside an epoch"])
def shorter(request, place):
    return Run(place / f"shorter{request.param}", *LENGTH, steps(request.param)).finish()


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_trained_further_is_trained_at_once(eight, shorter, place, name):
    run = Run(place / f"{shorter.folder.name} {name}", *LENGTH, from_(shorter.checkpoints / name), steps(8)).finish()
    ours, theirs = run.result(), eight.result()
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    last, expected = (torch.load(r.checkpoints / "last.ckpt", weights_only=True) for r in (run, eight))
    for part in ("global_step", "AudioFolder", "epoch"):
        assert last[part] == expected[part]
    rates = [[group["lr"] for group in o["param_groups"]] for o in last["optimizer_states"]]
    assert rates == [[group["lr"] for group in o["param_groups"]] for o in expected["optimizer_states"]]
    begun = torch.load(shorter.checkpoints / name, weights_only=True)["global_step"]
    assert run.rows() == [row for row in eight.rows() if int(row["step"]) > begun]


def test_as_many_steps_as_there_are_already_are_refused(shorter, place):
    run = Run(place / f"{shorter.folder.name} refused", *LENGTH)
    last = shorter.checkpoints / "last.ckpt"
    done = torch.load(last, weights_only=True)["global_step"]
    for count in (done, done - 1):
        line = refused(run, from_(last), steps(count))
        assert f"last.ckpt has made {done} steps and trainer.max_steps is {count}: " in line
        assert f"set trainer.max_steps to more than {done}" in line
    assert not list(run.folder.glob("runs/*/*/summary.json"))


def test_other_data_begin_an_epoch_with_the_weights_and_optimisers_of_the_checkpoint(eight, place):
    """Other data are here the same clips in another order."""
    run = Run(place / "other", *LENGTH[1:], "--data.batch_size=8", from_(eight.checkpoints / "last.ckpt"), steps(10))
    run.finish()
    assert (
        "used from the beginning of an epoch (AudioFolder: cannot continue in the same order: batch_size was"
        in run.said
    )
    last = torch.load(run.checkpoints / "last.ckpt", weights_only=True)
    assert (last["global_step"], last["AudioFolder"]["epoch"], last["AudioFolder"]["step"]) == (10, 0, 2)
    before = torch.load(eight.checkpoints / "last.ckpt", weights_only=True)
    moments = [c["optimizer_states"][0]["state"][0]["step"] for c in (before, last)]
    assert [float(moment) for moment in moments] == [8, 10]
    # The same command goes on, in the order that it has begun.
    resumed = Run(place / "resumed", *run.overrides)
    resumed.stop_at(9, lambda process: process.process.terminate())
    same(resumed.finish(), run)
