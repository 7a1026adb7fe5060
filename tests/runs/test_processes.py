"""No process outlives the one that it works for, and nobody holds a lock for a process that is dead."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from framework.processes import output_of
from framework.runs.locks import is_locked, lock, owner

PARENT = """
import multiprocessing, sys, threading, time
from framework.runs.locks import lock
from framework.processes import end_with_parent, leave_signals_to_parent

def work(ends, started):
    if ends:
        leave_signals_to_parent()
        end_with_parent()
    started.set()
    time.sleep({seconds})

if __name__ == "__main__":
    method, path, ends = sys.argv[1], sys.argv[2], sys.argv[3] == "ends"
    multiprocessing.set_start_method(method)
    from pathlib import Path
    with lock(Path(path)) as taken:
        assert taken
        started = multiprocessing.Event()
        children = [multiprocessing.Process(target=work, args=(ends, started)) for _ in range(2)]
        for child in children:
            child.start()
        started.wait()
        time.sleep(0.2)
        print(*(child.pid for child in children), flush=True)
        time.sleep(60)
"""


def in_session(session):
    """Return the living processes of a session, by number."""
    listed = subprocess.run(["ps", "-s", str(session), "-o", "pid=,stat="], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if not line.split()[1].startswith("Z")]


def nobody_is_left(session, seconds=15):
    deadline = time.monotonic() + seconds
    while in_session(session) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not in_session(session)


def start(tmp_path, method, ends, seconds):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(seconds=seconds))
    command = [sys.executable, str(script), method, str(tmp_path / ".lock"), ends]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    assert parent.stdout is not None
    assert len(parent.stdout.readline().split()) == 2
    return parent


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_nothing_is_left_of_a_killed_process(tmp_path, method):
    parent = start(tmp_path, method, "ends", seconds=60)
    assert is_locked(tmp_path / ".lock")
    assert owner(tmp_path / ".lock").startswith(f"{parent.pid} on ")
    with lock(tmp_path / ".lock") as taken:
        assert not taken
    parent.kill()
    parent.wait()
    assert nobody_is_left(parent.pid)
    assert not is_locked(tmp_path / ".lock")


def test_a_child_that_lives_on_does_not_hold_its_parents_lock(tmp_path):
    parent = start(tmp_path, "fork", "stays", seconds=3)
    parent.kill()
    parent.wait()
    with lock(tmp_path / ".lock") as taken:
        assert taken
        assert in_session(parent.pid), "the children are to be there still, or this has shown nothing"
    assert nobody_is_left(parent.pid)


def test_a_lock_is_one_blocks_and_on_a_full_disk_too(tmp_path, monkeypatch):
    with lock(tmp_path / ".lock") as first:
        with lock(tmp_path / ".lock") as second:
            assert (first, second) == (True, False)
        assert is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / "missing")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with lock(tmp_path / ".lock") as taken:
        assert taken


def test_a_command_and_all_that_it_started_ends_with_whoever_reads_it(tmp_path):
    with output_of("printf one; printf two | cat") as output:
        assert output.read() == b"onetwo"
    with pytest.raises(ConnectionError, match="exit status 3"), output_of("exit 3") as output:
        output.read()
    began = time.monotonic()
    with contextlib.suppress(KeyError), output_of("echo one; sleep 60 | cat; echo two") as output:
        assert output.readline() == b"one\n"
        raise KeyError
    assert time.monotonic() - began < 10
    code = """if True:
        import os, time
        from framework.processes import output_of
        with output_of("echo $$; sleep 61 | cat; echo two") as output:
            print(output.readline().decode(), end="", flush=True)
            time.sleep(60)"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    session = os.getsid(int(parent.stdout.readline()))
    assert len(in_session(session)) >= 3
    parent.kill()
    parent.wait()
    assert nobody_is_left(session)
