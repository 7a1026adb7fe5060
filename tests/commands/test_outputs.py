"""No command replaces a file that exists without `--overwrite`, and outputs are checked before any work."""

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from evaluation.stored_evaluations import store
from listening.made_comparisons import comparison
from midi_bytes import midi, off, on
from PIL import Image

from framework import writing
from framework.audio.coded_files import CodedHeader, write_codes
from framework.cli import main
from framework.commands import bench, names
from framework.commands import command as load
from framework.listening.make import make_test
from framework.listening.plan import ListeningError
from framework.outputs import OutputError, check_outputs, output_file, output_folder
from framework.workflow import coding
from framework.workflow.parser import option_strings

MINE = "not to be lost"
SYNTHESIZE = ["synthesize", "griffin_lim", "--model.iterations", "1"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "in/a.wav", "in/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, 0.3 * np.sin(np.arange(11025) / 10), 22050)
    return tmp_path


def refused(capsys, *arguments):
    """Run a command that must fail, and return its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ostinato: error: ")]
    return line


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        ([*SYNTHESIZE, "--input", "a.wav", "--output", "out"], ["out/a.wav"]),
        ([*SYNTHESIZE, "--input", "a.wav", "--output", "made.flac"], ["made.flac"]),
        ([*SYNTHESIZE, "--input", "in", "--output", "out/"], ["out/b.wav"]),
        (["synthesize", "wavenet_notes", "--seconds", "1", "--output", "x"], ["x/WaveNetNotes_000.wav"]),
        (["data", "in", "--picture", "sheet.png"], ["sheet.png"]),
        (["release", "hifigan_v3", "--data", "in"], ["hifigan_v3.safetensors"]),
        (["release", "hifigan_v3", "--data", "in", "--output", "a.safetensors"], ["a.safetensors"]),
        (["export", "hifigan_v3", "--data", "in", "--format", "onnx", "--output", "out"], ["out/hifigan_v3.onnx"]),
        (["export", "hifigan_v3", "--data", "in", "--format", "torch", "--output", "a.pt2"], ["a.pt2"]),
        (["compose", "--score", "own.mid"], ["song.wav"]),
        (["compose", "--score", "own.mid", "--output", "out"], ["out/song.wav"]),
        (["compose", "--score", "own.mid"], ["song/stems/mine.wav"]),
        (["compose", "--score", "own.mid", "--output", "a.b.wav"], ["a.b/form.json"]),
        (["sweep", "hifigan_table3", "--wandb_yaml", "sweep.yaml"], ["sweep.yaml"]),
        (["bench", "stft_loss", "--output", "results"], ["results/stft_loss.md"]),
        (["pack", "in", "taken"], ["taken"]),
        (["pack", "in", "taken/shards"], ["taken"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_files_that_exist_are_refused_in_one_line_and_kept(arguments, files, place, capsys):
    (place / "own.mid").write_bytes(midi(on(60) + off(60, 480)))
    for name in files:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(MINE)
    before = sorted(place.rglob("*"))
    said = refused(capsys, *arguments)
    assert files[0] in said
    assert "exists already: name another" in said or "is a file where a folder is needed" in said
    assert all((place / name).read_text() == MINE for name in files)
    assert sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts) == before


def test_every_command_with_an_output_has_the_option():
    """A command that gets `--output` later cannot forget `--overwrite`."""
    for name in names():
        known = option_strings(load(name).parser())
        writes = {"--output", "--picture", "--wandb_yaml"} & set(known)
        assert name == "pack" or bool(writes) == ("--overwrite" in known), name


def test_what_exists_is_replaced_only_where_it_is_asked_for(place, capsys):
    (place / "out").mkdir()
    (place / "out" / "a.wav").write_text(MINE)
    arguments = [*SYNTHESIZE, "--input", "in", "--output", "out"]
    assert "out/a.wav exists already: name another --output, or replace it by --overwrite" in refused(
        capsys, *arguments
    )
    assert not (place / "out" / "b.wav").exists()
    assert main([*arguments, "--overwrite"]) == 0
    assert soundfile.info(place / "out" / "a.wav").frames == 11025
    assert "out/a.wav and 1 more exist already" in refused(capsys, *arguments)
    # A recording that is read is not replaced by any option.
    before = (place / "in" / "a.wav").read_bytes()
    (place / "link").symlink_to("in")
    for folder in ("in", "link", "in/../in"):
        assert "is one of the recordings" in refused(capsys, *arguments[:-1], folder, "--overwrite")
    assert (place / "in" / "a.wav").read_bytes() == before

    assert main(["data", "in", "--picture", "new/sheet.png"]) == 0
    assert "exists already" in refused(capsys, "data", "in", "--picture", "new/sheet.png")
    assert main(["data", "in", "--picture", "new/sheet.png", "--overwrite"]) == 0
    with Image.open("new/sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_decoding_does_not_destroy_the_recording_that_was_encoded(place, capsys, monkeypatch):
    """`encode --input a.wav --output a.ost` and `decode --input a.ost --output a.wav`."""
    header = CodedHeader("f00d", "Tiny", 22050, 4410, 10, 2, 3)
    write_codes("a.ost", header, [np.zeros((441, 2), np.int64)])
    decoder = SimpleNamespace(stream_decode=lambda blocks: (torch.zeros(1, 1, 10 * b.shape[-1]) for b in blocks))
    decoder.samples_per_frame, decoder.quantiser = 10, SimpleNamespace(bits=3, size=8, layers=[None, None])
    preset = SimpleNamespace(sample_rate=22050)
    codec = SimpleNamespace(fingerprint=lambda: "f00d", network=decoder, device="cpu", preset=preset)

    monkeypatch.setattr(coding, "open_codec", lambda *_: codec)
    decode = ["decode", "codec_bach", "--input", "a.ost", "--output"]
    before = (place / "a.wav").read_bytes()
    assert "a.wav exists already" in refused(capsys, *decode, "a.wav")
    assert "in/a.wav exists already" in refused(capsys, *decode, "in")
    assert (place / "a.wav").read_bytes() == before
    assert main([*decode, "new"]) == 0
    assert soundfile.info("new/a.wav").frames == 4410
    assert main([*decode, "a.wav", "--overwrite"]) == 0
    assert soundfile.info("a.wav").frames == 4410


def test_a_comparison_is_replaced_in_the_folder_of_runs_and_nowhere_else(place, capsys, monkeypatch):
    monkeypatch.setattr("framework.sweeps.comparing.log_comparison", lambda *_: None)
    runs = [str(store(place / "runs", name, name).folder) for name in ("full", "without")]
    (place / "mine" / "page").mkdir(parents=True)
    (place / "mine" / "page" / "notes.txt").write_text(MINE)
    assert "mine/page/notes.txt exists already" in refused(capsys, "compare", *runs, "--output", "mine")
    assert (place / "mine" / "page" / "notes.txt").read_text() == MINE
    assert "b.wav is the name of a file" in refused(capsys, "compare", *runs, "--output", "b.wav")
    assert main(["compare", *runs, "--output", "new"]) == 0
    assert "new/comparison.json and " in refused(capsys, "compare", *runs, "--output", "new")
    assert main(["compare", *runs, "--output", "new", "--overwrite"]) == 0
    assert main(["compare", *runs]) == main(["compare", *runs]) == 0


def test_answers_whose_test_was_lost_are_kept(place):
    folder = make_test(comparison(place), "mos", None, 0, False)
    (folder / "answers.jsonl").write_text(MINE)
    (folder / "plan.json").unlink()
    with pytest.raises(ListeningError, match=r"mos is not the folder of a listening test"):
        make_test(folder.parent.parent, "mos", None, 0, False)
    assert (folder / "answers.jsonl").read_text() == MINE
    (folder / "answers.jsonl").unlink()
    assert make_test(folder.parent.parent, "mos", None, 0, False) == folder


def test_benchmarks_are_replaced_in_their_own_folder(place, monkeypatch):
    held = []
    monkeypatch.setattr(bench, "run_bench", lambda *arguments: held.append(str(arguments[3])))
    (place / "runs" / "bench").mkdir(parents=True)
    (place / "runs" / "bench" / "stft_loss.md").write_text("an earlier result")
    bench.Bench().main(["stft_loss"])
    bench.Bench().main(["stft_loss", "--output", "new"])
    assert held == ["runs/bench", "new"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("b.wav", "b.wav"),
        ("b.FLAC", "b.FLAC"),
        ("x/b.wav", "x/b.wav"),
        ("x", "x/song.wav"),
        ("x/", "x/song.wav"),
        ("", "song.wav"),
        ("v1.2", "v1.2/song.wav"),
        ("voice.target", "voice.target/song.wav"),
        ("b.wav/", "b.wav/song.wav"),
        ("b.mp3", None),
        ("b.OGG", None),
        ("b.ost", None),
        ("b.safetensors", None),
        ("b.mp3x", None),
        ("b.wavv", None),
        (".wav", None),
        ("x/.flac", None),
    ],
)
def test_a_name_that_ends_like_audio_is_a_file_and_anything_else_a_folder(given, meant):
    if meant:
        assert str(output_file(given, "song.wav", (".wav", ".flac"))) == meant
        return
    with pytest.raises(OutputError, match=r"such a file cannot be written: name a \.wav or \.flac file, or a folder"):
        output_file(given, "song.wav", (".wav", ".flac"))


def test_the_rule_is_the_same_for_every_command(capsys):
    cases = {
        ".wav or .flac": [[*SYNTHESIZE, "--input", "a.wav"], ["compose", "--form", "A"]],
        ".safetensors": [["release", "hifigan_v3", "--data", "in"]],
        ".pt2": [["export", "hifigan_v3", "--data", "in", "--format", "torch"]],
    }
    for kind, commands in cases.items():
        for command in commands:
            said = refused(capsys, *command, "--output", "song.mp3")
            assert f"--output song.mp3: such a file cannot be written: name a {kind} file, or a folder" in said
    assert "several recordings: name a folder" in refused(capsys, *SYNTHESIZE, "--input", "in", "--output", "b.wav")
    generate = ["synthesize", "wavenet_notes", "--seconds", "1"]
    assert "name a folder" in refused(capsys, *generate, "--count", "2", "--output", "b.wav")
    with pytest.raises(OutputError, match="is the name of a file where a folder is needed"):
        output_folder("song.wav")


def test_places_that_cannot_be_written_to_are_named_before_any_work(place, monkeypatch):
    def complaint(path, **settings):
        with pytest.raises(OutputError) as error:
            check_outputs([place / path], **settings)
        assert "\n" not in str(error.value)
        return str(error.value)

    (place / "dead").symlink_to("nowhere")
    assert "a.wav is a file where a folder is needed" in complaint("a.wav/b.wav")
    assert "a.wav is a file where a folder is needed" in complaint("a.wav/deep/er/b.wav")
    assert "in is a folder where a file is needed" in complaint("in", overwrite=True)
    assert "dead exists already" in complaint("dead")
    assert "dead is a file where a folder is needed" in complaint("dead/b.wav")
    assert "File name too long): shorten the name" in complaint("x" * 300 + ".wav")
    os.mkfifo("pipe")
    assert "pipe is no regular file" in complaint("pipe", overwrite=True)
    assert "is no regular file" in complaint("/dev/null", overwrite=True)
    if sys.platform == "linux":
        assert "/proc cannot be written" in complaint("/proc/x/b.wav")
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    assert "2.0 MB free, 3.0 MB are needed: make room" in complaint("new/b.wav", size=3_000_000)
    check_outputs([place / "new" / "b.wav"], size=1_000_000)
    assert not (place / "new").exists()
    assert not [path for path in place.iterdir() if path.name.endswith(".part")]


def test_a_read_only_folder_is_named():
    with tempfile.TemporaryDirectory() as root:
        locked = Path(root, "locked")
        locked.mkdir(mode=0o555)
        os.chmod(root, 0o755)
        if is_root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(
                OutputError, match=r"locked cannot be written \(Permission denied\): check its permissions"
            ):
                check_outputs([locked / "new" / "a.wav"])
        finally:
            if is_root:
                os.seteuid(0)
