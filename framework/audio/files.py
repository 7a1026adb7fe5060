"""Reads audio files of any usual format as mono float32, and writes 16-bit files."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from framework.audio.checks import check_shape
from framework.audio.decoding.reader import AudioReader, DecodingError, Ending
from framework.audio.envelopes import full_precision
from framework.audio.resample import resample as resample_array
from framework.audio.resample import resample_blocks
from framework.errors import OstinatoError
from framework.folders import AUDIO_SUFFIXES, ignored, list_folder, printable
from framework.os_errors import explain
from framework.writing import ErrorKeeper, replacing

WRITABLE_SUFFIXES = (".wav", ".flac", ".aiff", ".au", ".caf", ".w64", ".rf64")
"""Endings of the files that `save_audio` writes."""
LONGEST_NAME = 200
"""Bytes of a file's name that `safe_name` makes; file systems allow 255, with what is put before and behind."""

_log = logging.getLogger(__name__)
_SHOWN = 10


class AudioFileError(OstinatoError, ValueError):
    """An audio file or folder cannot be used."""


class NotFiniteError(OstinatoError, ValueError):
    """Generated audio has NaN or infinite samples and is not written."""


def load_audio(path: str | Path, sample_rate: int) -> Tensor:
    """Read an audio file of any usual format, width, rate and channel count.

    Integer formats are scaled to [-1, 1]; floating-point files keep their values, beyond full scale too. Channels are
    averaged. Of a file that is cut short or damaged, what comes before is returned and a warning is logged.

    Args:
        path: The file: wav (8 to 32 bit, float), flac, ogg, mp3, ...
        sample_rate: Rate of the result in Hz.

    Returns:
        Mono float32 audio `(1, time)`.

    Raises:
        AudioFileError: if the file does not exist, is empty, cannot be decoded, holds no sample, or holds NaN or
            infinite samples.
    """
    audio, ending = read_audio(path, sample_rate)
    if not ending.whole:
        _log.warning("%s is damaged or cut short: %s", printable(path), ending.message)
    return audio


def read_audio(path: str | Path, sample_rate: int) -> tuple[Tensor, Ending]:
    """Read an audio file as `load_audio` does; return the audio and whether it is whole.

    Raises:
        AudioFileError: as for `load_audio`.
    """
    path = Path(path)
    try:
        _check(path)
        with AudioReader.open(path) as recording:
            bad: list[int] = []
            blocks = _mono(recording, bad)
            pieces = resample_blocks(blocks, recording.sample_rate, sample_rate)
            audio = np.concatenate([np.zeros(0, np.float32), *pieces])
            ending = recording.ending
    except OSError as error:
        raise AudioFileError(f"{printable(path)} cannot be read: {explain(error)}") from error
    except DecodingError as error:
        raise AudioFileError(_undecodable(printable(path), error)) from None
    assert ending is not None
    if not ending.samples:
        what = f"holds no samples ({ending.message})" if ending.faults else "holds no samples"
        raise AudioFileError(f"{printable(path)} {what}: remove it or export it again")
    if sum(bad):
        raise AudioFileError(
            f"{printable(path)} has {sum(bad)} NaN or infinite samples of {ending.samples}: repair it or remove it"
        )
    return torch.from_numpy(audio)[None], ending


def _check(path: Path) -> None:
    if not path.exists():
        raise AudioFileError(f"{path} does not exist: check the path")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder, not an audio file: name a file in it")
    if path.is_file() and path.stat().st_size == 0:
        raise AudioFileError(f"{path} is empty (0 bytes): copy it again or remove it")


def _undecodable(path: str, error: DecodingError) -> str:
    reason = str(error).removeprefix(f"{error.kind}: ")
    advice = "" if "`" in reason else ": is it audio? convert it to wav or flac, or remove it"
    return f"{path} cannot be decoded ({reason}){advice}"


