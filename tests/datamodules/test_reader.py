"""Segments equal those cut from the whole clip; what cannot be read is told apart."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from datamodules.shards.index import BadClipError
from datamodules.shards.reader import Reader
from datamodules.shards.writer import ShardWriter

RATE = 22050


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples)


def foreign(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def encoded(audio, rate, form, subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_segments_are_pieces_of_their_clips(tmp_path, form):
    lengths = [5000, 1000, 999, 20_000]
    with ShardWriter(tmp_path, "train", format=form, shard_bytes=1) as writer:
        for number, samples in enumerate(lengths):
            writer.write(f"c{number}", noise(samples, number), RATE, {"n": number}, {"f0.npy": np.arange(number)})
    reader = Reader([str(path) for path in sorted(tmp_path.glob("train/*.tar"))], RATE)
    clips = np.array([3, 0, 1, 2, 3])
    found = reader.segments(clips, np.array([0.0, 0.5, 0.9, 0.9, 0.999999]), 1000)
    assert not found.errors
    audio = found.audio / 32768 if found.audio.dtype == np.int16 else found.audio
    assert found.starts.tolist() == [0, 2000, 0, 0, 19_000]
    for clip, start, segment in zip(clips, found.starts, audio, strict=True):
        wanted = np.pad(noise(lengths[clip], clip), (0, 1000))[start:][:1000]
        wanted[lengths[clip] - start :] = 0
        np.testing.assert_allclose(segment, wanted, atol=0.6 / 32768)
    assert np.load(io.BytesIO(reader.member(3, "f0.npy"))).tolist() == [0, 1, 2]
    assert reader.member(3, "nothing") is None
    assert reader.metadata(2)["n"] == 2
    np.testing.assert_allclose(reader.peaks(clips), [np.abs(noise(lengths[c], c)).max() for c in clips], atol=1e-4)


def test_clips_of_every_encoding_in_one_batch(tmp_path):
    clips = {
        f"c{number}.{form.lower()}": encoded(
            noise(seconds * rate * channels, number).reshape(-1, channels), rate, form, subtype
        )
        for number, (form, subtype, rate, channels, seconds) in enumerate(
            [
                ("FLAC", "PCM_16", RATE, 1, 2),
                ("WAV", "PCM_16", RATE, 1, 1),
                ("FLAC", "PCM_16", RATE, 2, 3),
                ("FLAC", "PCM_16", RATE, 1, 1),
                ("FLAC", "PCM_24", RATE, 1, 1),
                ("FLAC", "PCM_16", 44100, 1, 2),
                ("OGG", "VORBIS", RATE, 1, 2),
            ]
        )
    }
    foreign(tmp_path / "a.tar", clips)
    reader = Reader([str(tmp_path / "a.tar")], RATE)
    random = np.random.default_rng(0)
    for _ in range(5):
        numbers = random.integers(0, len(reader), 12)
        together = reader.segments(numbers, random.random(12), 8192)
        assert not together.errors
        for clip, start, audio in zip(numbers, together.starts, together.audio, strict=True):
            alone = reader.clip(int(clip), 10**9)[start:][:8192]
            audio = audio / np.float32(32768) if audio.dtype == np.int16 else audio
            np.testing.assert_allclose(audio, alone, atol=2e-5 if clip == 5 else 1e-7)


@pytest.mark.parametrize(("rate", "form"), [(44100, "WAV"), (16000, "FLAC"), (48000, "WAV"), (11025, "WAV")])
def test_a_resampled_segment_equals_the_same_part_of_the_resampled_whole(tmp_path, rate, form):
    stereo = noise(2 * rate).reshape(rate, 2)
    foreign(tmp_path / "a.tar", {f"c.{form.lower()}": encoded(stereo, rate, form, "PCM_16")})
    reader = Reader([str(tmp_path / "a.tar")], RATE)
    whole = reader.clip(0, 10**9)
    assert len(whole) == reader.lengths()[0] == RATE
    for fraction in (0.0, 0.3, 0.77, 0.9999999):
        found = reader.segments(np.array([0]), np.array([fraction]), 4096)
        np.testing.assert_allclose(found.audio[0], whole[found.starts[0] :][:4096], atol=2e-5)
    # Another resampler agrees away from both ends, on what all of them keep.
    mono = torch.from_numpy(stereo.mean(1).astype(np.float32))
    other = torchaudio.functional.resample(mono, rate, RATE, lowpass_filter_width=128).numpy()
    spectra = [np.fft.rfft(x[2000:-2000] * np.hanning(len(whole) - 4000)) for x in (whole, other)]
    kept = np.fft.rfftfreq(len(whole) - 4000, 1 / RATE) < 0.42 * min(rate, RATE)
    assert np.abs(spectra[0] - spectra[1])[kept].max() < 0.01 * np.abs(spectra[1]).max()


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_other_encodings_and_many_channels(tmp_path, subtype):
    audio = noise(5 * 3000).reshape(3000, 5)
    foreign(tmp_path / "a.tar", {"c.wav": encoded(audio, RATE, "WAV", subtype), "d.json": b"{}"})
    reader = Reader([str(tmp_path / "a.tar")], RATE)
    found = reader.segments(np.array([0]), np.array([0.5]), 100)
    wanted = audio.mean(1)[found.starts[0] :][:100]
    np.testing.assert_allclose(found.audio[0], wanted, atol=1 / 100 if subtype == "PCM_U8" else 1e-4)


def test_bad_clips_are_errors_of_their_slots(tmp_path):
    good, flac = encoded(noise(5000), RATE, "WAV"), bytearray(encoded(noise(50_000), RATE, "FLAC"))
    flac[len(flac) // 2 : len(flac) // 2 + 2000] = bytes(2000)
    facts = [json.dumps({"sample_rate": RATE, "samples": n, "peak": 0.5}).encode() for n in (50_000, 5000)]
    nan = encoded(np.full(5000, np.nan), RATE, "WAV", "FLOAT")
    foreign(
        tmp_path / "a.tar",
        {"a.wav": good, "b.flac": bytes(flac), "b.json": facts[0], "c.wav": nan, "c.json": facts[1], "d.json": b"{}"},
    )
    data = (tmp_path / "a.tar").read_bytes()
    reader = Reader([str(tmp_path / "a.tar")], RATE, counts=[5])
    found = reader.segments(np.arange(5), np.array([0.5, 0.5, 0.5, 0.5, 0.5]), 4000)
    assert {slot: error.kind for slot, error in found.errors.items()} == {
        1: "undecodable",
        2: "not finite",
        3: "no audio",
        4: "lost with its shard",
    }
    assert not found.audio[1:].any()
    assert [(clip, error.kind) for clip, error in reader.bad_clips().items()] == [
        (3, "no audio"),
        (4, "lost with its shard"),
    ]
    with pytest.raises(BadClipError, match="not finite"):
        reader.clip(2, 100)
    (tmp_path / "a.tar").write_bytes(data[:3000])  # cut while it is in use
    assert reader.segments(np.array([0]), np.array([0.9]), 1000).errors[0].kind == "unreadable"


def test_shards_that_are_not_what_they_should_be(tmp_path):
    with ShardWriter(tmp_path, "train") as writer:
        for number in range(3):
            writer.write(f"c{number}", noise(100), RATE)
    shard = str(tmp_path / "train" / "000000.tar")
    with pytest.raises(ValueError, match="has 3 clips instead of 2"):
        Reader([shard], RATE, counts=[2])
    with pytest.raises(ValueError, match=r"gone.tar"):
        Reader([str(tmp_path / "gone.tar")], RATE)
    assert len(Reader([shard, str(tmp_path / "gone.tar")], RATE, counts=[3, 4]).bad_clips()) == 4
    assert len(Reader([f"file:{shard}"], RATE)) == 3


def test_names_that_shards_repeat_are_told_apart(tmp_path):
    wav = encoded(noise(100), RATE, "WAV")
    for shard, keys in {"a": ("000", "001"), "b": ("000",), "c": ("002", "003")}.items():
        foreign(tmp_path / f"{shard}.tar", {f"{key}.wav": wav for key in keys})

    def names(shards, **options):
        reader = Reader([str(tmp_path / f"{shard}.tar") for shard in shards], RATE, **options)
        assert [reader.key(clip) for clip in range(len(reader))] == reader.keys(np.arange(len(reader)))
        return reader.keys(np.arange(len(reader)))

    assert names("ac") == ["000", "001", "002", "003"], "names that do not repeat stay"
    assert names("abc") == ["1_000", "1_001", "2_000", "3_002", "3_003"]
    assert names("ab", prefixes=["1_", "2_"]) == ["1_000", "1_001", "2_000"], "nor do they in other data sets"
    assert names("abc", prefixes=["1_", "1_", "2_"]) == ["1_1_000", "1_1_001", "1_2_000", "2_002", "2_003"]
