"""Whatever a header states and wherever a file is cut: every sample that decodes is there, or the reason is named."""

import functools
import io
import itertools
import os
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.audio.decoding.chunks import wav_pcm
from framework.audio.decoding.contents import MemoryContents
from framework.audio.decoding.reader import AudioReader, DecodingError, Ending

RATE, SAMPLES = 22050, 20_000
FORMATS = {
    "wav8": ("WAV", "PCM_U8", RATE),
    "wav16": ("WAV", "PCM_16", RATE),
    "wav24": ("WAV", "PCM_24", RATE),
    "wav32": ("WAV", "PCM_32", RATE),
    "wav float": ("WAV", "FLOAT", RATE),
    "wav double": ("WAV", "DOUBLE", RATE),
    "wav mu-law": ("WAV", "ULAW", 8000),
    "wav a-law": ("WAV", "ALAW", 8000),
    "wav IMA ADPCM": ("WAV", "IMA_ADPCM", RATE),
    "wav MS ADPCM": ("WAV", "MS_ADPCM", RATE),
    "wav GSM": ("WAV", "GSM610", 8000),
    "wavex": ("WAVEX", "PCM_24", RATE),
    "rf64": ("RF64", "PCM_16", RATE),
    "w64": ("W64", "PCM_16", RATE),
    "aiff": ("AIFF", "PCM_16", RATE),
    "aifc": ("AIFF", "FLOAT", RATE),
    "caf": ("CAF", "PCM_16", RATE),
    "caf ALAC": ("CAF", "ALAC_16", RATE),
    "au": ("AU", "PCM_16", RATE),
    "flac16": ("FLAC", "PCM_16", RATE),
    "flac24": ("FLAC", "PCM_24", RATE),
    "vorbis": ("OGG", "VORBIS", RATE),
    "opus": ("OGG", "OPUS", 24000),
    "mp3": ("MP3", "MPEG_LAYER_III", RATE),
}
OVERHEAD = {"vorbis": 7000, "caf ALAC": 2000}
"""Bytes before the first sample, where they are more than a few."""
UNREADABLE_WHEN_CUT = {"caf ALAC"}
"""Their tables are at the end of the file."""


ID3 = b"ID3\x03\x00\x00" + bytes((0, 0, 7, 0x68)) + b"\xff\xfb\x90\x00" * 250
"""A tag of 1,010 bytes with pictures, whose bytes look like frames."""
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0) + bytes(8)
ID3V1 = b"TAG" + b"title".ljust(125)


