"""Build the wheel, compare its files with those of the packages, and use it away from the checkout.

python scripts/check_wheel.py

The wheel is installed without its dependencies into a temporary folder, where `ostinato --version`, `ostinato list` and
one training step have to work. Nothing is downloaded: setuptools and the dependencies come from this environment.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("framework", "datamodules", "experiments", "ostinato")
STEP = (
    "fit",
    "mel_inversion_bach",
    "--trainer.max_steps",
    "1",
    "--data.pieces",
    "3",
    "--trainer.val_check_interval",
    "1",
)


def main() -> int:
    """Check everything; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        wheel = build_wheel(scratch)
        missing, unknown = compare(wheel)
        for path in missing:
            print(f"missing in the wheel: {path}")
        for path in unknown:
            print(f"in the wheel, but not in the repository: {path}")
        if missing or unknown:
            return 1
        print(f"{wheel.name} holds all {len(tracked_files())} files of the packages")
        target = install(wheel, scratch / "prefix")
        for arguments in (("--version",), ("list",), STEP):
            run_installed(target, scratch, *arguments)
            print(f"works when installed: ostinato {' '.join(arguments)}")
    return 0


def tracked_files() -> set[str]:
    """Return the files of the packages that git tracks, relative to the repository."""
    command = ["git", "ls-files", *(f"{package}/" for package in PACKAGES)]
    return set(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split())


def build_wheel(scratch: Path) -> Path:
    """Build the wheel from a copy of the tracked files, so that the checkout stays as it is; return its path."""
    source = scratch / "source"
    for name in (*tracked_files(), "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        copy = source / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(scratch), str(source))
    (wheel,) = scratch.glob("ostinato-*.whl")
    return wheel


def compare(wheel: Path) -> tuple[list[str], list[str]]:
    """Return the files that a wheel lacks, and those of its packages that are not tracked."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = tracked_files()
    return sorted(tracked - held), sorted(held - tracked)


def install(wheel: Path, target: Path) -> Path:
    """Install a wheel alone into a folder; return the folder."""
    _pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def run_installed(target: Path, folder: Path, *arguments: str) -> str:
    """Run the installed command in a folder outside the checkout and return what it printed.

    Raises:
        RuntimeError: the command failed, or the code of another place was used.
    """
    environment = os.environ | {
        "PYTHONPATH": str(target),
        "WANDB_MODE": "disabled",
        "OSTINATO_CACHE": str(folder / "cache"),
    }
    place = "import framework; print(framework.__path__[0])"
    done = [
        subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
        for command in (["-c", place], [str(target / "bin" / "ostinato"), *arguments])
    ]
    if done[0].stdout.strip() != str(target / "framework"):
        raise RuntimeError(f"the installed packages were not used, but {done[0].stdout.strip()}{done[0].stderr}")
    if done[1].returncode:
        raise RuntimeError(f"ostinato {' '.join(arguments)} failed:\n{done[1].stdout}{done[1].stderr}")
    return done[1].stdout


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
