"""`ostinato synthesize`: recordings generated again from their conditioning, or audio of the system's own."""

from typing import TYPE_CHECKING, Any, Literal

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Synthesize(ExperimentCommand):
    """Generate recordings again from their conditioning, such as their mel spectrogram (copy synthesis). Systems that
    need no input generate --count clips of --seconds.
    """

    group = "generation"
    summary = "generate recordings from their conditioning, or new audio"
    examples = ("ostinato synthesize {name} --input song.mp3 --output generated/",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("--input", type=str | None, default=None, help="An audio file, or a folder of them.")
        text = "Folder for the generated wav files, or, of one recording or clip, the audio file (wav, flac) to write."
        output_argument(parser, text, type=str, required=True)
        parser.add_argument("--seconds", type=float, default=5.0, help="Length of a clip if there is no input.")
        parser.add_argument("--count", type=int, default=1, help="Number of clips if there is no input.")
        parser.add_argument(
            "--precision",
            type=Literal["float32", "bf16"],
            default="float32",
            help="Arithmetic of the networks: bf16 is faster if the processor or GPU supports it, and less exact.",
        )

    def run(self, plan: "Plan", settings: Any) -> None:
        """Generate `--input` again, or, by a system that needs none, new clips."""
        from framework.workflow.sound_files import generate_files, regenerate_files

        output, common = settings["output"], {name: settings[name] for name in ("precision", "overwrite")}
        if settings["input"] is None:
            done = generate_files(plan, output, count=settings["count"], seconds=settings["seconds"], **common)
        else:
            done = regenerate_files(plan, settings["input"], output, **common)
        print(f"{len(done.files)} written to {output}" + (f", {done.skipped} skipped" if done.skipped else ""))
