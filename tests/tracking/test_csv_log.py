"""The CSV log against real processes that are killed, and against what a resumed run must find in it."""

import csv
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from framework.tracking import csv_log
from framework.tracking.csv_log import CSVLog

ENDLESS = """
import itertools, sys
from framework.tracking import csv_log
from framework.tracking.csv_log import CSVLog
log = CSVLog(sys.argv[1])
for step in itertools.count(1):
    log.log_metrics({"train/mel": 1 / step, **({"validation/mel": 0.5} if step % 100 == 0 else {})}, step)
    print(step, flush=True)
"""


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_process_loses_no_row_it_had_logged(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    logged = 0
    while logged < 500:
        logged = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].split()
    logged = int(rest[-1]) if rest else logged
    steps = [int(row["step"]) for row in read(tmp_path)]
    assert steps[: logged - 1] == list(range(1, logged))
    assert read(tmp_path)[99] == {"step": "100", "train/mel": "0.01", "validation/mel": "0.5"}
    assert read(tmp_path)[98]["validation/mel"] == ""


def test_a_resumed_run_continues_the_file_from_its_checkpoint(tmp_path):
    first = CSVLog(tmp_path)
    for step in (10, 20, 30):
        first.log_metrics({"loss": torch.tensor(step / 4)}, step)
    resumed = CSVLog(tmp_path)
    resumed.rewind(20)
    resumed.log_metrics({"loss": 7.0, "quality": float("nan")}, 30)
    assert [(row["step"], row["loss"], row["quality"]) for row in read(tmp_path)] == [
        ("10", "2.5", ""),
        ("20", "5.0", ""),
        ("30", "7.0", "nan"),
    ]
    assert os.listdir(tmp_path) == ["metrics.csv"]


@pytest.mark.parametrize("torn", ["30,0.", "step,lo"])
def test_a_half_written_line_is_cut_off(tmp_path, torn):
    header = "" if torn.startswith("step") else "step,loss\n10,1.0\n"
    (tmp_path / "metrics.csv").write_text(header + torn)
    log = CSVLog(tmp_path)
    log.rewind(20)
    log.log_metrics({"loss": 2.0}, 20)
    assert [row["step"] for row in read(tmp_path)] == (["10", "20"] if header else ["20"])


def test_names_with_commas_and_quotes_survive(tmp_path):
    CSVLog(tmp_path).log_metrics({'odd, "name"': 1.0}, 1)
    CSVLog(tmp_path).log_metrics({"other": 2.0}, 2)
    assert read(tmp_path)[0]['odd, "name"'] == "1.0"
    assert list(read(tmp_path)[1]) == ["step", 'odd, "name"', "other"]


def test_rows_wait_for_room_and_come_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(csv_log, "WAITING", 4)
    log = CSVLog(tmp_path)
    log.log_metrics({"loss": 1.0}, 1)
    handler, limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "metrics.csv").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, limit[1]))
        for step in range(2, 9):
            log.log_metrics({"loss": float(step)} | ({"late": 0.0} if step == 5 else {}), step)
            assert [row["step"] for row in read(tmp_path)] == ["1"], "no line is left in part"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    log.log_metrics({"loss": 9.0}, 9)
    # Of the rows that had to wait, the last four were kept.
    assert [row["step"] for row in read(tmp_path)] == ["1", "6", "7", "8", "9"]
    assert os.listdir(tmp_path) == ["metrics.csv"]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "metrics.csv could not be written (File too large): make room; the run goes on" in said[0]


@pytest.mark.parametrize("damaged", [b"\x00\xff\xfe\x80\n" * 50, b"epoch,loss\n1,2\n", b"step,loss\n1,many\n"])
def test_a_damaged_log_is_set_aside(tmp_path, capsys, damaged):
    (tmp_path / "metrics.csv").write_bytes(damaged)
    log = CSVLog(tmp_path)
    log.rewind(20)
    log.log_metrics({"loss": 2.0}, 21)
    assert read(tmp_path) == [{"step": "21", "loss": "2.0"}]
    assert (tmp_path / "metrics.damaged.csv").read_bytes() == damaged
    said = capsys.readouterr().err
    assert "metrics.csv is damaged (" in said
    assert "renamed to metrics.damaged.csv" in said
