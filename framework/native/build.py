"""Compiles the C++ sources for this machine at first use and caches the libraries.

A library that cannot be compiled is not an error: callers then use PyTorch, which is slower. `OSTINATO_NATIVE=0`
selects this.
"""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

from framework.progress import busy

SOURCES = Path(__file__).parent
FLAGS = ("-std=gnu++17", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")


class BuildError(RuntimeError):
    """A source cannot be compiled on this machine."""


def library(name: str) -> ctypes.CDLL | None:
    """Return the library of `framework/native/<name>.cpp`; if it cannot be compiled, print a warning, return None."""
    return None if os.environ.get("OSTINATO_NATIVE") == "0" else _library(name)


@functools.cache
def _library(name: str) -> ctypes.CDLL | None:
    try:
        return build(SOURCES / f"{name}.cpp", library_folder())
    except (BuildError, OSError) as error:
        print(f"warning: {name} runs in PyTorch, slower than compiled code: {error}", file=sys.stderr)
        return None


def library_folder() -> Path:
    """Return the folder of compiled libraries: `native` in `$OSTINATO_CACHE` or `~/.cache/ostinato`.

    Raises:
        BuildError: `$OSTINATO_CACHE` is not set and there is no home directory.
    """
    own = os.environ.get("OSTINATO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "ostinato")
    try:
        folder = Path(own).expanduser() / "native"
    except RuntimeError as error:
        raise BuildError(f"no home directory for the folder {own}; set OSTINATO_CACHE to a folder") from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build(source: Path, folder: Path) -> ctypes.CDLL:
    """Return the library of a source; compile it into the folder if it is not there.

    Its file name contains a hash of the source, the compiler and the processor. Other processes wait for the one that
    compiles; if it is killed, no incomplete library is left under that name.

    Raises:
        BuildError: there is no compiler, or it reports an error.
    """
    compiler = find_compiler()
    # The predefined macros identify the compiler and the instruction set of the processor.
    defined = _run([*compiler, *FLAGS, "-dM", "-E", "-x", "c++", os.devnull])
    parts = [source.read_bytes(), " ".join(FLAGS).encode(), defined]
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    path = folder / f"{source.stem}-{key}.so"
    if (compiled := _open(path)) is not None:
        return compiled
    with FileLock(path.with_suffix(".lock")):
        if (compiled := _open(path)) is not None:
            return compiled
        title = f"compiling {source.name} (once)"
        with busy(title, at_once=True), tempfile.TemporaryDirectory(dir=folder) as scratch:
            target = Path(scratch) / path.name
            _run([*compiler, *FLAGS, str(source), "-o", str(target)])
            os.replace(target, path)
        return ctypes.CDLL(str(path))


def find_compiler() -> list[str]:
    """Return the C++ compiler's command: `$CXX`, or the first that is installed of g++, clang++ and c++.

    Raises:
        BuildError: no compiler is installed.
    """
    try:
        own = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise BuildError(f"CXX={os.environ['CXX']} is not a valid command ({error}); set it to a compiler") from error
    wanted = [own] if own else [["g++"], ["clang++"], ["c++"]]
    for name, *arguments in wanted:
        if path := shutil.which(name):
            return [path, *arguments]
    names = ", ".join(name for name, *_ in wanted)
    raise BuildError(f"no C++ compiler found ({names}); install g++, or set CXX")


def _open(path: Path) -> ctypes.CDLL | None:
    """Return the library, or None if it is missing or damaged."""
    try:
        return ctypes.CDLL(str(path)) if path.exists() else None
    except OSError:
        return None


def _run(command: list[str]) -> bytes:
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").splitlines() or [f"exit status {done.returncode}"]
        raise BuildError(next((line for line in lines if "error" in line), lines[0]))
    return done.stdout
