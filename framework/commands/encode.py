"""`ostinato encode`: a recording as a small file of a codec's codes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework.audio.coded_files import SUFFIX, CodedHeader, write_codes
from framework.audio.files import AudioFileError, load_audio
from framework.generators.codecs.codec import Codec
from framework.outputs import check_outputs, output_file
from framework.progress import progress
from framework.workflow.experiment import ExperimentCLI
from framework.workflow.opened import open_trained
from framework.workflow.parser import UsageError

PIECE = 2**18
"""About as many samples are coded at once."""


def run(arguments: list[str]) -> None:
    """Code `--input` by a trained codec into `--output`, at `--model.bitrate` kilobits a second.

    Raises:
        OutputError: the output exists and `--overwrite` is not given, or it cannot be written.
    """
    cli = open_codec("encode", arguments)
    codec, source = cli.model, Path(cli.config["input"])
    output = output_file(cli.config["output"], f"{source.stem}{SUFFIX}", [SUFFIX])
    check_outputs([output], cli.config.get("overwrite", False), [source])
    audio = load_audio(source, codec.preset.sample_rate)
    if not audio.shape[-1]:
        raise AudioFileError(f"{source} has no samples at {codec.preset.sample_rate} Hz")
    header = header_of(codec, type(codec).__name__, audio.shape[-1])
    write_codes(output, header, coded(codec, audio[None]))
    size, plain = output.stat().st_size, 2 * audio.shape[-1]
    seconds = audio.shape[-1] / codec.preset.sample_rate
    print(f"{output}: {seconds:.1f} s at {header.bitrate:.2f} kbit/s, {size} bytes, {size / plain:.2g} of 16 bit PCM")


def open_codec(command: str, arguments: list[str]) -> ExperimentCLI:
    """Return the codec that a command line means, its weights loaded: by a run's path, or an experiment's name.

    Raises:
        UsageError: the system has no codes.
    """
    cli = open_trained(command, arguments, check).cli
    cli.model.to("cuda" if torch.cuda.is_available() else "cpu")
    return cli


def check(cli: ExperimentCLI) -> None:
    """Refuse systems without codes."""
    if not isinstance(cli.model, Codec):
        raise UsageError(f"{cli.experiment.__name__} has no codes: name a codec, as codec_bach")


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
