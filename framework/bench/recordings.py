"""Synthetic recordings for benchmarks: reproducible, and about as compressible as music."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodules.shards.writer import ShardWriter, encode_audio, to_pcm, write_manifest

SAMPLE_RATE = 22050
_NOTE = 3 * SAMPLE_RATE
_PITCHES = range(36, 85, 2)


def recordings(count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield names and float samples (time,) of clips of 5 to 10 s: three voices of decaying notes above faint noise."""
    random = np.random.default_rng(0)
    notes = [_note(pitch, random) for pitch in _PITCHES]
    for number in range(count):
        samples = int(random.uniform(5, 10) * SAMPLE_RATE)
        audio = random.normal(0, 1e-4, samples + _NOTE)
        for _ in range(3):
            begin = 0
            while begin < samples:
                audio[begin : begin + _NOTE] += random.uniform(0.02, 0.2) * notes[random.integers(len(notes))]
                begin += int(random.choice((0.5, 1.0)) * SAMPLE_RATE)
        yield f"clip{number:05d}", np.clip(audio[:samples], -1, 1)


def pack_recordings(folder: Path, format: str, clips: list[tuple[str, np.ndarray]]) -> None:
    """Write clips as a packed data set of shards of 16 MiB, `folder/shards`, and as plain files, `folder/files`."""
    files = folder / "files"
    files.mkdir(parents=True)
    with ShardWriter(
        folder / "shards", "train", format="flac" if format == "flac" else "wav", shard_bytes=1 << 24
    ) as shards:
        for name, audio in clips:
            shards.write(name, audio, SAMPLE_RATE)
            (files / f"{name}.{format}").write_bytes(encode_audio(to_pcm(audio), SAMPLE_RATE, format))
    write_manifest(folder / "shards", licence="CC0-1.0")


def _note(pitch: int, random: np.random.Generator) -> np.ndarray:
    """Return a plucked note (time,): twelve harmonics; higher ones are weaker and decay faster."""
    time = np.arange(_NOTE) / SAMPLE_RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    audio = np.zeros(_NOTE)
    for harmonic in range(1, 13):
        if harmonic * frequency < SAMPLE_RATE / 2:
            phase = random.uniform(0, 2 * np.pi)
            envelope = np.exp(-time * (1 + harmonic) / 1.5) / harmonic
            audio += envelope * np.sin(2 * np.pi * harmonic * frequency * time + phase)
    audio *= np.minimum(1, time / 0.005)  # avoids a click at the onset
    return audio
