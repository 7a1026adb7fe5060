"""`ostinato synthesize`: recordings generated again from their conditioning, or audio of the system's own."""

from framework.workflow.experiment import open_experiment
from framework.workflow.sound_files import generate_files, regenerate_files


def run(arguments: list[str]) -> None:
    """Generate `--input` again, or, by a system that needs none, `--count` clips of `--seconds`."""
    opened = open_experiment("synthesize", arguments)
    settings, output = opened.settings, opened.settings["output"]
    common = {name: settings[name] for name in ("precision", "overwrite")}
    if settings["input"] is None:
        clips = {name: settings[name] for name in ("count", "seconds")}
        done = generate_files(opened.plan, output, **clips, **common)
    else:
        done = regenerate_files(opened.plan, settings["input"], output, **common)
    print(f"{len(done.files)} written to {output}" + (f", {done.skipped} skipped" if done.skipped else ""))
