"""Which errors are one line for the user, and which keep their traceback."""

import importlib
import inspect
import os
import pkgutil
from types import SimpleNamespace

import pytest

import datamodules
import framework
from framework import cli, commands
from framework.errors import OstinatoError

INTERNAL = {"ReachedError", "OverError", "BuildError", "DamageError"}
"""Caught where they are raised; no user sees them."""


def all_modules():
    for package in (framework, datamodules):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                yield importlib.import_module(module.name)
            except ImportError:
                continue


def test_every_error_of_the_project_is_a_message_to_the_user():
    found = {
        cls
        for module in all_modules()
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == module.__name__
    }
    assert len(found) > 30
    others = {cls.__name__ for cls in found if not issubclass(cls, OstinatoError)}
    assert others <= INTERNAL


@pytest.mark.parametrize(
    ("error", "status", "trace"),
    [
        (OstinatoError("the value is 3: lower it"), 2, False),
        (ValueError("raised in a researcher's own experiment"), 1, True),
        (TypeError("the same"), 1, True),
        (OSError("the same"), 1, True),
        (AssertionError("the same"), 1, True),
        (KeyboardInterrupt(), 130, False),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("debug", [False, True])
def test_a_message_is_one_line_and_a_fault_shows_its_traceback(error, status, trace, debug, monkeypatch, capsys):
    def run(arguments):
        assert arguments == ["hifigan_v3"], "--debug is not an argument of the command"
        raise error

    monkeypatch.setattr(commands, "command", lambda name: SimpleNamespace(main=run, help=lambda words: None))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert cli.main(["fit", "hifigan_v3", *(["--debug"] if debug else [])]) == status
    shown = capsys.readouterr().err
    *before, last = shown.splitlines()
    assert last.startswith("ostinato: interrupted" if status == 130 else "ostinato: error: ")
    shows_trace = trace or (debug and isinstance(error, Exception))
    assert ("in run" in shown) == shows_trace
    if not shows_trace:
        assert before == []
    if trace:
        assert "report it" in last
        assert "in run" in shown
        assert str(error) in shown
