"""What messages recommend exists: commands, their options, hyperparameters; read from the source's strings."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import lightning as L
import pytest

from framework.cli import main
from framework.commands import command as load
from framework.commands import names
from framework.hyperparameters import Hyperparameters
from framework.workflow.command import ExperimentCommand
from framework.workflow.parser import option_strings

ROOT = Path(__file__).parents[1]
TRAINER = set(inspect.signature(L.Trainer).parameters)
GENERAL = {"--seed", "--data", "--help", "--debug", "--version", "--config"}
"""Options of every command with an experiment, or of `ostinato` itself."""
OF_OTHERS = {"--no-deps", "--force-reinstall", "--requeue", "--signal", "--uid"}
"""Options of pip and Slurm."""


def strings(path):
    """Yield the text of every string of a file that is no docstring, with `{...}` for what is filled in."""
    tree = ast.parse(path.read_text())
    standing_alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = set()
    for node in ast.walk(tree):
        if id(node) in standing_alone | inside:
            continue
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node)}
            yield "".join(p.value if isinstance(p, ast.Constant) else "{...}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def messages():
    """Yield each string that names an option or one of our commands, with its file."""
    for package in ("framework", "datamodules", "experiments"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "bench" in path.parts:
                continue
            for text in strings(path):
                if " " in text and re.search(r"--[a-z]|`ostinato ", text):
                    yield path.relative_to(ROOT), text


def own_options(command):
    """Return all options of a command but an experiment's hyperparameters."""
    return {*option_strings(load(command).parser()), *({"--verify"} if command == "pack" else ())}


OWN = {command: own_options(command) for command in names()}
OF_EXPERIMENTS = [name for name in names() if isinstance(load(name), ExperimentCommand)]
EXPERIMENTAL = ("model.", "data.", "trainer.")


@pytest.fixture(scope="module")
def hyperparameters():
    """Return the names that can stand behind `--model.` and `--data.`, of all systems and data modules."""
    for package in ("framework/generators", "framework/paradigms", "datamodules"):
        for path in (ROOT / package).rglob("[a-z]*.py"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found = {"model": set(), "data": set()}
    classes = [Hyperparameters]
    for cls in classes:
        classes += cls.__subclasses__()
        kind = "data" if issubclass(cls, L.LightningDataModule) else "model"
        found[kind] |= {name for name, p in cls.hyperparameters.items() if p.is_argument}
    return found


def recommended(text):
    """Return the command lines of ours in a text: each command and what follows it."""
    return re.findall(r"(?:`|: +)ostinato ([a-z]+)([^`\n]*)", text)


def named_options(text):
    return {match.rstrip(".") for match in re.findall(r"(?<![\w-])--[a-z][\w.-]*", text)} - OF_OTHERS


def test_every_command_that_is_recommended_exists_and_takes_its_options():
    seen = 0
    for path, text in messages():
        for command, rest in recommended(text):
            assert command in OWN, f"{path}: {text}"
            for option in named_options(rest):
                known = OWN[command] | (GENERAL if command in OF_EXPERIMENTS else {"--help", "--debug"})
                takes_overrides = command in OF_EXPERIMENTS or command == "sweep"
                is_override = option.lstrip("-").startswith(EXPERIMENTAL) or option in ("--runs", "--data", "--seed")
                assert option in known or (takes_overrides and is_override), f"{path}: {text}"
            seen += 1
    assert seen > 40


def test_every_option_that_is_recommended_exists(hyperparameters):
    everywhere = GENERAL.union(*OWN.values())
    seen = 0
    for path, text in messages():
        # A command's messages are about its own options.
        command = path.stem if path.parent.name == "commands" and path.stem in OWN else ""
        for option in named_options(text):
            section, _, name = option.lstrip("-").partition(".")
            if section in hyperparameters and name and "{" not in name:
                assert name in hyperparameters[section], f"{path}: {text}"
            elif section == "trainer" and name:
                assert name in TRAINER, f"{path}: {text}"
            elif command and not recommended(text):
                assert option in OWN[command] | GENERAL, f"{path}: {text}"
            else:
                assert option in everywhere or section in hyperparameters, f"{path}: {text}"
            seen += 1
    assert seen > 100


def test_nothing_recommends_the_path_of_data_by_another_option_than_data():
    """`--data FOLDER` takes one's own recordings; experiments with other data have no `--data.path`."""
    assert not [f"{path}: {text}" for path, text in messages() if "--data.path" in text]


def test_nothing_recommends_extras_of_a_package_that_is_not_published():
    assert not [path for path, text in messages() if "ostinato[" in text]


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Return a function that calls a command in an empty folder and returns its last line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))

    def call(*arguments):
        assert main(list(arguments)) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return call


def test_a_sweep_is_recommended_before_its_comparison(said):
    for command in ("compare", "listen", "status"):
        line = said(command, "hifigan_table3")
        assert "run the sweep first: `ostinato sweep hifigan_table3`" in line
        assert "did you mean" not in line
    elsewhere = said("compare", "hifigan_table3", "--runs", "my runs")
    assert "`ostinato sweep hifigan_table3 --runs 'my runs'`" in elsewhere


def test_a_path_is_not_answered_with_a_name_that_looks_like_it(said, tmp_path):
    (tmp_path / "hifigan_bachs").mkdir()
    for path in ("runs/hifigan_bach/1c9a77e0aa", str(tmp_path / "elsewhere"), "hifigan_bachs"):
        line = said("show", path)
        assert path in line
        assert "did you mean" not in line
    assert "did you mean hifigan_v3?" in said("show", "experiments/hifigan_v3.py")
    assert "did you mean hifigan_v3?" in said("show", "hifigan_v33")


def test_a_folder_that_is_not_there_is_named_with_the_option_that_takes_another(said):
    assert "nowhere: no such folder: name a folder of recordings by --data" in said(
        "fit", "hifigan_v3", "--data", "nowhere"
    )
