"""`ostinato sweep`: make the runs of a sweep, here or on a cluster; the same command again goes on."""

import argparse
from pathlib import Path
from typing import Any

from framework.hyperparameters import nearest
from framework.sweeps.find import sweep_lines
from framework.workflow.command import Command, overwrite_argument
from framework.workflow.parser import UsageError, option_strings

OF_RUNS = ("--data", "--runs", "--seed", "--ckpt_path")
"""Arguments of the runs that have no dot."""


class Sweep(Command):
    """Make the runs of a sweep: a module-level Sweep of a file below experiments/, or a sweep file of W&B. Equal runs
    are made once, finished ones are not repeated, interrupted ones resume. All other options go to every run, as
    --trainer.max_steps 1000 --data recordings/ --runs elsewhere. Without a name, all sweeps are listed.
    """

    group = "sweeps"
    takes = "NAME"
    summary = "make the runs of a sweep, here or on a cluster"
    examples = (
        "ostinato sweep hifigan_table3 --dry",
        "ostinato sweep hifigan_table3 --jobs 2 --trainer.max_steps 1000",
        "ostinato sweep mel_inversion_parts --until 0.05 --metric mr_stft_distance",
    )

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments of the command itself; all others go to its runs."""
        add = parser.add_argument
        add("--dry", action="store_true", help="Show the plan with its cost, and do nothing.")
        add("--launcher", choices=("local", "slurm"), default="local", help="Where the runs are made.")
        add("--jobs", type=positive, default=1, help="Runs at the same time.")
        add("--devices_per_run", type=positive, default=1, help="Devices of a run (of each node, on Slurm).")
        add("--retries", type=int, default=1, help="Failures without progress that a run is allowed.")
        add("--rerun", action="store_true", help="Train runs again whose code has changed; their old folders are kept.")
        commands = "Print the commands of the runs to be made, for any scheduler."
        add("--print_commands", action="store_true", help=commands)
        factor = "Train all runs a little, keep the best 1/FACTOR, and repeat."
        add("--halving", type=int | None, default=None, metavar="FACTOR", help=factor)
        metric = "Metric of the table, of --halving and of --until; lower is better (default: the experiment's own)."
        add("--metric", type=str | None, default=None, help=metric)
        until = "Train seed after seed until every difference to the first run is decided; at most this share of such "
        add("--until", type=float | None, default=None, metavar="P", help=until + "sweeps has a false decision (0.05).")
        smallest = "Smallest difference of interest: with it, --until also decides that two runs are equal."
        add("--smallest", type=float | None, default=None, metavar="DIFFERENCE", help=smallest)
        add("--most_seeds", type=positive, default=10, help="Seeds of each run after which --until stops.")
        slurm = "Options of sbatch, as time=240."
        add("--slurm", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=slurm)
        yaml = "Write the sweep for `wandb sweep FILE`, and do nothing."
        add("--wandb_yaml", type=Path | None, default=None, metavar="FILE", help=yaml)
        overwrite_argument(parser)

    def main(self, words: list[str]) -> int | None:
        """List all sweeps, or make the runs of one; all arguments that are not the command's own go to the runs."""
        if not words:
            print("\n".join(["sweeps", *sweep_lines()]))
            return None
        name, *rest = words
        own, overrides = divided(rest)
        parser = self.parser()
        check_overrides(overrides, option_strings(parser))
        from framework.sweeps.making import make_sweep

        return make_sweep(name, overrides, **vars(parser.parse_args(own)))


def divided(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words of a command line that are the command's own, and those that are overrides of the runs.

    An argument is an override if its name has a dot, or is one of `OF_RUNS`; the words after it belong to it.
    """
    own: list[str] = []
    overrides: list[str] = []
    chosen = overrides
    for word in words:
        if word.startswith("--"):
            flag = word.partition("=")[0]
            chosen = overrides if "." in flag or flag in OF_RUNS else own
        chosen.append(word)
    return own, overrides


def positive(text: str) -> int:
    """Return a number from 1 on."""
    if not str(text).isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def check_overrides(overrides: list[str], own: list[str]) -> None:
    """Refuse a misspelt argument of the command itself: those of the runs have a dot, or are known."""
    for word in overrides:
        flag = word.partition("=")[0]
        if flag.startswith("--") and "." not in flag and flag not in OF_RUNS:
            raise UsageError(f"no argument {flag}: {nearest(flag, own)}")
