"""Lint, format, types and the direction of imports, with the project's own settings."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=lambda c: " ".join(c[:2])
)
def test_clean(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_imports_run_one_way():
    pytest.importorskip("importlinter")
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_locks_without_filelock_are_in_one_module():
    packages = [ROOT / name for name in ("framework", "datamodules", "ostinato", "experiments")]
    users = {p for folder in packages for p in folder.rglob("*.py") if "import fcntl" in p.read_text()}
    assert users == {ROOT / "framework" / "runs" / "locks.py"}


def test_nothing_but_the_program_imports_a_command():
    naming = re.compile(r"framework\.(commands|cli)\b|from framework import .*\bcommands\b")
    found = {
        str(path.relative_to(ROOT))
        for package in ("framework", "datamodules", "experiments", "ostinato")
        for path in (ROOT / package).rglob("*.py")
        if "commands" not in path.relative_to(ROOT).parts
        and any(
            naming.search(line) and not line.lstrip().startswith(('"""', "#")) for line in path.read_text().splitlines()
        )
    }
    # A run of a sweep is a process of the program; `aliases` has former names.
    programs = {"framework/sweeps/local.py", "framework/sweeps/slurm.py", "ostinato/__main__.py"}
    assert found == {"framework/cli.py", "framework/aliases.py"} | programs
