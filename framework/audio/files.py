"""Reading and writing audio files: whatever people have becomes mono float32 at one rate, or one clear error."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from framework.audio.resample import resample as resample_array
from framework.errors import OstinatoError
from framework.writing import ErrorKeeper, replacing

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64")


class AudioFileError(OstinatoError, ValueError):
    """An audio file or folder that cannot be used; the message names it and says what to do."""


def load_audio(path: str | Path, sample_rate: int) -> Tensor:
    """Read an audio file of any usual format, width, rate and channel count.

    Integer formats are scaled to [-1, 1]; floating-point files keep their values, beyond full scale too. Channels are
    averaged.

    Args:
        path: The file: wav (8 to 32 bit, float), flac, ogg, mp3, ...
        sample_rate: Rate of the result in Hz.

    Returns:
        Mono float32 audio `(1, time)`.

    Raises:
        AudioFileError: if the file does not exist, is empty, cannot be decoded to its end, holds no sample, or holds
            NaN or infinite samples.
    """
    path = Path(path)
    samples, rate = _decode(path)
    if not len(samples):
        raise AudioFileError(f"{path} holds no samples: remove it or export it again")
    mono = samples.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        bad = int((~np.isfinite(samples).all(axis=1)).sum())
        raise AudioFileError(f"{path} has {bad} NaN or infinite samples of {len(samples)}: repair it or remove it")
    return resample(torch.from_numpy(mono)[None], rate, sample_rate)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Return all samples `(time, channels)` and the rate in Hz."""
    if not path.exists():
        raise AudioFileError(f"{path} does not exist: check the path")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder, not an audio file: name a file in it")
    try:
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path} is empty (0 bytes): copy it again or remove it")
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)
            # Decoders end a damaged stream quietly; only the count in a flac header tells.
            if file.format == "FLAC" and len(samples) < file.frames:
                raise AudioFileError(f"{path} ends after {len(samples)} of {file.frames} samples: copy it again")
            return samples, file.samplerate
    except OSError as error:
        raise AudioFileError(f"{path} cannot be read ({error.strerror or error}): check its permissions") from error
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise AudioFileError(
            f"{path} cannot be decoded ({reason}): is it audio? convert it to wav or flac, or remove it"
        ) from error


def resample(audio: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Resample audio `(..., time)` from `rate` to `sample_rate` in Hz; see `framework/audio/resample.py`."""
    if rate == sample_rate:
        return audio
    return torch.from_numpy(resample_array(audio.detach().cpu().numpy(), rate, sample_rate)).to(audio.device)


def save_audio(path: str | Path, audio: Tensor, sample_rate: int) -> None:
    """Write audio `(1, time)` or `(time,)` as a 16-bit file whose format follows from the suffix (wav, flac).

    What exceeds [-1, 1] is clipped and NaN becomes silence, so that what a diverging network makes can still be
    saved. The file is complete or not there: it is written beside its place and then moved.

    Raises:
        AudioFileError: the suffix is that of no format.
        WriteError: the file cannot be written.
    """
    save_pieces(path, [audio], sample_rate)


def save_pieces(path: str | Path, pieces: Iterable[Tensor], sample_rate: int) -> None:
    """Write audio that comes in pieces, as `save_audio` writes the whole.

    Raises:
        AudioFileError: the suffix is that of no format.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    if not soundfile.check_format(path.suffix[1:].upper(), "PCM_16"):
        raise AudioFileError(f"{path}: there is no 16-bit format {path.suffix!r}: name a .wav or .flac file")
    shape = {"samplerate": sample_rate, "channels": 1, "subtype": "PCM_16", "format": path.suffix[1:].upper()}
    with replacing(path, durable=False) as part, open(part, "w+b") as target:
        # libsndfile does not say why it could not write.
        kept = ErrorKeeper(target)
        try:
            with soundfile.SoundFile(kept, "w", **shape) as file:
                for piece in pieces:
                    finite = torch.nan_to_num(piece.detach().reshape(-1).float().cpu(), nan=0, posinf=1, neginf=-1)
                    file.write((finite * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy())
        except (soundfile.LibsndfileError, AssertionError):
            kept.check()
            raise
        kept.check()


def audio_files(path: str | Path) -> list[Path]:
    """Return the file itself, or every audio file below a folder in a fixed order; hidden files are not audio.

    Raises:
        AudioFileError: if there is no such file or folder, or no audio file in it.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError(f"{path} does not exist: check the path")
    if path.is_file():
        return [path]
    found = sorted(_walk(path))
    if not found:
        raise AudioFileError(f"{path} holds no audio file ({', '.join(SUFFIXES)}): check the path or convert the files")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Walk a tree through links to folders, each folder once."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(here, n) for n in names if n.lower().endswith(SUFFIXES) and not n.startswith("."))


def _unreadable(error: OSError) -> None:
    raise AudioFileError(f"{error.filename} cannot be read ({error.strerror}): check its permissions") from error


def safe_name(key: str) -> str:
    """Return a clip's name without what a file system takes for something else."""
    return key.replace("/", "_").replace("\\", "_").lstrip(".") or "_"
