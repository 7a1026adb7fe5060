"""Progress on a terminal and off it."""

import os
import pty
import subprocess
import sys
import termios
import time

import pytest

from framework import progress as module
from framework.progress import Progress, busy, hidden, progress


@pytest.fixture
def quick(monkeypatch):
    """Shorten all waits."""
    for name, seconds in {"FIRST_LINE": 0.1, "LINE_EVERY": 0.3, "REFRESH": 0.02}.items():
        monkeypatch.setattr(module, name, seconds)


def test_the_first_line_comes_while_the_first_item_is_worked_on(quick, capsys):
    items = iter([0, 1, 2])
    for item in progress(items, "evaluating", total=3, unit="clips"):
        if item == 0:
            time.sleep(0.3)
            (line,) = capsys.readouterr().err.splitlines()
            assert line == "evaluating: 0 of 3 clips, 0:00 elapsed"
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 4, "a line every 0.3 s"
    assert lines[-1] == "evaluating: 3 of 3 clips, 0:00 elapsed"


def test_work_of_a_moment_prints_nothing(capsys):
    assert list(progress([1, 2], "reading", unit="files")) == [1, 2]
    with busy("compiling"):
        pass
    assert capsys.readouterr() == ("", "")


def test_the_remaining_time_is_that_of_the_items_left():
    shown = Progress("rendering", total=1206, unit="pieces", done=6)
    shown.update(200)
    assert shown.line(400) == "rendering: 206 of 1,206 pieces, 6:40 elapsed, about 33:20 left"
    shown.note("bwv 269")
    assert shown.line(400).endswith("left (bwv 269)")
    assert Progress("compiling").line(75) == "compiling ... 1:15"


def test_only_the_first_process_shows_progress_and_nobody_while_it_is_hidden(quick, capsys, monkeypatch):
    with hidden():
        for _ in progress(range(2), "evaluating", unit="clips"):
            time.sleep(0.2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with busy("loading", at_once=True):
        time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_a_forked_process_leaves_the_display_to_its_parent(quick, capfd):
    with progress_of(3) as shown:
        child = os.fork()
        if child == 0:
            shown.update()
            shown.close()
            with busy("in the child"):
                time.sleep(0.3)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    lines = capfd.readouterr().err.splitlines()
    assert sum(line.startswith("in the child") for line in lines) == 1
    assert lines[-1].startswith("evaluating: 0 of 3")


def progress_of(total):
    return Progress("evaluating", total, "clips")


TERMINAL = """
import sys, time
from framework.progress import busy, progress, print_above
with busy("loading"):
    time.sleep(0.8)
for item in progress(range(3), "evaluating", unit="clips"):
    print_above(f"skipped {item}")
    time.sleep(0.3)
print("result")
"""


def test_a_bar_on_a_terminal_is_erased_and_leaves_the_output_clean():
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    done = subprocess.run([sys.executable, "-c", TERMINAL], stdout=subprocess.PIPE, stderr=terminal, text=True)
    os.close(terminal)
    shown = read_all(controller)
    assert done.stdout == "result\n"
    assert "loading [00:00]" in shown
    assert "evaluating:  67%" in shown
    screen = on_screen(shown)
    assert screen == ["skipped 0", "skipped 1", "skipped 2"]


def read_all(controller):
    """Return all that was written to a terminal."""
    text = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(controller)
    return text.decode()


def on_screen(text):
    """Return the lines that stand on a terminal at the end."""
    lines, column = [""], 0
    for character in text:
        if character == "\n":
            lines.append("")
            column = 0
        elif character == "\r":
            column = 0
        else:
            lines[-1] = lines[-1][:column].ljust(column) + character + lines[-1][column + 1 :]
            column += 1
    return [line.strip() for line in lines if line.strip()]
