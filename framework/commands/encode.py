"""`ostinato encode`: a recording as a small file of a codec's codes."""

from framework.workflow.coding import encode
from framework.workflow.experiment import open_experiment


def run(arguments: list[str]) -> None:
    """Encode `--input` by a trained codec into `--output`, at `--model.bitrate` kilobits per second."""
    opened = open_experiment("encode", arguments)
    settings = opened.settings
    done = encode(opened.plan, settings["input"], settings["output"], overwrite=settings["overwrite"])
    size, plain = done.path.stat().st_size, 2 * done.header.samples
    print(
        f"{done.path}: {done.seconds:.1f} s at {done.header.bitrate:.2f} kbit/s, {size} bytes, "
        f"{size / plain:.2g} of 16 bit PCM"
    )
