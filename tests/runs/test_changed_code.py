"""A real run whose code is edited after it was finished: it says so, and is trained again beside the old one."""

import json
import os
import signal
import time

import pytest
import yaml
from test_survival import PROGRAM, Run


@pytest.fixture
def run(tmp_path):
    """Return a finished run of a program of the user, which lies beside it."""
    run = Run(tmp_path / "run", "--trainer.max_steps=3", "--trainer.val_check_interval=3")
    run.program = tmp_path / "program.py"
    run.program.write_text(PROGRAM.read_text())
    return run.finish()


def edit(run, old, new):
    text = run.program.read_text()
    assert old in text
    run.program.write_text(text.replace(old, new))


def again(run, *overrides):
    """Start the same command; return what it says."""
    said = len(run.said)
    run.finish(*overrides)
    return run.said[said:]


def folders(run):
    return sorted(path for path in run.folder.glob("runs/*/*"))


def test_edited_code_is_said_and_rerun_keeps_the_old_results(run):
    (folder,) = folders(run)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix}
    edit(run, "class Small(HiFiGAN):", "# A comment.\nclass Small( HiFiGAN ):")
    said = again(run)
    assert "is finished (3 steps)" in said
    assert "other code" not in said
    edit(run, "torch.nn.Dropout(self.dropout)", "torch.nn.Dropout(self.dropout), torch.nn.Identity()")
    said = again(run)
    assert "results of other code (__main__:Small, since commit" in said
    assert "add --rerun to train it again" in said
    assert folders(run) == [folder]

    said = again(run, "--rerun")
    kept = [path for path in folders(run) if path != folder]
    assert [path.name.partition(".")[0] for path in kept] == [folder.name]
    assert f"kept in {kept[0].relative_to(run.folder)}" in said
    assert {path.name: path.read_bytes() for path in kept[0].iterdir() if path.suffix} == before
    assert json.loads((folder / "summary.json").read_text())["steps"] == 3
    ids = [yaml.safe_load((path / "config.yaml").read_text())["wandb_id"] for path in (*kept, folder)]
    assert ids[0] == folder.name
    assert ids[1].startswith(f"{folder.name}-"), "the earlier run on W&B is not written over"
    assert "other code" not in again(run)


def test_a_rerun_that_is_killed_goes_on_by_the_same_command(run):
    (folder,) = folders(run)
    process = run.start("--rerun")
    deadline = time.monotonic() + 120
    while not (len(folders(run)) == 2 and (folder / "metrics.csv").exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    assert not (folder / "summary.json").exists()
    said = again(run, "--rerun")
    assert "is kept in" not in said
    assert len(folders(run)) == 2
    assert json.loads((folder / "summary.json").read_text())["steps"] == 3
