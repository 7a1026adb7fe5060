"""`ostinato synthesize`: recordings generated again from their conditioning, or audio of the system's own."""

from pathlib import Path

import torch

from framework.audio.files import WRITABLE_SUFFIXES, AudioFileError, NotFiniteError, audio_files, load_audio, save_audio
from framework.errors import OstinatoError
from framework.outputs import check_outputs, output_file
from framework.paradigms.system import seed_all
from framework.progress import print_above, progress
from framework.runs.provenance import few
from framework.workflow.experiment import ExperimentCLI, open_experiment
from framework.workflow.opened import loaded
from framework.workflow.parser import UsageError


def run(arguments: list[str]) -> None:
    """Write what a system makes of `--input`, or, of one that needs none, `--count` clips of `--seconds`, as wav files.

    Raises:
        UsageError: when what to generate is not said.
    """
    cli = open_experiment("synthesize", arguments)
    source = cli.config["input"]
    if source is None and cli.model.reconstructs_input:
        raise UsageError(f"{cli.experiment.__name__} generates recordings again: name one, or a folder, by --input")
    targets = {} if source is None else targets_of(Path(source), cli.config["output"])
    clips = [] if source else clips_of(cli)
    check_outputs(targets.values() or clips, cli.config["overwrite"], targets)
    trained = loaded(cli)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cli.model.to(device).eval()
    what = f"{len(targets)} files" if source else f"{cli.config['count']} clips of {cli.config['seconds']:g} s"
    precision = cli.config["precision"]
    print(f"{trained.source}: {what} at {cli.model.preset.sample_rate} Hz on {device} in {precision}")
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        if source is None:
            generate(cli, clips)
        else:
            regenerate(cli, Path(source), targets)


def targets_of(source: Path, output: str) -> dict[Path, Path]:
    """Return for each recording of a folder, or for one, the file that is written.

    That is its name as wav in the folder `output`; of one recording, also the audio file `output`.

    Raises:
        AudioFileError: when there is nothing to read.
        UsageError: when a file would be written over another.
        OutputError: `output` ends like a file that cannot be written.
    """
    targets: dict[Path, Path] = {}
    origins: dict[Path, Path] = {}
    for path in audio_files(source):
        name = (path.relative_to(source) if source.is_dir() else Path(path.name)).with_suffix(".wav")
        target = output_file(output, str(name), WRITABLE_SUFFIXES)
        if target in origins:
            if target == Path(output):
                raise UsageError(f"--output {output} is one file, {source} has several recordings: name a folder")
            raise UsageError(f"{origins[target]} and {path} would both become {target}: rename one of them")
        origins[target], targets[path] = path, target
    return targets


def regenerate(cli: ExperimentCLI, source: Path, targets: dict[Path, Path]) -> None:
    """Write what the system makes of each recording; of several, those that cannot be used are named and left out.

    Raises:
        ValueError: when the only recording cannot be used.
        AudioFileError: when none can.
        NotFiniteError: what the system makes of a recording has NaN or infinite samples; the others are written.
    """
    system, skipped, diverged = cli.model, 0, []
    rate = system.preset.sample_rate
    for path, target in progress(targets.items(), "synthesizing", unit="files"):
        relative = path.relative_to(source) if source.is_dir() else Path(path.name)
        try:
            audio = load_audio(path, rate)
            seed_all("synthesize", cli.config["seed"], str(relative))
            batch = system.batch_from_audio(audio[None].to(system.device))
            save_audio(target, system.synthesize(batch)[0], rate)
        except NotFiniteError:
            if len(targets) == 1:
                raise
            diverged.append(str(path))
        except OstinatoError as error:
            if len(targets) == 1:
                raise
            skipped += 1
            print_above(f"skipped: {error}" if isinstance(error, AudioFileError) else f"skipped: {path}: {error}")
    if diverged:
        raise NotFiniteError(
            f"of {len(diverged)} of {len(targets)} files {type(system).__name__} makes NaN or infinite samples, which "
            f"are not written: {few(diverged)}; use an earlier checkpoint, or a higher precision"
        )
    if skipped == len(targets):
        raise AudioFileError(f"{source}: none of the {len(targets)} files could be used")
    written = len(targets) - skipped
    print(f"{written} written to {cli.config['output']}" + (f", {skipped} skipped" if skipped else ""))


def clips_of(cli: ExperimentCLI) -> list[Path]:
    """Return the files of the clips that a system generates without input.

    Raises:
        UsageError: there would be none, or clips without length, or several in one file.
        OutputError: `--output` ends like a file that cannot be written.
    """
    count, output = cli.config["count"], cli.config["output"]
    if count < 1 or round(cli.config["seconds"] * cli.model.preset.sample_rate) < 1:
        raise UsageError("nothing to generate: --count and --seconds have to be positive")
    name = cli.experiment.__name__
    files = [output_file(output, f"{name}_{number:03d}.wav", WRITABLE_SUFFIXES) for number in range(count)]
    if count > 1 and files[0] == files[1]:
        raise UsageError(f"--output {output} is one file, --count {count} are several: name a folder")
    return files


def generate(cli: ExperimentCLI, files: list[Path]) -> None:
    """Write clips of the system's own; `--seed` with a clip's number gives the same one again."""
    system = cli.model
    time = round(cli.config["seconds"] * system.preset.sample_rate)
    for number, file in enumerate(progress(files, "synthesizing", unit="clips")):
        seed_all("synthesize", cli.config["seed"], number)
        batch = system.batch_from_audio(torch.zeros(1, 1, time, device=system.device))
        system.write(batch, file)
    print(f"{len(files)} written to {cli.config['output']}")
