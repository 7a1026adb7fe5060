"""The run of `small_run.py`, which waits for five minutes in one place: to be stopped and killed there.

Usage: waiting_run.py DIRECTORY [overrides ...]. The variable WAIT_IN names the place: `prepare`, `setup`, `step`,
`validation` (that of WAIT_STEP), `evaluation`; WAIT_RANK the rank that waits. Where it waits, it makes
`waiting<rank>.txt`. START_METHOD is how workers are started.
"""

import multiprocessing
import os
import sys
import time

import small_run
from lightning.pytorch.trainer.states import TrainerStatus

from framework import catalogue
from framework.cli import main
from framework.runs import checkpoints
from framework.workflow import experiment

checkpoints.LONG = 0.0
RANK = os.environ.get("LOCAL_RANK", "0")


def wait(place):
    if os.environ.get("WAIT_IN") == place and os.environ.get("WAIT_RANK", "0") == RANK:
        (small_run.HERE / f"waiting{RANK}.txt").touch()
        time.sleep(300)


class Data(small_run.Small.data):
    def prepare_data(self):
        wait("prepare")
        super().prepare_data()


class Waiting(small_run.Small):
    """Waits in one place."""

    data = Data
    stall_minutes = float(os.environ.get("STALL_MINUTES", "30"))

    def setup(self, stage):
        wait("setup")
        super().setup(stage)

    def training_step(self, batch, index):
        wait("step")
        return super().training_step(batch, index)

    def on_validation_batch_start(self, batch, *arguments):
        if self.trainer.state.status == TrainerStatus.FINISHED:
            wait("evaluation")
        elif self.trainer.global_step == int(os.environ.get("WAIT_STEP", "6")):
            wait("validation")
        super().on_validation_batch_start(batch, *arguments)


if __name__ == "__main__":
    if method := os.environ.get("START_METHOD"):
        multiprocessing.set_start_method(method, force=True)
    if not (small_run.HERE.parent / "data").exists():
        small_run.write_data(small_run.HERE.parent / "data")
    experiment.find = catalogue.find = lambda name: Waiting
    arguments = ["fit", "small", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", *sys.argv[2:]]
    sys.exit(main(arguments))
