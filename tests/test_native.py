"""Compiling at first use, once for all processes, and doing without."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from framework.native import build as native

SOURCE = 'extern "C" int answer() { return %d; }\n'


@pytest.fixture
def source(tmp_path):
    try:
        native.find_compiler()
    except native.BuildError as error:
        pytest.skip(str(error))
    path = tmp_path / "answer.cpp"
    path.write_text(SOURCE % 42)
    return path


def test_compiles_what_has_changed_and_only_that(source, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    assert native.build(source, folder).answer() == 42
    (first,) = folder.glob("*.so")
    written = first.stat().st_mtime_ns
    assert native.build(source, folder).answer() == 42
    assert first.stat().st_mtime_ns == written
    source.write_text(SOURCE % 43)
    assert native.build(source, folder).answer() == 43
    assert len(list(folder.glob("*.so"))) == 2


def test_a_damaged_library_is_compiled_again(source, tmp_path):
    native.build(source, tmp_path)
    (path,) = tmp_path.glob("*.so")
    path.unlink()
    path.write_bytes(b"half a libr")
    assert native.build(source, tmp_path).answer() == 42


def test_processes_compile_once(source, tmp_path):
    count = tmp_path / "compilations"
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *-dM*) ;; *) echo x >> {count}; sleep 0.5;; esac\nexec g++ "$@"\n')
    compiler.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from framework.native.build import build;"
        "print(build(Path(sys.argv[1]), Path(sys.argv[2])).answer())"
    )
    command = ["env", f"CXX={compiler}", sys.executable, "-c", code, str(source), str(tmp_path)]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(3)))
    assert [run.stdout for run in runs] == ["42\n"] * 3, runs
    assert count.read_text() == "x\n"


def test_the_compilers_complaint_is_passed_on(source, tmp_path):
    source.write_text("int answer( { }\n")
    with pytest.raises(native.BuildError, match="error"):
        native.build(source, tmp_path)
    assert not list(tmp_path.glob("*.so"))


def test_without_a_compiler_there_is_one_line_and_no_library(monkeypatch, capsys, tmp_path):
    native._library.cache_clear()
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert native.library("wavenet") is None
    assert native.library("wavenet") is None
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "install g++, or set CXX" in message
    native._library.cache_clear()


def test_without_a_home_a_cache_of_ones_own_serves_or_there_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path))
    assert native.library_folder() == tmp_path / "native"
    monkeypatch.delenv("OSTINATO_CACHE")
    native._library.cache_clear()
    assert native.library("wavenet") is None
    assert "no home directory for the folder ~/.cache/ostinato; set OSTINATO_CACHE" in capsys.readouterr().err
    native._library.cache_clear()


def test_a_compiler_is_a_command_with_arguments(source, tmp_path, monkeypatch):
    # As a cache of compilations is called: its own name first.
    launcher = tmp_path / "launcher"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{launcher}' g++ -DANSWER=44")
    assert native.find_compiler() == [str(launcher), "g++", "-DANSWER=44"]
    source.write_text(SOURCE.replace("%d", "ANSWER"))
    assert native.build(source, tmp_path).answer() == 44
    monkeypatch.setenv("CXX", "g++ '")
    with pytest.raises(native.BuildError, match="CXX=g\\+\\+ ' is not a valid command"):
        native.find_compiler()


def test_can_be_turned_off(monkeypatch, capsys):
    monkeypatch.setenv("OSTINATO_NATIVE", "0")
    assert native.library("wavenet") is None
    assert not capsys.readouterr().err


def test_sources_are_installed_with_the_package():
    import tomllib

    settings = tomllib.loads((native.SOURCES.parents[1] / "pyproject.toml").read_text())
    assert "*.cpp" in settings["tool"]["setuptools"]["package-data"]["*"]
