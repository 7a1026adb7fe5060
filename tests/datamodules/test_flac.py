"""What is cut out of a FLAC stream equals the same part of the whole, decoded by libsndfile."""

import io

import numpy as np
import pytest
import soundfile

from datamodules.flac import cut, join
from datamodules.index import decode


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
