"""The wheel holds every file of the packages, and its description is complete."""

import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

from check_wheel import build_wheel, compare, install, run_installed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    assert compare(wheel) == ([], [])


def test_the_wheel_lists_experiments_away_from_the_checkout(wheel, tmp_path):
    target = install(wheel, tmp_path / "prefix")
    assert run_installed(target, tmp_path, "--version").startswith("ostinato ")
    assert "mel_inversion_bach" in run_installed(target, tmp_path, "list")


def test_the_description_is_complete(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        described = Parser().parsestr(archive.read(name).decode())
        licences = [name.rpartition("/")[2] for name in archive.namelist() if "/licenses/" in name]
    assert described["License-Expression"] == "MIT"
    assert described["Author"] == "The Ostinato developers"
    assert described["Keywords"]
    assert described.get_all("Classifier")
    assert sorted(licences) == ["LICENSE", "NOTICE"]
    required = [line for line in described.get_all("Requires-Dist") if "extra ==" not in line]
    bounded = [line for line in required if line.startswith(("torch", "lightning"))]
    assert len(bounded) == 3
    assert all("<" in line for line in bounded)
