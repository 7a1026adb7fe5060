"""Help: of every command, complete, and without the seconds that torch takes to import."""

import os
import re
import subprocess
import sys

import pytest

from framework.catalogue import find
from framework.cli import with_underscores
from framework.commands import command as load
from framework.commands import names
from framework.commands.listen import TEST_KINDS
from framework.listening.plan import RANGES
from framework.workflow.command import ExperimentCommand
from framework.workflow.parser import option_strings

COMMANDS = {name: load(name) for name in names()}

QUICK = """
import contextlib, io, json, sys
from framework.cli import main
texts = {}
for line in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main(line)
    texts[" ".join(line)] = [status, printed.getvalue()]
heavy = [name for name in ("torch", "lightning", "scipy", "matplotlib", "wandb", "music21") if name in sys.modules]
print(json.dumps([heavy, texts]))
"""


def printed(lines, cache):
    """Return the heavy modules that were imported, and status and output of each command line, of one process."""
    import json

    environment = os.environ | {"OSTINATO_CACHE": str(cache), "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", QUICK, json.dumps(lines)], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    heavy, texts = json.loads(done.stdout.splitlines()[-1])
    return heavy, texts, done.stderr


def test_every_command_explains_itself_without_torch(tmp_path):
    lines = [[], ["--help"], ["--version"], *([command, flag] for command in COMMANDS for flag in ("--help", "-h"))]
    heavy, texts, _ = printed(lines, tmp_path)
    assert heavy == []
    assert all(status == 0 for status, _ in texts.values())
    assert all(f"  {command} " in texts["--help"][1] for command in COMMANDS)
    assert re.fullmatch(r"ostinato \d+\.\d+\S* \(Python 3\..*torch \d.*lightning \d.*\)\n", texts["--version"][1])
    for command in COMMANDS:
        text = texts[f"{command} --help"][1]
        assert text.startswith(f"usage: ostinato {command} ")
        assert " ".join(COMMANDS[command].description.split()[:4]) in " ".join(text.split())
        assert f"  ostinato {command}" in text.partition("example")[2]
        assert "--help" in text
        assert text == texts[f"{command} -h"][1]


def test_the_help_of_an_experiment_is_kept(tmp_path):
    line = ["fit", "hifigan_v3", "--help"]
    heavy, texts, errors = printed([line], tmp_path)
    assert "torch" in heavy
    assert "reading hifigan_v3" in errors
    status, text = texts[" ".join(line)]
    assert status == 0
    for part in ("usage: ostinato fit hifigan_v3 ", "HiFi-GAN V3", "--model.mel_weight", "--data.batch_size",
                 "--trainer.max_steps", "--profile", "example", "ostinato fit hifigan_v3 --data"):  # fmt: skip
        assert part in text
    heavy, again, errors = printed([line], tmp_path)
    assert (heavy, again, errors) == ([], texts, "")
    printed([["evaluate", "--help"]], tmp_path)
    kept = {path.name for path in (tmp_path / "help").glob("*/*")}
    assert kept == {"fit-hifigan_v3-100.txt"}


def test_all_commands_have_options_and_examples_that_parse():
    assert len(COMMANDS) > 20
    assert set(RANGES) == set(TEST_KINDS)
    for name, command in COMMANDS.items():
        assert command.name == name
        assert command.examples
        if isinstance(command, ExperimentCommand):
            assert find(command.example)


@pytest.mark.parametrize("command", ["compare", "listen", "pack", "data"])
def test_a_missing_argument_points_at_the_commands_own_help(command, capsys):
    from framework.cli import main

    assert main([command]) == 2
    shown = capsys.readouterr().err
    assert f"usage: ostinato {command} " in shown
    assert shown.splitlines()[-1].startswith("ostinato: error: ")
    assert f"ostinato {command}" in shown.splitlines()[-1]


def test_options_are_spelled_with_underscores_and_hyphens_are_accepted():
    assert with_underscores("--for-training") == "--for_training"
    assert with_underscores("--data.batch-size=a-b") == "--data.batch_size=a-b"
    for word in ("a-b", "-x-y", "runs/a-b"):
        assert with_underscores(word) == word
    known = [option for command in COMMANDS.values() for option in option_strings(command.parser())]
    assert len(known) > 50
    assert [option for option in known if "-" in option.removeprefix("--")] == []
