"""A run's folder: what is damaged in it is said with its name, and only one process trains in it."""

import pytest

from framework.runs.folder import RunError, RunFolder


@pytest.mark.parametrize("text", ["model: {channels: 3", "just words", "\x00\x01"])
def test_a_damaged_configuration_is_said(tmp_path, text):
    folder = RunFolder(tmp_path)
    assert folder.stored_config() is None
    folder.write_config({"model": {"channels": 3}})
    assert folder.stored_config() == {"model": {"channels": 3}}
    folder.config.write_text(text)
    with pytest.raises(RunError, match=r"config\.yaml is damaged \(.*\): `ostinato fit` writes it again"):
        folder.stored_config()


def test_a_run_has_one_process(tmp_path):
    with RunFolder(tmp_path).locked(), pytest.raises(RunError, match="is being trained by process"):
        with RunFolder(tmp_path).locked():
            pass
    with RunFolder(tmp_path).locked():
        pass
