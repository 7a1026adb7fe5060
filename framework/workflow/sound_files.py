"""Synthesising whole folders: recordings again from their conditioning, or clips of a system's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from framework.audio.files import WRITABLE_SUFFIXES, AudioFileError, NotFiniteError, audio_files, load_audio, save_audio
from framework.errors import InvalidValueError, OstinatoError
from framework.outputs import check_outputs, output_file
from framework.paradigms.system import seed_all
from framework.progress import print_above, progress
from framework.runs.provenance import few
from framework.workflow.plan import Plan
from framework.workflow.trained import Trained, load_trained, planned

Precision = Literal["float32", "bf16"]
"""Arithmetic of the networks: bf16 is faster if the processor or GPU supports it, and less exact."""


@dataclass(frozen=True)
class Written:
    """Audio files that were written.

    Args:
        files: The files.
        skipped: Number of recordings that could not be used.
    """

    files: list[Path]
    skipped: int = 0


def regenerate_files(
    run: Any,
    source: str | Path,
    output: str | Path,
    *,
    ckpt: str | int | None = None,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> Written:
    """Generate a recording, or each of a folder, again from its conditioning. Random numbers follow the plan's seed.

    Of several recordings, those that cannot be used are named and left out.

    Args:
        run: A run, the path of one, of a checkpoint or of a release, a plan, or the name of an experiment.
        source: An audio file, or a folder of them.
        output: Folder for the files, each under the name of its recording as wav; of one recording, also the audio
            file (wav, flac).
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        precision: Arithmetic of the networks.
        overwrite: Whether to replace files that exist.

    Raises:
        AudioFileError: there is nothing to read, or no recording can be used.
        InvalidValueError: the only recording cannot be used, or a file would be written over another.
        OutputError: a file exists, or cannot be written.
        NotFiniteError: the system makes NaN or infinite samples of a recording; the other files are written.
    """
    plan, path = planned(run), Path(source)
    targets = targets_of(path, output)
    check_outputs(targets.values(), overwrite, targets)
    trained = load_trained(plan, ckpt)
    with computing(trained, f"{len(targets)} files", precision):
        return regenerate(plan, path, targets)


def generate_files(
    run: Any,
    output: str | Path,
    *,
    count: int = 1,
    seconds: float = 5.0,
    ckpt: str | int | None = None,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> Written:
    """Generate clips by a system that needs no input; the plan's seed and the number of a clip determine it.

    Args:
        run: A run, the path of one, of a checkpoint or of a release, a plan, or the name of an experiment.
        output: Folder for the wav files; of one clip, also the audio file (wav, flac).
        count: Number of clips.
        seconds: Length of a clip.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        precision: Arithmetic of the networks.
        overwrite: Whether to replace files that exist.

    Raises:
        InvalidValueError: the system needs an input, there would be no clips, or clips without length, or several in
            one file.
        OutputError: a file exists, or cannot be written.
    """
    plan = planned(run)
    if plan.system.reconstructs_input:
        raise InvalidValueError(
            f"{plan.experiment.__name__} generates recordings again: name one, or a folder, by --input"
        )
    files = clips_of(plan, output, count, seconds)
    check_outputs(files, overwrite)
    trained = load_trained(plan, ckpt)
    with computing(trained, f"{count} clips of {seconds:g} s", precision):
        return generate(plan, files, seconds)


@contextmanager
def computing(trained: Trained, what: str, precision: Precision) -> Iterator[None]:
    """Print what is generated, and compute on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    system = trained.plan.system.to(device).eval()
    print(f"{trained.source}: {what} at {system.preset.sample_rate} Hz on {device} in {precision}")
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        yield


def targets_of(source: Path, output: str | Path) -> dict[Path, Path]:
    """Return for each recording of a folder, or for one, the file that is written.

    That is its name as wav in the folder `output`; of one recording, also the audio file `output`.

    Raises:
        AudioFileError: when there is nothing to read.
        InvalidValueError: when a file would be written over another.
        OutputError: `output` ends like a file that cannot be written.
    """
    targets: dict[Path, Path] = {}
    origins: dict[Path, Path] = {}
    for path in audio_files(source):
        name = (path.relative_to(source) if source.is_dir() else Path(path.name)).with_suffix(".wav")
        target = output_file(output, str(name), WRITABLE_SUFFIXES)
        if target in origins:
            if target == Path(output):
                raise InvalidValueError(
                    f"--output {output} is one file, {source} has several recordings: name a folder"
                )
            raise InvalidValueError(f"{origins[target]} and {path} would both become {target}: rename one of them")
        origins[target], targets[path] = path, target
    return targets


def regenerate(plan: Plan, source: Path, targets: dict[Path, Path]) -> Written:
    """Write what the system makes of each recording; of several, those that cannot be used are named and left out.

    Raises:
        ValueError: when the only recording cannot be used.
        AudioFileError: when none can.
        NotFiniteError: what the system makes of a recording has NaN or infinite samples; the others are written.
    """
    system, skipped, diverged = plan.system, 0, []
    rate = system.preset.sample_rate
    for path, target in progress(targets.items(), "synthesizing", unit="files"):
        relative = path.relative_to(source) if source.is_dir() else Path(path.name)
        try:
            audio = load_audio(path, rate)
            seed_all("synthesize", plan.seed, str(relative))
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
    return Written([target for target in targets.values() if target.exists()], skipped)


def clips_of(plan: Plan, output: str | Path, count: int, seconds: float) -> list[Path]:
    """Return the files of the clips that a system generates without input.

    Raises:
        InvalidValueError: there would be none, or clips without length, or several in one file.
        OutputError: `--output` ends like a file that cannot be written.
    """
    if count < 1 or round(seconds * plan.system.preset.sample_rate) < 1:
        raise InvalidValueError("nothing to generate: --count and --seconds have to be positive")
    name = plan.experiment.__name__
    files = [output_file(output, f"{name}_{number:03d}.wav", WRITABLE_SUFFIXES) for number in range(count)]
    if count > 1 and files[0] == files[1]:
        raise InvalidValueError(f"--output {output} is one file, --count {count} are several: name a folder")
    return files


def generate(plan: Plan, files: list[Path], seconds: float) -> Written:
    """Write clips of the system's own; the seed with a clip's number gives the same one again."""
    system = plan.system
    time = round(seconds * system.preset.sample_rate)
    for number, file in enumerate(progress(files, "synthesizing", unit="clips")):
        seed_all("synthesize", plan.seed, number)
        batch = system.batch_from_audio(torch.zeros(1, 1, time, device=system.device))
        system.write(batch, file)
    return Written(files)
