"""`ostinato data`: what is in a data set, in numbers and in pictures."""

from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError
from framework.outputs import check_outputs
from framework.workflow.command import Command, overwrite_argument


class Data(Command):
    """Describe a data set: number and length of clips, sample rates, levels, and with --picture spectrograms; of MIDI
    files notes, tracks, and what was not understood in them. Nothing is packed or changed.
    """

    group = "data"
    takes = "PATH"
    loads = "datamodules.report"
    summary = "amounts, lengths, levels and spectrograms of a data set"
    examples = ("ostinato data recordings/ --picture sheet.png",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        path = "A folder of recordings or MIDI files, a packed folder or its URL, or shards."
        parser.add_argument("path", type=str, help=path)
        picture = "Draw log-mel spectrograms into this png file."
        parser.add_argument("--picture", type=Path | None, default=None, help=picture)
        parser.add_argument("--examples", type=int, default=16, help="Number of spectrograms.")
        overwrite_argument(parser)

    def run(self, settings: Any) -> None:
        """Print the description; with `--picture`, draw spectrograms."""
        from datamodules.midi_report import midi_lines, midi_report
        from datamodules.report import report
        from framework.workflow.data_lines import lines
        from framework.writing import replacing

        path, picture = settings.path, settings.picture
        if settings.examples < 1:
            raise InvalidValueError(f"--examples {settings.examples}: must be at least 1")
        if picture and picture.suffix.lower() != ".png":
            raise InvalidValueError(f"{picture}: the picture is a .png file")
        if picture:
            check_outputs([picture], settings.overwrite, [path], option="--picture")
        written = midi_report(path)
        if written is not None:
            if picture:
                raise InvalidValueError(f"--picture {picture}: {path} has no audio to draw; leave it out")
            print("\n".join(midi_lines(path, written)))
            return
        found = report(path, settings.examples)
        print("\n".join(lines(path, found)))
        if picture and found.examples:
            from framework.tracking.media import contact_sheet

            with replacing(picture, durable=False) as part:
                contact_sheet(found.examples).save(part, "png")
            print(f"\n{len(found.examples)} spectrograms in {picture}")
