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


def watched(body):
    """Run code under a watchdog of half a second; return its status and what it said."""
    code = f"""if True:
        import time
        from types import SimpleNamespace
        from framework.runs.guards import Liveness, Watchdog
        def the_step_that_hangs():
            time.sleep(60)
        def work(seconds):
            began = time.process_time()
            while time.process_time() - began < seconds:
                pass
        with Watchdog(0.5 / 60, "rank 3") as watchdog:
            lightning = Liveness(watchdog)
            {body}
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    return done.returncode, done.stderr


def test_watchdog_ends_what_stalls_and_shows_where_it_stood():
    reports = "[(time.sleep(0.1), lightning.on_train_batch_start(None, None, batch_idx=1)) for _ in range(8)]"
    status, said = watched(f"lightning.on_train_start(None, None); {reports}; the_step_that_hangs()")
    assert status == 75
    assert "rank 3: nothing has happened" in said
    assert "the_step_that_hangs" in said


def test_watchdog_lets_data_be_prepared_for_long_but_not_a_step_compute():
    assert watched("work(1.5)") == (0, "")
    assert watched("time.sleep(0.1)") == (0, "")
    assert watched("the_step_that_hangs()")[0] == 75
    # What waits for another device may keep a processor busy.
    assert watched("lightning.on_train_start(None, None); work(30)")[0] == 75
