"""`ostinato synthesize`: generate recordings again from their conditioning."""

from pathlib import Path

import torch
from tqdm import tqdm

from framework.audio.files import AudioFileError, audio_files, load_audio, save_audio
from framework.commands.experiment import open_experiment
from framework.commands.weights import load_weights


def run(arguments: list[str]) -> None:
    """Write the copy-synthesis of a file, or of every audio file of a folder, as wav files of the same names.

    Raises:
        AudioFileError: when there is nothing to read, or nothing could be.
    """
    cli = open_experiment("synthesize", arguments)
    source, output = Path(cli.config["input"]), Path(cli.config["output"])
    files = audio_files(source)
    checkpoint = load_weights(cli)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    system = cli.model.to(device).eval()
    rate = system.preset.sample_rate
    print(f"{checkpoint}: {len(files)} files at {rate} Hz on {device}")
    skipped = 0
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
        save_audio(output / relative.with_suffix(".wav"), system.copy_synthesis(audio[None].to(device))[0], rate)
    if skipped == len(files):
        raise AudioFileError(f"{source}: none of the {len(files)} files could be read")
    print(f"{len(files) - skipped} written to {output}" + (f", {skipped} skipped" if skipped else ""))