def _mono(recording: AudioReader, bad: list[int]) -> Iterator[np.ndarray]:
    """Yield the mean of the channels, and count samples that are NaN or infinite."""
    for block in recording.blocks():
        mono = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mono).all():
            bad.append(int((~np.isfinite(block).all(axis=1)).sum()))
            mono = np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0)
        yield mono


def resample(audio: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Resample audio `(..., time)` from `rate` to `sample_rate` in Hz; see `framework/audio/resample.py`.

    Raises:
        InvalidValueError: the audio is empty, or a rate is less than 1 Hz.
    """
    check_shape("audio", audio, "...", "time")
    if rate == sample_rate:
        return audio
    samples = full_precision(audio.detach()).cpu().numpy()
    return torch.from_numpy(resample_array(samples, rate, sample_rate)).to(audio.device)


def save_audio(path: str | Path, audio: Tensor, sample_rate: int) -> None:
    """Write audio `(1, time)` or `(time,)` as a 16-bit file whose format follows from the suffix (wav, flac).

    Samples beyond [-1, 1] are clipped. The file is complete or not there: it is written beside its place and then
    moved.

    Raises:
        AudioFileError: the suffix is that of no format.
        NotFiniteError: samples are NaN or infinite; no file is written, and an earlier one is as it was.
        WriteError: the file cannot be written.
    """
    save_pieces(path, [audio], sample_rate)


def save_pieces(path: str | Path, pieces: Iterable[Tensor], sample_rate: int) -> None:
    """Write audio from pieces, as `save_audio` writes a whole clip.

    Raises:
        AudioFileError: the suffix is that of no format.
        NotFiniteError: samples are NaN or infinite; no file is written, and an earlier one is as it was.
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
                    samples = piece.detach().reshape(-1).float().cpu()
                    check_finite(samples, str(path))
                    file.write((samples * 32768).round().clamp(-32768, 32767).to(torch.int16).numpy())
        except (soundfile.LibsndfileError, AssertionError):
            kept.check()
            raise
        kept.check()


def check_finite(audio: Tensor, name: str) -> None:
    """Check that all samples are finite; networks that have diverged or overflow generate others.

    Args:
        audio: Samples of any shape.
        name: Name of the clip or file, for the message.

    Raises:
        NotFiniteError: some samples are NaN or infinite.
    """
    if count := int((~torch.isfinite(audio)).sum()):
        raise NotFiniteError(
            f"{name}: {count} of {audio.numel()} samples are NaN or infinite, so nothing is written: the network has "
            "diverged or overflows; use an earlier checkpoint, or a higher precision"
        )


def audio_files(path: str | Path) -> list[Path]:
    """Return the file itself, or every audio file below a folder in a fixed order; hidden files are not audio.

    What else could be meant as audio and cannot be read (m4a, zip, ...) is logged as a warning.

    Raises:
        AudioFileError: if there is no such file or folder, or no audio file in it.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError(f"{path} does not exist: check the path")
    if path.is_file():
        return [path]
    listing = list_folder(path)
    for file, reason in listing.unusable[:_SHOWN]:
        _log.warning("%s is left out: %s", file, reason)
    if len(listing.unusable) > _SHOWN:
        _log.warning("%d more files are left out", len(listing.unusable) - _SHOWN)
    for message in ignored(listing, path).messages:
        _log.warning("%s: %s", path, message)
    if not listing.audio:
        suffixes = ", ".join(AUDIO_SUFFIXES)
        raise AudioFileError(f"{path} holds no audio file ({suffixes}): check the path or convert the files")
    return listing.audio


def safe_name(key: str) -> str:
    """Convert a clip's name to a file name: without special characters, and not too long."""
    name = key.replace("/", "_").replace("\\", "_").lstrip(".") or "_"
    if len(name.encode(errors="surrogateescape")) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:12]
    kept = name.encode(errors="surrogateescape")[: LONGEST_NAME - 13].decode(errors="ignore")
    return f"{kept}_{digest}"