def music(rate: int = RATE, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    time = np.arange(samples) / rate
    noise = np.random.default_rng(seed).standard_normal(samples)
    return 0.4 * np.sin(2 * np.pi * 440 * time) + 0.1 * noise


def encode(audio: np.ndarray, rate: int, form: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@functools.cache
def whole(name: str) -> tuple[bytes, np.ndarray]:
    """Return a file of a format, and what a plain decoder makes of it."""
    form, subtype, rate = FORMATS[name]
    # Pages of Ogg have up to a second.
    data = encode(music(rate, SAMPLES * (5 if form == "OGG" else 1)), rate, form, subtype)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        audio = file.read(file.frames, dtype="float32", always_2d=True)
    # Where the number of blocks is odd, libsndfile makes one too many.
    return data, audio[: 63 * 320] if name == "wav GSM" else audio


def decode(data: bytes) -> tuple[np.ndarray, Ending]:
    """Return what is decoded, nothing of what cannot be opened, and how it ended."""
    try:
        reader = AudioReader(MemoryContents(data))
    except DecodingError as error:
        return np.zeros((0, 1), np.float32), Ending(0, RATE, 0, (str(error),))
    blocks = [block.copy() for block in reader.blocks()]
    assert reader.ending is not None
    audio = np.concatenate([np.zeros((0, reader.channels), np.float32), *blocks])
    assert len(audio) == reader.ending.samples
    return audio, reader.ending


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_decoded_as_ever(name):
    data, audio = whole(name)
    found, ending = decode(data)
    assert ending == Ending(len(audio), FORMATS[name][2], 0, ())
    np.testing.assert_array_equal(found, audio)
    reader = AudioReader(MemoryContents(data))
    assert reader.measure().samples == len(audio)
    np.testing.assert_allclose(reader.read(7000, 3000), audio[7000:10_000], atol=1e-3)
    assert len(reader.read(len(audio) - 10, 100)) == 10


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_a_file_that_is_cut_is_decoded_to_the_cut_and_said_to_be_cut(name, share):
    data, audio = whole(name)
    cut = int(len(data) * share)
    found, ending = decode(data[:cut])
    if not len(found) and name in UNREADABLE_WHEN_CUT:
        return
    assert len(found) <= len(audio)
    if 0 < len(found) < len(audio):
        assert ending.faults
        assert "kept" in ending.message
    head = OVERHEAD.get(name, 700)
    expected = len(audio) * (cut - head) / (len(data) - head)
    assert len(found) >= expected - (1.5 * FORMATS[name][2] if name in ("vorbis", "opus") else 6000)
    lossy = name in ("vorbis", "opus", "mp3")
    # The last packet is one that begins before the cut.
    kept = max(len(found) - 2400 * lossy - 4096 * (name == "caf ALAC"), 0)
    np.testing.assert_allclose(found[:kept], audio[:kept], atol=1e-4 if lossy else 0)


def lie(name: str, data: bytes, value: int) -> bytes:
    """Return a file whose header states another length."""
    changed = bytearray(data)

    def put(at: int, form: str) -> None:
        field = struct.pack(form, value % (1 << 8 * struct.calcsize(form)))
        changed[at : at + len(field)] = field

    if name == "rf64":
        put(data.index(b"ds64") + 16, "<Q")
    elif name == "w64":
        put(data.index(b"data") + 16, "<Q")
    elif name in ("aiff", "aifc"):
        put(data.index(b"SSND") + 4, ">I")
    elif name.startswith("caf"):
        put(data.index(b"data") + 4, ">Q")
    elif name == "au":
        put(8, ">I")
    elif name.startswith("flac"):
        facts = int.from_bytes(data[18:26], "big") >> 36 << 36 | value & (1 << 36) - 1
        changed[18:26] = facts.to_bytes(8, "big")
    elif name in ("vorbis", "opus"):
        return data
    elif name == "mp3":
        mark = max(data.find(b"Xing"), data.find(b"Info"))
        put(mark + 8, ">I")
    else:
        put(data.index(b"data") + 4, "<I")
    return bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(value=st.one_of(st.integers(0, 200_000), st.integers(0, (1 << 64) - 1), st.sampled_from([0, (1 << 64) - 1])))
def test_what_the_header_states_does_not_change_what_is_decoded(name, value):
    data, audio = whole(name)
    found, ending = decode(lie(name, data, value))
    if len(found) != len(audio):
        assert ending.faults
    np.testing.assert_array_equal(found[: len(audio)], audio[: len(found)])
    assert ending.samples <= len(audio) + 1152 * (name == "mp3")


def checksum(page: bytes) -> int:
    found = 0
    for byte in page:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1) ^ (0x104C11DB7 if found & 0x80000000 else 0)
    return found


@pytest.mark.parametrize("name", ["vorbis", "opus"])
@settings(max_examples=12, deadline=None)
@given(
    place=st.integers(0, 99),
    value=st.one_of(st.integers(1 << 20, (1 << 63) - 1), st.integers(-(1 << 63), -2), st.integers(-1, 20_000)),
)
def test_the_position_that_a_page_of_ogg_states_does_not_change_what_is_decoded(name, place, value):
    data, audio = whole(name)
    begins = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    # A low position of the first pages could be that of any beginning: there, only impossible ones are known.
    first = len(begins) - 1 if -1 <= value <= 20_000 else 4
    number = first + place % (len(begins) - first)
    begin, end = begins[number], [*begins, len(data)][number + 1]
    page = bytearray(data[begin:end])
    page[6:14], page[22:26] = struct.pack("<q", value), bytes(4)
    page[22:26] = struct.pack("<I", checksum(page))
    found, ending = decode(data[:begin] + bytes(page) + data[end:])
    assert len(audio) <= len(found) <= len(audio) + 960, "but for what the last packet holds more"
    np.testing.assert_array_equal(found[: len(audio)], audio)
    assert ending.faults or number == len(begins) - 1


@pytest.mark.parametrize("name", ["vorbis", "opus"])
@settings(max_examples=12, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_ogg_is_named(name, share, bit):
    data = bytearray(whole(name)[0])
    data[int(share * len(data))] ^= 1 << bit
    assert decode(bytes(data))[1].faults


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(100, 25_000), total=st.integers(0, 40_000), tag=st.booleans())
def test_the_length_of_flac_is_believed_where_its_end_proves_it_alone(cut, total, tag):
    data, audio = whole("flac16")
    stated = AudioReader(MemoryContents(data + ID3V1 * tag))
    assert stated.proven_samples() == len(audio)
    assert AudioReader(MemoryContents(data[:-cut])).proven_samples() is None
    if total != len(audio):
        assert AudioReader(MemoryContents(lie("flac16", data, total))).proven_samples() is None


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, deadline=None)
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_is_an_error_with_a_reason_and_never_another(name, places):
    data = bytearray(whole(name)[0])
    for share, value in places:
        data[int(share * min(len(data), 4000))] = value
    found, ending = decode(bytes(data))
    assert len(found) < 50 * SAMPLES
    assert len(found) or ending.faults or ending.samples == 0


