"""Checkpoints are there at every moment, and which of them a run goes on from."""

import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from framework.runs.checkpoints import (
    BEST,
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    CheckpointError,
    newest_checkpoint,
    read_checkpoint,
)


def test_the_newest_that_reads_is_taken_and_none_that_reads_is_no_new_run(tmp_path, monkeypatch, capsys):
    assert newest_checkpoint(tmp_path) is None
    for name in (LAST, PREVIOUS, BEST):
        torch.save({"global_step": 1, "state_dict": {"weight": torch.zeros(1000)}}, tmp_path / name)
    for name, following, left in ((LAST, PREVIOUS, 2000), (PREVIOUS, BEST, 10)):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:left])
        assert newest_checkpoint(tmp_path) == tmp_path / following
        assert f"{name} is cut short" in capsys.readouterr().out
    whole = (tmp_path / BEST).read_bytes()
    (tmp_path / BEST).write_bytes(whole[:2000])
    with pytest.raises(CheckpointError, match="no checkpoint can be read: restore one, or remove the run"):
        newest_checkpoint(tmp_path)
    (tmp_path / BEST).write_bytes(whole)

    def away(*_, **__):
        raise OSError(116, "Stale file handle")

    # A disk that is away for a moment is no reason to begin anew.
    monkeypatch.setattr(torch, "load", away)
    with pytest.raises(OSError, match="Stale"):
        read_checkpoint(tmp_path / BEST)


READER = """
import sys
from pathlib import Path
last = Path(sys.argv[1])
print("up", flush=True)
seen, missed = set(), 0
while not last.with_name("stop").exists():
    try:
        with open(last, "rb") as file:
            seen.add(file.read()[-1:])
    except FileNotFoundError:
        missed += 1
print(missed, len(seen))
"""


@pytest.mark.parametrize("hard_links", [True, False])
def test_last_is_there_at_every_moment(tmp_path, monkeypatch, hard_links):
    if not hard_links:

        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    last, files = tmp_path / LAST, AtomicCheckpointIO()
    files.save_checkpoint({"step": -1}, last)
    assert {path.name for path in tmp_path.iterdir()} == {LAST}
    reader = subprocess.Popen([sys.executable, "-c", READER, str(last)], stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "up\n"
    for step in range(300):
        files.save_checkpoint({"step": step}, last)
        assert read_checkpoint(tmp_path / PREVIOUS) == {"step": step - 1}
    (tmp_path / "stop").touch()
    missed, seen = reader.communicate()[0].split()
    assert (missed, int(seen) > 0) == ("0", True)
    assert {path.name for path in tmp_path.iterdir()} == {LAST, PREVIOUS, "stop"}
    assert read_checkpoint(last) == {"step": 299}
    # A kill between the two renames leaves both names for one file.
    (tmp_path / PREVIOUS).unlink()
    (tmp_path / PREVIOUS).hardlink_to(last) if hard_links else shutil.copyfile(last, tmp_path / PREVIOUS)
    files.save_checkpoint({"step": 300}, last)
    assert (read_checkpoint(last), read_checkpoint(tmp_path / PREVIOUS)) == ({"step": 300}, {"step": 299})


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_ones(tmp_path, capsys):
    files, last = AtomicCheckpointIO(), tmp_path / LAST
    for step in (1, 2):
        files.save_checkpoint({"step": step}, last)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    handler, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
        for step in (3, 4):
            files.save_checkpoint({"step": step, "weights": torch.zeros(100_000)}, last)
            assert LAST in files.failed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert capsys.readouterr().err.count("last.ckpt could not be written (File too large): make room") == 1
    files.save_checkpoint({"step": 5}, last)
    assert not files.failed
    # What is no fault of the disk is none of the file's.
    with pytest.raises(AttributeError, match="local object"):
        files.save_checkpoint({"step": lambda: 0}, last)
    assert read_checkpoint(last) == {"step": 5}
