"""Experiments outside the project: in the working directory, on Python's path, and of installed packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from framework import catalogue, shelf

MINE = """
from experiments.hifigan_v3 import HiFiGANV3


class {name}(HiFiGANV3):
    \"\"\"One of somebody else.\"\"\"

    mel_weight = 1.0
"""
LOOK = """
import json, sys
from framework.catalogue import find, module_names, name_of, UnknownExperimentError
from framework.runs.stored_code import check_module
from framework.sweeps.find import find_sweep, sweep_modules

def refused(name):
    try:
        return find(name).__module__
    except UnknownExperimentError as error:
        return str(error)

found = {name: find(name).__module__ for name in ("mine", "deep", "hidden", "big", "hifigan_v3")}
check_module("mylab.experiments.big", "config.yaml")
json.dump({
    "found": found, "names": module_names(), "twice": refused("melgan"), "unrelated": refused("unrelated"),
    "torch": "torch" in sys.modules, "name_of": name_of(find("big")), "sweep": find_sweep("plan")[2],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what a program sees that runs in a folder with experiments, with others on its path."""
    place, lib, site = (tmp_path_factory.mktemp(name) for name in ("place", "lib", "site"))
    files = {
        place / "experiments" / "mine.py": MINE.format(name="Mine"),
        place / "experiments" / "ablations" / "deep.py": MINE.format(name="Deep"),
        place / "experiments" / "melgan.py": MINE.format(name="MelGAN"),
        place / "experiments" / "unrelated.py": "raise SystemExit('a script that has nothing to do with ours was run')",
        place / "experiments" / "plan.py": '"""A question."""\n'
        + MINE.format(name="Plan")
        .lstrip()
        .replace("\n\n\nclass", "\nfrom framework.sweeps.sweep import Sweep\n\n\nclass", 1)
        + "\n\nsweep = Sweep([Plan])\n",
        lib / "experiments" / "__init__.py": "",
        lib / "experiments" / "hidden.py": MINE.format(name="Hidden"),
        site / "mylab" / "__init__.py": "",
        site / "mylab" / "experiments" / "__init__.py": "",
        site / "mylab" / "experiments" / "big.py": MINE.format(name="Big"),
        site / "mylab-1.0.dist-info" / "METADATA": "Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n",
        site / "mylab-1.0.dist-info" / "entry_points.txt": "[ostinato.experiments]\nmylab = mylab.experiments\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    root = str(Path(catalogue.__file__).parents[1])
    # The folder on the path comes before the project, as an installed package would not.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(lib), str(site), root])}
    done = subprocess.run([sys.executable, "-c", LOOK], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_experiments_are_found_wherever_they_are(seen):
    assert seen["found"] == {
        "mine": "experiments.mine",
        "deep": "experiments.ablations.deep",
        "hidden": "experiments.hidden",
        "big": "mylab.experiments.big",
        "hifigan_v3": "experiments.hifigan_v3",
    }
    assert seen["name_of"] == "big"
    assert seen["sweep"] == "A question."


def test_a_folder_on_the_path_hides_no_experiment_of_the_project(seen):
    assert set(catalogue.module_names()) <= set(seen["names"])


def test_a_name_that_two_files_have_is_refused(seen):
    assert "'melgan' is the name of several files: rename one of" in seen["twice"]


def test_files_that_have_nothing_to_do_with_us_are_not_run(seen):
    assert "unrelated" not in seen["names"]
    assert "no experiment 'unrelated'" in seen["unrelated"]


def test_the_working_directory_may_change(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "later.py").write_text(MINE.format(name="Later"))
    assert "later" not in catalogue.module_names()
    monkeypatch.chdir(tmp_path)
    assert catalogue.find("later").__name__ == "Later"
    assert catalogue.name_of(catalogue.find("later")) == "later"
    monkeypatch.undo()
    assert "later" not in catalogue.module_names()
    sys.modules.pop("experiments.later")


def test_a_broken_file_of_ones_own_leaves_the_list_as_it_is(tmp_path, monkeypatch, capsys):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "broken.py").write_text("import framework\n\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    shelf.refresh()
    assert catalogue.describe_module("experiments.broken") == []
    assert "broken.py cannot be imported (ZeroDivisionError" in capsys.readouterr().err
