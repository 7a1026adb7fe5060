"""`ostinato decode`: the audio of a file of codes, written as it is decoded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from framework.audio.coded_files import CodedFileError, CodedHeader, read_codes, read_header
from framework.audio.files import WRITABLE_SUFFIXES, save_pieces
from framework.commands.encode import open_codec
from framework.generators.codecs.codec import Codec
from framework.outputs import check_outputs, output_file
from framework.progress import Progress


def run(arguments: list[str]) -> None:
    """Decode `--input`, coded by the very codec that is named, into the audio file `--output`.

    Raises:
        OutputError: the output exists and `--overwrite` is not given, or it cannot be written.
    """
    cli = open_codec("decode", arguments)
    codec, source = cli.model, cli.config["input"]
    header = read_header(source)
    output = output_file(cli.config["output"], f"{Path(source).stem}.wav", WRITABLE_SUFFIXES)
    check_outputs([output], cli.config.get("overwrite", False), [source], 2 * header.samples)
    check_model(source, header, codec)
    save_pieces(output, decoded(codec, source, header), header.sample_rate)
    print(f"{output}: {header.samples / header.sample_rate:.1f} s from {header.bitrate:.2f} kbit/s")


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
