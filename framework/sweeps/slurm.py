"""Launcher of runs as a Slurm job array, with submitit (the optional extra `slurm`).

A job that runs out of time, or is preempted, gets SIGUSR1: the run saves, puts its job back into the queue and goes on
from there. A node that fails is Slurm's own `--requeue`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from framework.json_text import parse_json
from framework.runs.folder import RunError
from framework.sweeps.record import ATTEMPT, PlannedRun
from framework.sweeps.sweep import SweepError
from framework.writing import write_atomically

DEFAULTS = {"time": "1440", "signal": "USR1@90", "requeue": True}
"""Default settings of `sbatch`: a time limit of a day, and a signal 90 s before the end for saving."""


class Fit:
    """The task of a job: `ostinato fit` in this process, so that signals reach the trainer."""

    def __call__(self, command: list[str], log: str) -> None:
        """Train; the first task of the job writes the run's log."""
        if os.environ.get("SLURM_PROCID", "0") == "0":
            with open(log, "a") as file:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                    os.dup2(file.fileno(), stream.fileno())
            print(f"\n{ATTEMPT}job {os.environ.get('SLURM_JOB_ID')}: ostinato {' '.join(command)}", flush=True)
        # A job is the program itself: nothing of the library imports a command.
        status = import_module("framework.cli").main(command)
        if status:
            raise RunError(f"exit status {status}, see {log}")

    def checkpoint(self, command: list[str], log: str) -> Any:
        """Return the task that submitit requeues if the signal arrives before the training has started."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, command, log)


def submit(
    runs: Sequence[PlannedRun], name: str, root: Path, jobs: int, devices: int, settings: Mapping[str, str]
) -> list[str]:
    """Submit the runs that no job of Slurm has yet as one array, `jobs` at once; return the jobs' ids.

    `settings` are options of `sbatch` by their names there, `nodes` among them; `devices` are the tasks of a node.

    Raises:
        SweepError: submitit or Slurm is missing, or sbatch refuses the settings.
    """
    if shutil.which("sbatch") is None:
        raise SweepError("--launcher slurm needs Slurm's sbatch on the PATH: run this on a login node of the cluster")
    # Read by submitit when it is imported: the signal that the runs know.
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"
    try:
        import submitit
    except ImportError:
        raise SweepError("--launcher slurm needs submitit: pip install submitit") from None
    queued = jobs_in_queue()
    runs = [run for run in runs if job_of(run) not in queued]
    if not runs:
        return []
    nodes = int(settings.get("nodes", 1))
    spread = [f"--trainer.devices={devices}"] if devices > 1 or nodes > 1 else []
    spread += [f"--trainer.num_nodes={nodes}"] if nodes > 1 else []
    executor = submitit.SlurmExecutor(folder=(root / "sweeps" / "slurm" / "%j").absolute())
    executor.update_parameters(
        job_name=f"ostinato-{name}",
        array_parallelism=jobs,
        ntasks_per_node=devices,
        stderr_to_stdout=True,
        additional_parameters=DEFAULTS | {key.replace("_", "-"): value for key, value in settings.items()},
    )
    for run in runs:
        run.path.mkdir(parents=True, exist_ok=True)
        run.failure_file.unlink(missing_ok=True)
    commands = [["fit", run.experiment, *run.arguments, *spread] for run in runs]
    try:
        submitted = executor.map_array(Fit(), commands, [str(run.log.absolute()) for run in runs])
    except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, ValueError) as error:
        raise SweepError(f"sbatch refuses: {' '.join(str(error).split())}") from None
    for run, job in zip(runs, submitted, strict=True):
        write_atomically(run.path / "slurm.json", json.dumps({"job": job.job_id}))
    return [job.job_id for job in submitted]


def job_of(run: PlannedRun) -> str | None:
    """Return the id of the job that a run was last submitted as."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return parse_json((run.path / "slurm.json").read_text())["job"]
    return None


def jobs_in_queue() -> dict[str, str]:
    """Return the states of all jobs that Slurm has, by their ids; those of an array one by one."""
    if shutil.which("squeue") is None:
        return {}
    done = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True, check=False)
    return dict(_pairs(done.stdout))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        job, _, state = line.strip().partition(" ")
        yield job, state.lower()
