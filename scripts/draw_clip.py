"""Draw a held-out clip of a run as spectrograms: the original, the last output, and Griffin-Lim.

The mel filters are narrower than those of the system and reach half the sample rate, so that the pictures show what the
mel spectrogram of the system does not contain.

ostinato fit mel_inversion_bach
python scripts/draw_clip.py runs/mel_inversion/* bwv4_8-01 docs/mel_inversion_bach.png --name "mel inversion"
"""

import argparse
from dataclasses import replace
from pathlib import Path

from framework.audio.files import load_audio
from framework.audio.mel import preset
from framework.runs.folder import RunFolder
from framework.tracking.media import log_mel_picture, save_picture

SECONDS = 2.0
COLOURS = 128
"""Of the palette: enough for one colour scale, and a small file."""


def main() -> None:
    """Draw the picture that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="Folder of a finished run.")
    parser.add_argument("clip", help="Name of a held-out clip, a folder below RUN/audio.")
    parser.add_argument("output", type=Path, help="The PNG file to write.")
    parser.add_argument("--name", default="output", help="Title of the run's own panel.")
    arguments = parser.parse_args()
    folder = RunFolder(arguments.run)
    mel = preset((folder.stored_config() or {})["model"]["mel"])
    clip = folder.audio / arguments.clip
    files = {
        "original": clip / "truth.wav",
        arguments.name: max(clip.glob("step_*.wav")),
        "Griffin-Lim": clip / "griffin_lim.wav",
    }
    fine = replace(mel, n_fft=2 * mel.n_fft, win_length=2 * mel.win_length, n_mels=2 * mel.n_mels, f_max=None)
    samples = round(SECONDS * mel.sample_rate)
    audio = {title: load_audio(path, mel.sample_rate)[:, :samples] for title, path in files.items()}
    save_picture(arguments.output, log_mel_picture(audio, fine).quantize(COLOURS))


if __name__ == "__main__":
    main()
