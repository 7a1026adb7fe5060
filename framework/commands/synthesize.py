"""`ostinato synthesize`: recordings generated again from their conditioning, or audio of the system's own."""

from pathlib import Path

import torch

from framework.audio.files import AudioFileError, audio_files, load_audio, save_audio
from framework.commands.experiment import ExperimentCLI, open_experiment
from framework.commands.parser import UsageError
from framework.commands.weights import load_weights
from framework.errors import OstinatoError
from framework.paradigms.system import seed_all
from framework.progress import print_above, progress


def run(arguments: list[str]) -> None:
    """Write what a system makes of `--input`, or, of one that needs none, `--count` clips of `--seconds`, as wav files.

    Raises:
        UsageError: when what to generate is not said.
    """
    cli = open_experiment("synthesize", arguments)
    source = cli.config["input"]
    if source is None and cli.model.copies:
        raise UsageError(f"{cli.experiment.__name__} generates recordings again: name one, or a folder, by --input")
    targets = {} if source is None else targets_of(Path(source), Path(cli.config["output"]))
    checkpoint = load_weights(cli)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cli.model.to(device).eval()
    what = f"{len(targets)} files" if source else f"{cli.config['count']} clips of {cli.config['seconds']:g} s"
    precision = cli.config["precision"]
    print(f"{checkpoint}: {what} at {cli.model.preset.sample_rate} Hz on {device} in {precision}")
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        if source is None:
            generate(cli)
        else:
            regenerate(cli, Path(source), targets)


def targets_of(source: Path, output: Path) -> dict[Path, Path]:
    """Return for each recording of a folder, or for one, the file that is written: its name as wav, in `output`.

    Raises:
        AudioFileError: when there is nothing to read.
        UsageError: when a file would be written over a recording, or over another.
    """
    targets: dict[Path, Path] = {}
    origins: dict[Path, Path] = {}
    files = audio_files(source)
    recordings = {path.resolve() for path in files}
    for path in files:
        target = output / (path.relative_to(source) if source.is_dir() else Path(path.name)).with_suffix(".wav")
        if target.resolve() in recordings:
            raise UsageError(f"{target} is one of the recordings: name another folder by --output")
        if target in origins:
            raise UsageError(f"{origins[target]} and {path} would both become {target}: rename one of them")
        origins[target], targets[path] = path, target
    return targets


def regenerate(cli: ExperimentCLI, source: Path, targets: dict[Path, Path]) -> None:
    """Write what the system makes of each recording; of several, those that cannot be used are named and left out.

    Raises:
        ValueError: when the only recording cannot be used.
        AudioFileError: when none can.
    """
    system, skipped = cli.model, 0
    rate = system.preset.sample_rate
    for path, target in progress(targets.items(), "synthesizing", unit="files"):
        relative = path.relative_to(source) if source.is_dir() else Path(path.name)
        try:
            audio = load_audio(path, rate)
            seed_all("synthesize", cli.config["seed"], str(relative))
            batch = system.analyse(audio[None].to(system.device))
            save_audio(target, system.synthesize(batch)[0], rate)
        except OstinatoError as error:
            if len(targets) == 1:
                raise
            skipped += 1
            print_above(f"skipped: {error}" if isinstance(error, AudioFileError) else f"skipped: {path}: {error}")
    if skipped == len(targets):
        raise AudioFileError(f"{source}: none of the {len(targets)} files could be used")
    written = len(targets) - skipped
    print(f"{written} written to {cli.config['output']}" + (f", {skipped} skipped" if skipped else ""))


def generate(cli: ExperimentCLI) -> None:
    """Write clips of the system's own; `--seed` with a clip's number gives the same one again.

    Raises:
        UsageError: when there would be none, or clips without length.
    """
    system, count, output = cli.model, cli.config["count"], Path(cli.config["output"])
    rate = system.preset.sample_rate
    time = round(cli.config["seconds"] * rate)
    if count < 1 or time < 1:
        raise UsageError("nothing to generate: --count and --seconds have to be positive")
    for number in progress(range(count), "synthesizing", unit="clips"):
        seed_all("synthesize", cli.config["seed"], number)
        batch = system.analyse(torch.zeros(1, 1, time, device=system.device))
        system.write(batch, output / f"{cli.experiment.__name__}_{number:03d}.wav")
    print(f"{count} written to {output}")
