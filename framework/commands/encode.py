"""`ostinato encode`: a recording as a small file of a codec's codes."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Encode(ExperimentCommand):
    """Encode a recording with a trained codec into a small file of codes. `--model.bitrate` sets the kilobits per
    second.
    """

    group = "generation"
    summary = "encode audio to the codes of a trained codec"
    examples = ("ostinato encode {name} --input song.wav --output song.ost --model.bitrate 2.41",)
    example = "codec_bach"

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("--input", type=str, required=True, help="The audio file to encode.")
        output_argument(parser, "The .ost file to write, or a folder for it.", type=str, required=True)

    def run(self, plan: "Plan", settings: Any) -> None:
        """Encode, and print the size."""
        from framework.workflow.coding import encode

        done = encode(plan, settings["input"], settings["output"], overwrite=settings["overwrite"])
        size, plain = done.path.stat().st_size, 2 * done.header.samples
        print(
            f"{done.path}: {done.seconds:.1f} s at {done.header.bitrate:.2f} kbit/s, {size} bytes, "
            f"{size / plain:.2g} of 16 bit PCM"
        )
