"""Guards: what is left out is counted and named, what does not end is ended."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from framework.runs.folder import RunError
from framework.runs.guards import SkippedSteps


def system(*wrong):
    logged = {}
    flags = {name: torch.tensor(float(name in wrong)) for name in ("generator", "discriminator")}
    return SimpleNamespace(not_finite=flags, log=lambda name, value: logged.update({name: value}), logged=logged)


def test_skipped_steps_are_counted_and_end_the_run_in_a_row(capsys):
    guard, batch = SkippedSteps(limit=3), {"key": ["bwv1", "bwv2"]}

    def step(number, pl_module):
        guard.on_train_batch_end(SimpleNamespace(global_step=number), pl_module, None, batch, 0)
        guard.on_train_batch_start(None, pl_module, batch, 0)

    for number in (1, 2):
        step(number, system("generator"))
    step(3, system())
    bad = system("discriminator")
    for number in (4, 5):
        step(number, bad)
    assert bad.logged == {"train/skipped_steps": 4.0}
    assert "step 5: the gradient of the discriminator is not finite, no update (bwv1, bwv2)" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"step 6: .* 3 steps in a row. Last clips: bwv1, bwv2"):
        step(6, bad)
    assert guard.state_dict() == {"total": 5, "in_a_row": 3}


def test_watchdog_ends_what_stalls_and_shows_where_it_stood():
    code = """
import time
from types import SimpleNamespace
from framework.runs.guards import StallWatchdog
def the_step_that_hangs():
    time.sleep(60)
watchdog = StallWatchdog(minutes=0.5 / 60)
watchdog.on_train_start(SimpleNamespace(global_rank=3), None)
for _ in range(8):
    time.sleep(0.1)
    watchdog.on_train_batch_end()
the_step_that_hangs()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 75
    assert "rank 3: nothing has happened" in done.stderr
    assert "the_step_that_hangs" in done.stderr
