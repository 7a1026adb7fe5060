"""`ostinato decode`: the audio of a file of codes, written as it is decoded."""

from framework.workflow.coding import decode
from framework.workflow.experiment import open_experiment


def run(arguments: list[str]) -> None:
    """Decode `--input` by the codec that encoded it into the audio file `--output`."""
    opened = open_experiment("decode", arguments)
    settings = opened.settings
    done = decode(opened.plan, settings["input"], settings["output"], overwrite=settings["overwrite"])
    print(f"{done.path}: {done.seconds:.1f} s from {done.header.bitrate:.2f} kbit/s")
