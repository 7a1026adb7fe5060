"""`ostinato synthesize`: recordings generated again from their conditioning, or audio of the system's own."""

from pathlib import Path

import torch
from tqdm import tqdm

from framework.audio.files import AudioFileError, audio_files, load_audio, save_audio
from framework.commands.experiment import ExperimentCLI, open_experiment
from framework.commands.parser import UsageError
from framework.commands.weights import load_weights
from framework.paradigms.system import seed_all


def run(arguments: list[str]) -> None:
    """Write what a system makes of `--input`, or, of one that needs none, `--count` clips of `--seconds`, as wav files.

    Raises:
        UsageError: when what to generate is not said.
    """
    cli = open_experiment("synthesize", arguments)
    source = cli.config["input"]
    if source is None and cli.model.copies:
        raise UsageError(f"{cli.experiment.__name__} generates recordings again: name one, or a folder, by --input")
    files = [] if source is None else audio_files(Path(source))
    checkpoint = load_weights(cli)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cli.model.to(device).eval()
    what = f"{len(files)} files" if source else f"{cli.config['count']} clips of {cli.config['seconds']:g} s"
    precision = cli.config["precision"]
    print(f"{checkpoint}: {what} at {cli.model.preset.sample_rate} Hz on {device} in {precision}")
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        if source is None:
            generate(cli)
        else:
            regenerate(cli, Path(source), files)


def regenerate(cli: ExperimentCLI, source: Path, files: list[Path]) -> None:
    """Write what the system makes of each recording, under the recording's name.

    Raises:
        AudioFileError: when there is nothing to read, or nothing could be.
    """
    system, output, skipped = cli.model, Path(cli.config["output"]), 0
    rate = system.preset.sample_rate
    for path in tqdm(files, unit="file", disable=len(files) < 2):
        relative = path.relative_to(source) if source.is_dir() else Path(path.name)
        try:
            audio = load_audio(path, rate)
        except AudioFileError as error:
            if len(files) == 1:
                raise
            skipped += 1
            tqdm.write(f"skipped: {error}")
            continue
        seed_all("synthesize", cli.config["seed"], str(relative))
        batch = system.analyse(audio[None].to(system.device))
        save_audio(output / relative.with_suffix(".wav"), system.synthesize(batch)[0], rate)
    if skipped == len(files):
        raise AudioFileError(f"{source}: none of the {len(files)} files could be read")
    print(f"{len(files) - skipped} written to {output}" + (f", {skipped} skipped" if skipped else ""))


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
    for number in tqdm(range(count), unit="clip", disable=count < 2):
        seed_all("synthesize", cli.config["seed"], number)
        batch = system.analyse(torch.zeros(1, 1, time, device=system.device))
        system.write(batch, output / f"{cli.experiment.__name__}_{number:03d}.wav")
    print(f"{count} written to {output}")
