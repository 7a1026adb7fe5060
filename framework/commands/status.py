"""`ostinato status`: how far sweeps are, read from the runs' folders by whoever asks."""

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from framework.sweeps.record import PlannedRun, read_record
from framework.sweeps.slurm import job_of, jobs_in_queue
from framework.sweeps.table import print_damages, print_failures, print_lost_held_out, progress_table
from framework.workflow.command import Command, runs_argument


class Status(Command):
    """Show the progress of a sweep, read from the folders of its runs, or list all sweeps that were started."""

    group = "sweeps"
    takes = "[SWEEP]"
    summary = "progress of sweeps"
    examples = ("ostinato status", "ostinato status hifigan_table3")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("sweep", type=str, nargs="?", help="Name of a sweep (default: list all that were started).")
        runs_argument(parser)

    def run(self, settings: Any) -> None:
        """Print a line for every sweep, or one sweep's table and failures.

        Raises:
            InvalidValueError: no sweep of this name has been started.
        """
        own = settings
        console = Console(highlight=False)
        # Asked only if there is a job: a controller that is down takes seconds to say so.
        queue = functools.cache(jobs_in_queue)
        if own.sweep is None:
            names = sorted(path.stem for path in (Path(own.runs) / "sweeps").glob("*.json"))
            for name in names:
                question, runs = read_record(own.runs, name)
                counts = Counter(state_of(run, queue).partition(" ")[0] for run in runs)
                told = ", ".join(f"{n} {state}" for state, n in counts.most_common())
                console.print(f"{name}: {told}  ({question})", soft_wrap=True, markup=False)
            if not names:
                console.print(f"no sweep has been started in {own.runs}: `ostinato sweep NAME` starts one")
            return
        question, runs = read_record(own.runs, own.sweep)
        states = {run.signature: state_of(run, queue) for run in runs}
        console.print(f"{own.sweep}: {question}\n", soft_wrap=True, markup=False)
        console.print(progress_table(runs, states))
        print_damages(console, runs)
        print_lost_held_out(console, runs)
        failed = [run for run in runs if states[run.signature] == "failed"]
        print_failures(console, [(run, *run.failure()) for run in failed])


def state_of(run: PlannedRun, queue: Callable[[], dict[str, str]]) -> str:
    """Return a run's state, or what Slurm says of its job where nothing trains yet."""
    state, job = run.state(), job_of(run)
    if job and state in ("new", "stopped", "failed") and (told := queue().get(job)):
        return f"{'queued' if told == 'pending' else told} ({job})"
    return state