def noise_of_two_levels() -> np.ndarray:
    """Return sound whose first half takes few bits and whose second half takes many."""
    audio = np.random.default_rng(1).uniform(-0.5, 0.5, 3 * 44100)
    audio[: len(audio) // 2] *= 1e-3
    return audio


def mp3(audio: np.ndarray, rate: int = 44100, header: bool = True, **options: object) -> bytes:
    """Return an mp3; without the header, as an encoder writes it to a pipe, its frames alone."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format="MP3", subtype="MPEG_LAYER_III", **options)
    data = buffer.getvalue()
    mark = max(data.find(b"Xing"), data.find(b"Info"))
    return data if header else data[data.index(b"\xff\xfb", mark) :]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_length_header_has_the_length_of_its_frames(mode):
    audio = noise_of_two_levels()
    whole_file, frames = (decode(mp3(audio, header=h, bitrate_mode=mode, compression_level=0.3)) for h in (True, False))
    assert len(whole_file[0]) == len(audio)
    # Without the header nobody knows how much silence the encoder has put before and behind.
    assert len(audio) < len(frames[0]) < len(audio) + 3 * 1152
    assert frames[1].whole
    np.testing.assert_allclose(frames[0][1105:][: len(audio)], whole_file[0], atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_a_length_header_of_another_encoder_is_no_more_believed(factor):
    frames = mp3(noise_of_two_levels(), header=False, bitrate_mode="VARIABLE", compression_level=0.3)
    length = len(decode(frames)[0])
    # 417 bytes: a frame of 128 kbit/s.
    vbri = (frames[:2] + b"\x90" + frames[3:4] + bytes(32) + b"VBRI" + bytes(10)).ljust(417, b"\0")
    stated = struct.pack(">I", int(factor * length / 1152))
    found, ending = decode(vbri[:50] + stated + vbri[54:] + frames)
    assert len(found) == length
    assert ending.whole == (factor <= 1)
    assert AudioReader(MemoryContents(vbri[:50] + stated + vbri[54:] + frames)).measure() == ending


def test_joined_mp3s_are_all_decoded_tags_and_all():
    first, second = mp3(music(44100, 50_000)), mp3(music(44100, 30_000, seed=1))
    parts = [decode(data)[0] for data in (first, second)]
    for joined in (
        first + second,
        ID3 + first + ID3V1 + ID3 + second + APE + ID3V1,
        first + bytes(5000) + second + bytes(300),
    ):
        found, ending = decode(joined)
        assert ending == Ending(80_000, 44100, 0, ())
        np.testing.assert_allclose(found, np.concatenate(parts), atol=1e-6)
        assert AudioReader(MemoryContents(joined)).measure().samples == 80_000
    garbage = np.random.default_rng(0).integers(0, 255, 5000, dtype=np.uint8).tobytes()
    found, ending = decode(garbage + first + garbage + second)
    assert len(found) == 80_000
    assert len(ending.faults) == 2
    assert "5,000 bytes at 1.2 s are no frames" in ending.message


@pytest.mark.parametrize("lengths", [(30_000, 50_000), (44_100, 44_100, 10_000)], ids=["two", "equal"])
def test_joined_flac_files_are_all_decoded(lengths):
    parts = [encode(music(44100, length), 44100, "FLAC", "PCM_16") for length in lengths]
    expected = np.concatenate([soundfile.read(io.BytesIO(part), dtype="float32")[0] for part in parts])
    joined = b"".join(parts)
    found, ending = decode(joined)
    np.testing.assert_array_equal(found[:, 0], expected)
    assert ending.whole
    reader = AudioReader(MemoryContents(joined))
    assert reader.proven_samples() == reader.measure().samples == sum(lengths)
    np.testing.assert_array_equal(reader.read(lengths[0] - 10, 20)[:, 0], expected[lengths[0] - 10 : lengths[0] + 10])
    found, ending = decode(joined[: -len(parts[-1]) // 2])
    assert len(found) > sum(lengths[:-1])
    assert ending.faults


def test_damage_behind_a_length_that_is_too_small_is_named():
    data, audio = whole("flac16")
    damaged = bytearray(lie("flac16", data, 4_000))
    place = 3 * len(data) // 4
    damaged[place : place + 200] = bytes(200)
    found, ending = decode(bytes(damaged))
    assert len(found) < len(audio)
    assert ending.faults
    assert decode(bytes(damaged[: place + 100]))[1].faults


def test_another_rate_behind_the_first_is_left_out_and_said():
    for form, subtype in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")):
        first, second = (encode(music(rate, 30_000), rate, form, subtype) for rate in (44100, 22050))
        found, ending = decode(first + second)
        assert len(found) == 30_000
        assert "22050 Hz and 1 channels instead of 44100 Hz" in ending.message
        measured = AudioReader(MemoryContents(first + second)).measure()
        assert (measured.samples, measured.message) == (ending.samples, ending.message)


def test_all_recordings_of_a_chain_are_decoded():
    links = [encode(music(RATE, 30_000, seed), RATE, "OGG", "VORBIS") for seed in range(3)]
    found, ending = decode(b"".join(links))
    assert ending == Ending(90_000, RATE, 0, ())
    np.testing.assert_array_equal(found, np.concatenate([decode(link)[0] for link in links]))
    reader = AudioReader(MemoryContents(b"".join(links)))
    assert reader.measure().samples == 90_000
    np.testing.assert_allclose(reader.read(29_000, 40_000), found[29_000:69_000], atol=1e-6)
    found, ending = decode(links[0] + links[1][: len(links[1]) // 2])
    assert 30_000 <= len(found) < 60_000
    assert "no end mark" in ending.message


def test_flac_in_ogg_is_the_same_as_flac():
    data = encode(music(), RATE, "FLAC", "PCM_16")
    header, frames = data[:42], data[data.index(b"\xff\xf8") :]
    frames = [b"\xff\xf8" + frame for frame in frames.split(b"\xff\xf8")[1:]]
    packets = [b"\x7fFLAC\1\0\0\1" + header[:4] + bytes((0x80,)) + header[5:], *frames]

    def page(number: int, packet: bytes) -> bytes:
        lacing = [255] * (len(packet) // 255) + [len(packet) % 255]
        kind = 2 * (number == 0) + 4 * (number == len(packets) - 1)
        return b"OggS" + struct.pack("<BBQIIIB", 0, kind, 0, 1, number, 0, len(lacing)) + bytes(lacing) + packet

    if max(map(len, packets)) > 255 * 254:
        pytest.skip("a frame is longer than a page")
    found, ending = decode(b"".join(page(*item) for item in enumerate(packets)))
    assert ending.whole
    np.testing.assert_array_equal(found, decode(data)[0])


def wav(
    samples: bytes, riff: int | None = None, data: int | None = None, tail: bytes = b"", before: bytes = b""
) -> bytes:
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    chunk = b"data" + struct.pack("<I", len(samples) if data is None else data) + samples
    whole_file = b"WAVE" + form + before + chunk
    return b"RIFF" + struct.pack("<I", len(whole_file) + len(tail) if riff is None else riff) + whole_file + tail


PCM = (20_000 * music()).astype("<i2").tobytes()
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT\x0e\0\0\0Lavf58.29.100\0"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (wav(PCM, 0xFFFFFFFF, 0xFFFFFFFF), ""),
        (wav(PCM, 0x7FFFF024, 0x7FFFF000), ""),
        (wav(PCM, 0x80000024, 0x80000000), ""),
        (wav(PCM, 0, 0), ""),
        (wav(PCM, data=0), ""),
        (wav(PCM, data=len(PCM) // 2), ""),
        (wav(PCM, tail=LIST), ""),
        (wav(PCM, riff=len(PCM) + 36, tail=LIST), ""),
        (wav(PCM, tail=ID3V1), ""),
        (wav(PCM, before=b"LIST" + struct.pack("<I", 27) + b"INFOISFT\x0f\0\0\0Lavf58.29.1000\0"), ""),
        (wav(PCM, before=b"JUNK" + struct.pack("<I", 5000) + bytes(5000)), ""),
        (b"BW64" + wav(PCM)[4:], ""),
        (wav(PCM, riff=len(PCM) + 36, tail=bytes(range(256)) * 40), "10,240 bytes behind the last chunk"),
        (wav(PCM, data=2 * len(PCM)), "the file ends 40,000 bytes before"),
    ],
    ids=range(14),
)
def test_the_samples_of_a_wav_are_those_that_are_there(data, fault):
    found, ending = decode(data)
    np.testing.assert_array_equal(found[:, 0], np.frombuffer(PCM, "<i2") / np.float32(32768))
    assert fault in ending.message
    assert ending.whole == (not fault)


def test_joined_wavs_are_all_decoded():
    data = wav(PCM, tail=LIST) + wav(PCM) + wav(PCM[:10_000], data=20_000, riff=20_036)
    found, ending = decode(data)
    samples = np.frombuffer(PCM + PCM + PCM[:10_000], "<i2") / np.float32(32768)
    np.testing.assert_array_equal(found[:, 0], samples)
    assert ending.faults == ("the file ends 10,000 bytes before the end that its header states",)


@pytest.mark.parametrize("kinds", [*itertools.product(["WAV", "RF64", "RIFX", "AIFF"], repeat=2)], ids="-".join)
def test_joined_files_of_chunks_are_all_decoded(kinds):
    parts = []
    for number, kind in enumerate(kinds):
        buffer = io.BytesIO()
        form, endian = ("WAV", "BIG") if kind == "RIFX" else (kind, None)
        audio = music(44100, 10_001 + number)
        soundfile.write(buffer, audio, 44100, format=form, subtype="PCM_16", endian=endian)
        parts.append(buffer.getvalue())
    expected = np.concatenate([soundfile.read(io.BytesIO(part), dtype="float32")[0] for part in parts])
    found, ending = decode(b"".join(parts))
    np.testing.assert_array_equal(found[:, 0], expected)
    assert ending.whole


def test_sizes_of_32_bits_that_have_overflowed_are_known():
    class Large:
        """A file of 5 GiB, zeros behind its header."""

        header = wav(b"", riff=1000 + 36, data=1000)
        size = len(header) + (1 << 32) + 1000

        def read(self, at: int, length: int) -> bytes:
            return self.header[at : at + length].ljust(max(min(length, self.size - at), 0), b"\0")

    pcm = wav_pcm(Large())
    assert pcm is not None
    assert pcm.size == (1 << 32) + 1000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no bytes"),
        (b"not audio at all" * 100, "Format not recognised"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "ffmpeg -i"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), "ffmpeg -i"),
        (b"PK\x03\x04" + bytes(100), "unzip"),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (encode(music(1, 10), 1, "WAV", "PCM_16"), "1 Hz is not between"),
        (encode(music(1, 10), 3_000_000, "WAV", "PCM_16"), "3,000,000 Hz is not between"),
        (encode(np.zeros((10, 1000)), 44100, "WAV", "PCM_16"), "1,000 channels"),
    ],
    ids=range(9),
)
def test_what_is_no_recording_is_refused_with_the_reason(data, reason):
    with pytest.raises(DecodingError, match=reason):
        AudioReader(MemoryContents(data))


def test_silence_of_many_channels_is_decoded_in_little_memory(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros((44100 * 60, 8), np.int16), 44100)
    tracemalloc.start()
    with AudioReader.open(tmp_path / "long.flac") as reader:
        assert sum(len(block) for block in reader.blocks()) == 44100 * 60
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(DecodingError, match="not a regular file"):
        AudioReader.open(tmp_path / "pipe.wav")
