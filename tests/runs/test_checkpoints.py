"""Which checkpoint a run goes on from."""

import pytest
import torch

from framework.runs.checkpoints import BEST, LAST, PREVIOUS, CheckpointError, newest_checkpoint, read_checkpoint


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
