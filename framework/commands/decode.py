"""`ostinato decode`: the audio of a file of codes, written as it is decoded."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Decode(ExperimentCommand):
    """Decode a file that `ostinato encode` wrote with the same codec. Memory does not grow with the length."""

    group = "generation"
    summary = "decode a file of codes to audio"
    examples = ("ostinato decode {name} --input song.ost --output decoded.wav",)
    example = "codec_bach"

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("--input", type=str, required=True, help="The file to decode.")
        output_argument(parser, "The audio file (wav, flac) to write, or a folder for it.", type=str, required=True)

    def run(self, plan: "Plan", settings: Any) -> None:
        """Decode, and print the length."""
        from framework.workflow.coding import decode

        done = decode(plan, settings["input"], settings["output"], overwrite=settings["overwrite"])
        print(f"{done.path}: {done.seconds:.1f} s from {done.header.bitrate:.2f} kbit/s")
