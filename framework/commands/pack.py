"""`ostinato pack`: a folder of recordings or MIDI files as webdataset shards, and checking shards that there are."""

import shlex
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError
from framework.outputs import check_outputs
from framework.workflow.command import Command
from framework.workflow.parser import OneLineParser


class Pack(Command):
    """Pack a folder of recordings, or of MIDI files, into webdataset shards. `ostinato pack --verify FOLDER` checks
    packed data, reading every byte.
    """

    group = "data"
    takes = "SOURCE DESTINATION"
    summary = "pack a folder of recordings into webdataset shards"
    examples = ("ostinato pack recordings/ shards/ --sample_rate 22050", "ostinato pack --verify shards/")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments of the function `pack`."""
        from datamodules.packing.pack import pack

        parser.add_function_arguments(pack, as_positional=True, skip={"reuse", "f0"})
        parser.add_argument(
            "--f0",
            action="store_true",
            help="Track the pitch of recordings of one voice (50 to 2000 Hz), for data with f0_hop; needs torchcrepe.",
        )

    def main(self, words: list[str]) -> int | None:
        """Pack, or with `--verify FOLDER` check packed data."""
        if words[:1] != ["--verify"]:
            return super().main(words)
        check(words[1:])
        return None

    def run(self, settings: Any) -> None:
        """Pack a folder, and print what was packed."""
        from datamodules.packing.midi import is_written_music, pack_midi
        from datamodules.packing.pack import pack
        from datamodules.shards.writer import MANIFEST

        parsed = vars(settings)
        source, destination = (Path(parsed[name]).expanduser() for name in ("source", "destination"))
        # What is packed already is refused by name below.
        check_outputs([destination / MANIFEST], overwrite=True, option="DESTINATION")
        if is_written_music(source):
            show_written(pack_midi(source, destination), destination)
            return
        manifest = pack(**parsed)
        for split, clips in manifest["clips"].items():
            print(f"{split:12}{clips:8} clips {manifest['hours'][split]:8.2f} hours")
        rates = ", ".join(f"{rate:,}" for rate in manifest["sample_rates"])
        cut = sum(entry.get("kept", 0) > 0 for entry in manifest["skipped"])
        left_out = f"{len(manifest['skipped']) - cut} left out"
        print(f"{rates} Hz, {left_out}{f', {cut} cut short' if cut else ''} (named in dataset.json)")
        print(f"train on it: ostinato fit NAME --data {shlex.quote(str(parsed['destination']))}")


def show_written(manifest: dict[str, Any], destination: Path) -> None:
    """Say what of a folder of MIDI files was packed."""
    for split, pieces in manifest["clips"].items():
        print(f"{split:12}{pieces:8} pieces")
    print(f"{len(manifest['skipped'])} files left out (named in dataset.json)")
    print(f"{len(manifest['remarks'])} kinds of remarks on the others (in dataset.json)")
    print(f"train on it: ostinato fit musegan --data {shlex.quote(str(destination))}")


def check(arguments: list[str]) -> None:
    """Verify packed data, hashing every shard."""
    from datamodules.packing.pack import verify

    parser = OneLineParser(prog="ostinato pack --verify")
    parser.add_argument("folder", type=Path, help="The packed folder.")
    folder = parser.parse_args(arguments).folder
    problems = verify(folder)
    if problems:
        print("\n".join(problems))
        raise InvalidValueError(f"{folder}: {len(problems)} problems: pack it again, or take the shards named out")
    print(f"{folder}: every shard is as it was packed")
