"""Files of codes: what is written is read again, and damage of any kind is one clear line."""

from dataclasses import replace

import numpy as np
import pytest

from framework.audio.coded_files import CodedFileError, CodedHeader, pack, read_codes, read_header, unpack, write_codes

HEADER = CodedHeader("0123456789abcdef", "Small", 16000, 160 * 1200 - 7, 160, books=3, bits=5)


@pytest.fixture
def codes():
    return np.random.default_rng(0).integers(0, 32, (1200, 3))


@pytest.fixture
def file(tmp_path, codes):
    path = tmp_path / "song.ost"
    write_codes(path, HEADER, np.split(codes, [1, 700, 701]))
    return path


def test_codes_come_back_block_by_block(file, codes):
    assert read_header(file) == HEADER
    assert HEADER.bitrate == pytest.approx(1.5)
    blocks = list(read_codes(file))
    assert [len(block) for block in blocks] == [512, 512, 176]
    assert np.array_equal(np.concatenate(blocks), codes)
    assert file.stat().st_size - 1200 * 15 / 8 < 300
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("bits", [1, 3, 10, 17])
def test_bits_are_packed_as_a_string_of_them(bits):
    codes = np.random.default_rng(1).integers(0, 2**bits, (7, 2))
    packed = pack(codes, bits)
    text = "".join(f"{code:0{bits}b}" for code in codes.flatten())
    assert packed == int(text.ljust(8 * len(packed), "0"), 2).to_bytes(len(packed), "big")
    assert np.array_equal(unpack(packed, 7, 2, bits), codes)


def test_every_changed_byte_is_noticed(file):
    whole = file.read_bytes()
    for place in range(0, len(whole), 97):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CodedFileError, match=r"song.ost (is|has)") as raised:
            list(read_codes(file))
        assert "\n" not in str(raised.value)


def test_damage_says_where(file):
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(CodedFileError, match=r"cut short at 10\.2 s"):
        list(read_codes(file))
    file.write_bytes(whole[:-10] + b"\0" + whole[-9:])
    with pytest.raises(CodedFileError, match=r"damaged from 10\.2 s on"):
        list(read_codes(file))
    file.write_bytes(whole + b"\0")
    with pytest.raises(CodedFileError, match="behind its end"):
        list(read_codes(file))
    file.write_bytes(whole[:4] + b"\7" + whole[5:])
    with pytest.raises(CodedFileError, match="version 7"):
        read_header(file)
    file.write_bytes(b"RIFF")
    with pytest.raises(CodedFileError, match="no file of codes"):
        read_header(file)
    with pytest.raises(CodedFileError, match="No such file"):
        read_header(file.with_name("missing.ost"))


def test_a_file_of_too_few_frames_is_not_kept(tmp_path, codes):
    with pytest.raises(CodedFileError, match="1200 frames were coded of 1201"):
        write_codes(tmp_path / "song.ost", replace(HEADER, samples=160 * 1200 + 1), [codes])
    assert not list(tmp_path.iterdir())
