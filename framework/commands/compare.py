"""`ostinato compare`: runs next to each other on the same held-out clips, as a table, on W&B and as a page."""

from typing import Any

from framework.workflow.command import Command, output_argument, runs_argument, split_argument


class Compare(Command):
    """Compare runs on the same held-out clips: a table with intervals and paired differences to the baseline, also
    logged to W&B, and a page to listen on. Runs that were not evaluated yet are evaluated first.
    """

    group = "evaluation"
    takes = "SWEEP|RUN..."
    loads = "framework.sweeps.comparing"
    summary = "compare runs: table, differences, and a page with the audio"
    examples = (
        "ostinato compare hifigan_table3 --baseline full",
        "ostinato compare runs/hifigan/1c9a runs/melgan/77e0",
    )

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument(
            "runs_or_sweeps",
            type=str,
            nargs="+",
            metavar="SWEEP|RUN",
            help="A sweep that was started, a run folder, a checkpoint, an evaluation's folder, or an experiment.",
        )
        baseline = "Run that the others are compared with (default: the first)."
        parser.add_argument("--baseline", type=str, default="", help=baseline)
        metrics = "Metrics to show, in this order (default: all)."
        parser.add_argument("--metrics", type=str, nargs="+", default=[], help=metrics)
        text = "Output folder (default: RUNS/comparisons/NAME, which is always replaced)."
        output_argument(parser, text, type=str | None, default=None)
        runs_argument(parser)
        split_argument(parser)
        clips = "Number of clips (default: as many as were evaluated before)."
        parser.add_argument("--clips", type=int | None, default=None, help=clips)

    def run(self, settings: Any) -> None:
        """Evaluate what is not evaluated yet, compare, and print the table."""
        from framework.evaluation.comparison_table import comparison_table
        from framework.sweeps.comparing import compare_into_folder

        names = ("baseline", "metrics", "runs", "split", "clips", "overwrite")
        comparison, folder = compare_into_folder(
            settings.runs_or_sweeps, output=settings.output or "", **{name: settings[name] for name in names}
        )
        print(comparison_table(comparison))
        print(f"listen:  {folder / 'page' / 'index.html'} (opens from the disk)")
        print(f"numbers: {folder}/comparison.json and comparison.md")
