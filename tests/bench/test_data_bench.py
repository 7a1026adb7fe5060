"""The benchmarks of loaders run, and their check detects a loader that returns wrong samples."""

import numpy as np
import pytest
import torch

from framework.bench import data
from framework.bench.harness import BenchError, run_benchmark
from framework.bench.recordings import SAMPLE_RATE, pack_recordings, recordings


def test_benchmarks_run(monkeypatch):
    monkeypatch.setattr(data, "CLIPS", 40)
    monkeypatch.setattr(data, "_RUN", 0.0)
    results = [run_benchmark(benchmark, rounds=1, seconds=0.0) for benchmark in data.benchmarks({})]
    assert [result.title for result in results] == ["Segments of wav clips", "Segments of flac clips"]
    for result in results:
        assert {"ostinato", "webdataset", "DataLoader over files"} <= {row.name for row in result.rows}
        assert "bit by bit" in result.checked
        assert 5 < result.also["audio-seconds"] < 10


def test_a_loader_that_is_off_by_a_sample_is_found_out(tmp_path):
    pack_recordings(tmp_path, "wav", list(recordings(20)))
    files = sorted((tmp_path / "files").iterdir())

    def late(count):
        batches = data.Endless(lambda: data.file_batches(files, data.SEGMENT, data.BATCH)).batches(count)
        batches[-1]["start"][3] += 1
        return batches

    with pytest.raises(BenchError, match=r"ours returns wrong samples for clip clip000.. from sample"):
        data._check({"ours": late}, files)


def test_recordings_are_the_same_each_time():
    first, again = ([audio for _, audio in recordings(2)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert all(5 <= len(audio) / SAMPLE_RATE <= 10 and 0.1 < np.abs(audio).max() <= 1 for audio in first)
    assert torch.isfinite(torch.from_numpy(first[0])).all()
