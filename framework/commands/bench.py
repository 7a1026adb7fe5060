"""`ostinato bench`: how fast parts of the project are next to other implementations of the same."""

import shlex
from typing import Any

from framework.bench.running import benches, listed, peer_of, run_bench
from framework.errors import InvalidValueError
from framework.hyperparameters import nearest
from framework.outputs import check_outputs, output_folder
from framework.workflow.command import Command, output_argument

OUTPUT = "runs/bench"


class Bench(Command):
    """Run benchmarks that measure parts of the project next to other implementations of the same. Without a name, all
    benchmarks are listed.
    """

    group = "data"
    takes = "[NAME...]"
    summary = "measure speed next to other implementations"
    examples = ("ostinato bench stft_loss --rounds 3",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        add = parser.add_argument
        add("names", type=str, nargs="+", metavar="NAME", help="Names of benchmarks.")
        add("--rounds", type=int, default=5, help="Turns of each candidate.")
        add("--seconds", type=float, default=1.0, help="Minimum length of a turn in seconds.")
        text = f"Folder for the results as JSON and Markdown (default: {OUTPUT}, where they are always replaced)."
        output_argument(parser, text, type=str | None, default=None)
        peers = "A checkout of another project to compare with."
        add("--peer", action="append", default=[], metavar="NAME=DIR", help=peers)
        add("--save", action="store_true", help="Store the figures in docs/benchmarks.md too.")

    def main(self, words: list[str]) -> int | None:
        """Run the named benchmarks, or list all benchmarks."""
        if not words:
            print("\n".join(listed(benches())))
            return None
        self.words = words
        return super().main(words)

    def run(self, settings: Any) -> None:
        """Run the named benchmarks."""
        known = benches()
        for name in settings.names:
            if name not in known:
                raise InvalidValueError(f"no benchmark {name!r}: {nearest(name, list(known))}")
        if settings.rounds < 1 or settings.seconds < 0:
            raise InvalidValueError("--rounds must be at least 1 and --seconds not negative")
        peers = dict(map(peer_of, settings.peer))
        output = output_folder(settings.output or OUTPUT)
        check_outputs(
            [output / f"{name}.{kind}" for name in settings.names for kind in ("json", "md")],
            settings.overwrite or not settings.output,
        )
        command = shlex.join(["ostinato", "bench", *self.words])
        # The published command does not contain local paths.
        for peer in settings.peer:
            command = command.replace(shlex.quote(peer), f"{peer.partition('=')[0]}=DIR")
        for name in settings.names:
            run_bench(name, known[name], peers, output, command, settings.rounds, settings.seconds, settings.save)
