"""Encoding recordings by a trained codec into small files of codes, and decoding them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from framework.audio.coded_files import SUFFIX, CodedFileError, CodedHeader, read_codes, read_header, write_codes
from framework.audio.files import WRITABLE_SUFFIXES, AudioFileError, load_audio, save_pieces
from framework.errors import InvalidValueError
from framework.generators.codecs.codec import Codec
from framework.outputs import check_outputs, output_file
from framework.progress import Progress, progress
from framework.workflow.trained import load_trained, planned

PIECE = 2**18
"""About as many samples are encoded at once."""


@dataclass(frozen=True)
class Coded:
    """A file that was encoded or decoded.

    Args:
        path: The file that was written.
        header: What the file of codes says of itself.
    """

    path: Path
    header: CodedHeader

    @property
    def seconds(self) -> float:
        """Length of the audio."""
        return self.header.samples / self.header.sample_rate


def encode(
    run: Any, source: str | Path, output: str | Path, *, ckpt: str | int | None = None, overwrite: bool = False
) -> Coded:
    """Encode a recording by a codec, at the codec's bitrate.

    Args:
        run: A trained codec: a run, the path of one or of a checkpoint, a plan, or the name of an experiment.
        source: The audio file.
        output: The .ost file, or a folder for it.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        overwrite: Whether to replace a file that exists.

    Raises:
        InvalidValueError: the system is no codec.
        OutputError: the output exists, or it cannot be written.
        AudioFileError: the recording cannot be read, or is empty.
    """
    return encode_by(open_codec(run, ckpt), source, output, overwrite)


def decode(
    run: Any, source: str | Path, output: str | Path, *, ckpt: str | int | None = None, overwrite: bool = False
) -> Coded:
    """Decode a file of codes by the codec that encoded it. Memory does not grow with the length.

    Args:
        run: As in `encode`.
        source: The .ost file.
        output: The audio file (wav, flac), or a folder for it.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        overwrite: Whether to replace a file that exists.

    Raises:
        InvalidValueError: the system is no codec.
        OutputError: the output exists, or it cannot be written.
        CodedFileError: the file is damaged, or another network encoded it.
    """
    return decode_by(open_codec(run, ckpt), source, output, overwrite)


def open_codec(run: Any, ckpt: str | int | None = None) -> Codec:
    """Return a trained codec, on the GPU where there is one.

    Raises:
        InvalidValueError: the system has no codes.
        RunError: there is no such run.
    """
    plan = planned(run)
    if not issubclass(plan.experiment, Codec):
        raise InvalidValueError(f"{plan.experiment.__name__} has no codes: name a codec, as codec_bach")
    codec: Codec = load_trained(plan, ckpt).system
    return codec.to("cuda" if torch.cuda.is_available() else "cpu")


def encode_by(codec: Codec, source: str | Path, output: str | Path, overwrite: bool = False) -> Coded:
    """Encode a recording; see `encode`."""
    source, rate = Path(source), codec.preset.sample_rate
    path = output_file(output, f"{source.stem}{SUFFIX}", [SUFFIX])
    check_outputs([path], overwrite, [source])
    audio = load_audio(source, rate)
    if not audio.shape[-1]:
        raise AudioFileError(f"{source} has no samples at {rate} Hz")
    header = header_of(codec, type(codec).__name__, audio.shape[-1])
    write_codes(path, header, coded(codec, audio[None]))
    return Coded(path, header)


def decode_by(codec: Codec, source: str | Path, output: str | Path, overwrite: bool = False) -> Coded:
    """Decode a file of codes; see `decode`."""
    source = str(source)
    header = read_header(source)
    path = output_file(output, f"{Path(source).stem}.wav", WRITABLE_SUFFIXES)
    check_outputs([path], overwrite, [source], 2 * header.samples)
    check_model(source, header, codec)
    save_pieces(path, decoded(codec, source, header), header.sample_rate)
    return Coded(path, header)


def header_of(codec: Codec, experiment: str, samples: int) -> CodedHeader:
    """Return the header of a file of so many samples, coded by a codec at its bitrate."""
    network = codec.network
    return CodedHeader(
        model=codec.fingerprint(),
        experiment=experiment,
        sample_rate=codec.preset.sample_rate,
        samples=samples,
        samples_per_frame=network.samples_per_frame,
        books=network.n_codebooks,
        bits=network.quantiser.bits,
    )


@torch.no_grad()
def coded(codec: Codec, audio: Tensor) -> Iterator[np.ndarray]:
    """Yield the codes `(frames, books)` of audio `(1, 1, time)`, piece by piece."""
    frame = codec.network.samples_per_frame
    parts = progress(audio.split(max(PIECE // frame, 1) * frame, dim=-1), "encoding", unit="pieces")
    for codes in codec.network.stream_encode(piece.to(codec.device) for piece in parts):
        yield codes[0].T.cpu().numpy()


def check_model(source: str, header: CodedHeader, codec: Codec) -> None:
    """Refuse codes of another network, and a header that states another shape of codes than the network has.

    Raises:
        CodedFileError: naming the network that coded them, or what differs.
    """
    if header.model != codec.fingerprint():
        raise CodedFileError(
            f"{source} was coded by another network ({header.experiment}, {header.model}; this is "
            f"{type(codec).__name__}, {codec.fingerprint()}): name the run, or the --ckpt_path, that coded it"
        )

    network = codec.network
    there = (header.sample_rate, header.samples_per_frame, header.bits)
    here = (codec.preset.sample_rate, network.samples_per_frame, network.quantiser.bits)
    if there != here or header.books > len(network.quantiser.layers):
        raise CodedFileError(
            f"{source} states {there[0]} Hz, {there[1]} samples a frame and {header.books} codes of {there[2]} bits; "
            f"its codec has {here[0]} Hz, {here[1]} samples and at most {len(network.quantiser.layers)} codes of "
            f"{here[2]} bits: encode the recording again"
        )


def known_codes(codec: Codec, source: str) -> Iterator[np.ndarray]:
    """Yield the codes `(frames, books)` of a file, each of them one that the codec has.

    Raises:
        CodedFileError: the file is damaged, or has other codes.
    """
    size = codec.network.quantiser.size
    for codes in read_codes(source):
        if codes.max(initial=0) >= size:
            raise CodedFileError(f"{source} has the code {codes.max()}, its codec {size} codes: encode it again")
        yield codes


@torch.no_grad()
def decoded(codec: Codec, source: str, header: CodedHeader) -> Iterator[Tensor]:
    """Yield the audio `(time,)` of a file of codes, block by block."""
    blocks = (torch.from_numpy(codes.T.copy())[None].to(codec.device) for codes in known_codes(codec, source))
    left, rate = header.samples, header.sample_rate
    with Progress("decoding", round(left / rate), "seconds of audio") as shown:
        for audio in codec.network.stream_decode(blocks):
            yield audio[0, 0, :left]
            left -= min(audio.shape[-1], left)
            shown.reach(round((header.samples - left) / rate))
