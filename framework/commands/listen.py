"""`ostinato listen`: a blind listening test of a comparison on a page, and the answers of its listeners."""

from pathlib import Path
from typing import Any

from framework.workflow.command import Command, runs_argument
from framework.workflow.parser import UsageError

PORT = 8420
TEST_KINDS = ("mushra", "mushra_1s", "mos", "dcr", "ab")
TEST_PAIRS = ("baseline", "all")


class Listen(Command):
    """Make a blind listening test (MUSHRA, MUSHRA 1S, MOS, DCR or A/B) of the clips of a comparison and serve it on
    this machine until Ctrl-C. With --results, summarise what listeners answered.
    """

    group = "evaluation"
    takes = "COMPARISON"
    loads = "framework.sweeps.listening"
    summary = "a blind listening test of a comparison, and its results"
    examples = ("ostinato listen hifigan_table3 --kind mos", "ostinato listen hifigan_table3 --results")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument(
            "comparison",
            type=str,
            nargs="+",
            metavar="COMPARISON",
            help="The folder of a comparison, or what `ostinato compare` takes: a sweep, or runs.",
        )
        add = parser.add_argument
        add("--kind", choices=list(TEST_KINDS), default="mushra", help="Kind of the test.")
        add("--clips", type=int | None, default=None, help="Use only the first so many clips (default: all).")
        add("--seed", type=int, default=0, help="Seed of the presentation order.")
        pairs = "Pairs of an A/B test: each run with the baseline, or each run with each other one."
        add("--pairs", choices=list(TEST_PAIRS), default=TEST_PAIRS[0], help=pairs)
        add("--match_levels", action="store_true", help="Bring all sounds of a clip to one RMS level.")
        add("--port", type=int, default=PORT, help="Port of the server on 127.0.0.1; 0 for any free one.")
        add("--no_server", action="store_true", help="Write the page and end.")
        add("--results", action="store_true", help="Summarise the answers so far.")
        files = "With --results: read answers that pages opened from the disk have saved, files or folders of them."
        add("--import", dest="files", type=str, nargs="+", default=[], metavar="FILE", help=files)
        runs_argument(parser)

    def run(self, settings: Any) -> None:
        """Make a test and serve it until Ctrl-C, or print what the answers so far say."""
        from framework.listening.make import make_test
        from framework.sweeps.listening import comparison_of, serve, tell

        if settings.files and not settings.results:
            raise UsageError("--import comes with --results")
        if settings.clips is not None and settings.clips < 1:
            raise UsageError("--clips is 1 or more")
        if settings.pairs == "all" and settings.kind != "ab":
            raise UsageError("--pairs all comes with --kind ab")
        comparison = comparison_of(settings.comparison, settings.runs)
        if settings.results:
            tell(comparison, [Path(file) for file in settings.files])
            return
        folder = make_test(
            comparison, settings.kind, settings.clips, settings.seed, settings.match_levels, settings.pairs
        )
        print(f"page:    {folder}/page/index.html (opens from the disk; listeners send you the file that it saves)")
        if not settings.no_server:
            serve(folder, settings.port)
