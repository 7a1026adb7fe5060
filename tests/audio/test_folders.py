"""One listing of folders for all commands: what is a recording, what could be made one, and what is passed over."""

import os

import numpy as np
import pytest
import soundfile

from datamodules.audio_folder import AudioFolder
from datamodules.packing.recordings import find_recordings
from framework.audio.files import audio_files, safe_name
from framework.folders import AUDIO_SUFFIXES, ignored, list_folder, remedy


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_a_folder_is_sorted_into_recordings_and_all_else(tmp_path):
    touch(tmp_path, *(f"a/song{suffix.upper()}" for suffix in AUDIO_SUFFIXES))
    touch(tmp_path, "b/x.m4a", "b/x.WEBM", "b/x.zip", "b/x.tar.gz", "b/notes.txt", "b/cover.jpg", "b/README")
    touch(tmp_path, ".git/hooks.wav", "b/.hidden.wav", "b/._mac.wav", "shards/000.tar", "voice.tar/one.wav")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    (tmp_path / "b" / "dead.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "b" / "linked.wav").symlink_to(tmp_path / "a" / "song.WAV")
    os.mkfifo(tmp_path / "b" / "pipe.wav")
    found = list_folder(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in found.audio]
    assert sorted(names) == sorted(
        [*(f"a/song{s.upper()}" for s in AUDIO_SUFFIXES), "b/linked.wav", "voice.tar/one.wav"]
    )
    reasons = {path.name: reason for path, reason in found.unusable}
    assert set(reasons) == {"x.m4a", "x.WEBM", "x.zip", "x.tar.gz", "dead.wav", "pipe.wav"}
    assert "ffmpeg -i" in reasons["x.m4a"]
    assert "unzip" in reasons["x.zip"]
    assert "tar -xf" in reasons["x.tar.gz"]
    assert "does not exist" in reasons["dead.wav"]
    assert "not a regular file" in reasons["pipe.wav"]
    text = "\n".join(ignored(found, tmp_path).messages)
    assert "3 files are not audio (1 without suffix, 1 .jpg, 1 .txt): b/README, b/cover.jpg, b/notes.txt" in text
    assert "3 hidden files or folders are skipped: .git, b/._mac.wav, b/.hidden.wav" in text
    assert "1 tar files beside the recordings are not used: shards/000.tar" in text


def test_all_commands_find_the_same_files(tmp_path, caplog):
    for number, suffix in enumerate(AUDIO_SUFFIXES):
        touch(tmp_path, f"{number}{suffix}")
    touch(tmp_path, "x.m4a", ".secret/y.wav")
    found = find_recordings(tmp_path)
    assert [recording.path for recording in found.recordings] == audio_files(tmp_path)
    assert len(found.recordings) == len(AUDIO_SUFFIXES)
    assert [entry.file for entry in found.skipped] == ["x.m4a"]
    for text in ("x.m4a is left out", "ffmpeg", "1 hidden files or folders are skipped: .secret"):
        assert text in caplog.text


def test_a_folder_without_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    touch(tmp_path, "a/x.wav", "b/y.wav")
    (tmp_path / "b").chmod(0)
    assert ["Permission denied" in reason for _, reason in list_folder(tmp_path).unusable] == [True]


@pytest.mark.parametrize("name", ["voice.target", "x.tarot", "old.tar.d", "x.tar"])
def test_a_folder_is_no_tar_whatever_its_name(tmp_path, monkeypatch, name):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    (tmp_path / name).mkdir()
    for number in range(3):
        audio = 0.3 * np.sin(0.01 * (number + 3) * np.arange(9000))
        soundfile.write(tmp_path / name / f"{number}.wav", audio, 22050)
    data = AudioFolder(path=str(tmp_path / name), segment=1024, batch_size=1)
    assert len(data.recordings) == 3
    data.prepare_data()
    assert len(list(data.train_dataloader())) >= 1
    # As a mixture, too.
    assert len(AudioFolder(path=f"{tmp_path / name}::{tmp_path / name}").parts) == 2


def test_shards_are_told_by_what_they_are(tmp_path):
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 22050, 1) as file:
        file.write(np.zeros(10))

    def shards(path):
        return AudioFolder(path=path)._listed

    tar = tmp_path / "no suffix"
    tar.write_bytes(bytes(257) + b"ustar" + bytes(1000))
    assert shards(str(tar)) == [str(tar)]
    assert shards("https://host/x.tar?signature=1&name=y") == ["https://host/x.tar?signature=1&name=y"]
    assert shards("https://host/x.tar.d/folder") == []
    assert shards("https://host/{a,b}.tar") == ["https://host/a.tar", "https://host/b.tar"]
    assert shards(f"{tmp_path}/{{a,b}}.tar::{tmp_path}/c.tar") == [f"{tmp_path}/{n}.tar" for n in "abc"]
    (tmp_path / "{a,b}.tar").touch()
    assert shards(f"{tmp_path}/{{a,b}}.tar") == [f"{tmp_path}/{{a,b}}.tar"]


def test_names_of_files_are_not_too_long():
    for key in ("a" * 300, "é" * 300, "a/b" * 200):
        name = safe_name(key)
        assert len(name.encode()) <= 213
        assert safe_name(key + "x") != name
    assert safe_name("a/b") == "a_b"


def test_what_could_be_converted_is_told_how():
    assert "ffmpeg" in remedy("a.M4A")
    assert remedy("a.wav") == ""
