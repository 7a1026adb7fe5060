"""What is cut out of a FLAC stream equals the same part of the whole, decoded by libsndfile."""

import io

import numpy as np
import pytest
import soundfile

from datamodules.shards.flac import cut, join
from datamodules.shards.index import BadClipError, decode


def flac(rate, channels, seconds, subtype):
    random = np.random.default_rng(0)
    length = int(rate * seconds)
    audio = np.cumsum(random.standard_normal((length, channels)), 0)
    audio *= np.linspace(0, 0.9, length)[:, None] ** 3 / np.abs(audio).max()  # frames of very different sizes
    audio[length // 3 : length // 2] = 0
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format="FLAC", subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("rate", "channels", "seconds", "subtype"),
    [(22050, 1, 8, "PCM_16"), (44100, 2, 40, "PCM_16"), (48000, 1, 3, "PCM_24"), (12345, 2, 5, "PCM_16")],
)
def test_a_cut_equals_that_part_of_the_whole_and_little_more_is_read(rate, channels, seconds, subtype):
    data = flac(rate, channels, seconds, subtype)
    whole = decode(io.BytesIO(data))
    random, read = np.random.default_rng(1), []

    def counted(offset, length):
        read.append(length)
        return data[offset : offset + length]

    for _ in range(100):
        count = int(random.integers(1, 9000))
        start = int(random.integers(0, len(whole) - count + 1))
        piece = cut(counted, len(data), start, count)
        assert piece is not None
        assert piece.bits == int(subtype[4:])
        found = decode(io.BytesIO(join([piece])), 0, piece.samples)[piece.skip :][:count]
        np.testing.assert_array_equal(found, whole[start : start + count])
    assert sum(read) / 100 < min(len(data), 300_000)


def test_what_cannot_be_cut_is_left_to_the_decoder():
    data = flac(22050, 1, 8, "PCM_16")

    def cut_of(data, start=60_000):
        return cut(lambda offset, length: data[offset : offset + length], len(data), start, 8192)

    assert cut_of(data) is not None
    assert cut_of(data, 8 * 22050) is None, "behind its end"
    assert cut_of(b"OggS" + data) is None
    assert cut_of(data[:30]) is None
    assert cut_of(data[: len(data) // 8]) is None, "cut short"
    assert cut_of(data[:100] + bytes(len(data) - 100)) is None, "no frames"


def test_cuts_of_many_streams_are_decoded_as_one_with_frames_of_any_length_anywhere():
    streams = [flac(22050, 1, seconds, "PCM_16") for seconds in (3, 5, 4.321)]
    wholes = [decode(io.BytesIO(data), dtype="int16") for data in streams]
    random, cuts, wanted = np.random.default_rng(2), [], []
    for number in range(60):
        data, whole = streams[number % 3], wholes[number % 3]
        count = int(random.integers(1, 20_000))
        start = len(whole) - count if number % 4 == 0 else int(random.integers(0, len(whole) - count + 1))
        cuts.append(cut(lambda offset, length, data=data: data[offset : offset + length], len(data), start, count))
        wanted.append(whole[start : start + count])
    audio = decode(io.BytesIO(join(cuts)), 0, sum(piece.samples for piece in cuts), "int16")
    begin = 0
    for piece, samples in zip(cuts, wanted, strict=True):
        np.testing.assert_array_equal(audio[begin + piece.skip :][: len(samples)], samples)
        begin += piece.samples


def test_a_flipped_bit_is_told_when_many_are_decoded_as_one():
    data = flac(22050, 1, 8, "PCM_16")
    damaged = bytearray(data)
    whole = cut(lambda offset, length: data[offset : offset + length], len(data), 80_000, 8192)
    damaged[data.index(whole.frames[1].rest) + 500] ^= 4
    piece = cut(lambda offset, length: bytes(damaged[offset : offset + length]), len(data), 80_000, 8192)
    with pytest.raises(BadClipError, match="undecodable"):
        decode(io.BytesIO(join([whole, piece, whole])), 0, 3 * whole.samples, "int16")
