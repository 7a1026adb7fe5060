"""Files are written whole or not at all; a full disk costs a file and a line; what dead processes left behind goes."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import soundfile
import torch

from framework import writing
from framework.audio.files import save_audio
from framework.writing import Tolerant, WriteError, part_of, remove_leftovers, replacing, write_atomically


@pytest.fixture
def largest_file():
    """Set how large a file may become, as on a disk that is full; no limit afterwards."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["sound.wav", "sound.flac", "text.txt", "folder"])
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path, largest_file, name):
    path, noise = tmp_path / name, 2 * torch.rand(1, 20_000) - 1

    def write():
        if name == "folder":
            with replacing(path) as part:
                part.mkdir()
                (part / "inner.txt").write_text("x" * 10_000)
        elif name == "text.txt":
            write_atomically(path, "x" * 10_000)
        else:
            save_audio(path, noise, 22050)

    largest_file(5_000)
    with pytest.raises(WriteError, match=rf"{name} could not be written \(File too large\): make room"):
        write()
    assert list(tmp_path.iterdir()) == []
    largest_file(1 << 20)
    write()
    assert list(tmp_path.iterdir()) == [path]
    if name.startswith("sound"):
        before = soundfile.read(path)[0]
        assert len(before) == 20_000
        largest_file(5_000)
        with pytest.raises(WriteError):
            save_audio(path, torch.zeros(1, 30_000) + noise.repeat(1, 2)[:, :30_000], 22050)
        assert (soundfile.read(path)[0] == before).all()


def test_an_error_of_something_else_is_not_taken_for_one_of_writing(tmp_path):
    with pytest.raises(ConnectionResetError), replacing(tmp_path / "a"):
        raise ConnectionResetError(104, "Connection reset by peer")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a") as part:
        part.write_text((tmp_path / "missing").read_text())
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_told_once_that_the_disk_is_full_and_once_that_it_is_not(capsys):
    tolerant = Tolerant("checkpoints")
    for _ in range(100):
        with tolerant:
            raise WriteError("last.ckpt", OSError(28, "No space left on device"))
        assert tolerant.failed
    with tolerant:
        pass
    assert not tolerant.failed
    assert capsys.readouterr().err.splitlines() == [
        "warning: last.ckpt could not be written (No space left on device): make room; the run goes on without",
        "checkpoints can be written again",
    ]
    with pytest.raises(ZeroDivisionError), tolerant:
        print(1 / 0)


def test_only_what_dead_processes_left_behind_is_removed(tmp_path, monkeypatch):
    code = f"""if True:
        import os, sys
        from pathlib import Path
        from framework.writing import part_of
        part_of(Path({str(tmp_path)!r}) / "shard.tar").write_text("half")
        part_of(Path({str(tmp_path)!r}) / "folder").mkdir()
        print("up", flush=True)
        sys.stdin.read()"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    theirs = set(tmp_path.iterdir())
    ours = part_of(tmp_path / "shard.tar")
    ours.write_text("half")
    whole = tmp_path / ".shard.tar.index.npz"
    whole.write_text("whole")
    assert len(theirs) == 2
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == theirs | {ours, whole}
    writer.kill()
    writer.wait()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {ours, whole}
    # Another machine's processes cannot be looked at.
    monkeypatch.setattr(writing.socket, "gethostname", lambda: "elsewhere")
    remove_leftovers(tmp_path)
    assert ours.exists()
    os.utime(ours, (time.time() - 90_000,) * 2)
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {whole}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_log_file_on_a_full_disk_ends_nobody(unbuffered):
    code = """if True:
        import sys
        from framework.writing import keep_output_from_failing
        keep_output_from_failing()
        for _ in range(1000):
            print("x" * 100)
        print("still here", file=sys.stderr)"""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "still here\n")


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_audio_is_the_same_whatever_it_is_written_through(tmp_path, format):
    audio = torch.linspace(-1.2, 1.2, 10_001)[None]
    save_audio(tmp_path / f"a.{format}", audio, 22050)
    read, rate = soundfile.read(tmp_path / f"a.{format}", dtype="int16")
    assert rate == 22050
    expected = (audio[0].double() * 32768).round().clamp(-32768, 32767).to(torch.int16)
    assert torch.equal(torch.from_numpy(read), expected)
