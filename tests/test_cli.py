"""The installed `ostinato` command, as a person uses it: train, kill, continue, hear."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from framework.cli import main

OSTINATO = Path(sys.executable).with_name("ostinato")
SMALL = [
    "--model.channels=16", "--model.upsample_rates=[16,16]", "--model.upsample_kernels=[32,32]", "--model.kernels=[3]",
    "--model.dilations=[[1]]", "--model.adversarial_start=15", "--data.batch_size=2", "--data.segment=2048",
    "--trainer.max_steps=40", "--trainer.val_check_interval=10", "--trainer.log_every_n_steps=1",
    "--trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with recordings, in which commands run with a cache of their own and no way to a server."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "recordings").mkdir()
    random = np.random.default_rng(0)
    for number in range(12):
        time_axis = np.arange(22050) / 22050
        tone = 0.3 * np.sin(2 * np.pi * random.uniform(100, 1000) * time_axis) + 0.01 * random.standard_normal(22050)
        soundfile.write(folder / "recordings" / f"take{number}.wav", tone, 22050)
    return folder


def environment(place):
    hidden = {"WANDB_API_KEY", "WANDB_MODE", "CUDA_VISIBLE_DEVICES"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    return kept | {"OSTINATO_CACHE": str(place / "cache"), "HOME": str(place), "OMP_NUM_THREADS": "1"}


def ostinato(place, *arguments, check=True):
    done = subprocess.run(
        [OSTINATO, *map(str, arguments)], cwd=place, env=environment(place), capture_output=True, text=True, timeout=240
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def fit(*arguments):
    return ["fit", "hifigan_bach", "--data", "recordings", *SMALL, *arguments]


@pytest.fixture(scope="module")
def finished(place):
    """Return the folder of a run that was stopped by SIGTERM, killed by SIGKILL, and then went on to its end."""
    for number, expected in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(
            [OSTINATO, *fit()],
            cwd=place,
            env=environment(place),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reached = 10 if number == signal.SIGTERM else 25
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline and steps(place) < reached:
            time.sleep(0.05)
        process.send_signal(number)
        output = process.communicate(timeout=60)[0]
        assert process.returncode == expected, output
    done = ostinato(place, *fit())
    assert "continuing from" in done.stdout
    assert "Griffin-Lim" in done.stdout or "griffin lim" in done.stdout
    (summary,) = place.glob("runs/*/*/summary.json")
    return summary.parent


def steps(place):
    found = list(place.glob("runs/*/*/metrics.csv"))
    rows = list(csv.DictReader(found[0].read_text().splitlines())) if found else []
    return max((int(float(row["step"])) for row in rows if row.get("step")), default=0)


def test_run_folder_tells_the_whole_story(finished):
    rows = list(csv.DictReader((finished / "metrics.csv").read_text().splitlines()))
    trained = [int(float(row["step"])) for row in rows if row.get("train/generator")]
    assert trained == list(range(1, 41)), "each step is logged once, whatever was killed"
    validated = [int(float(row["step"])) for row in rows if row.get("validation/log_mel_error")]
    assert validated == [10, 20, 30, 40]
    assert {"train/mel", "train/adversarial", "train/feature_matching", "gradient_norm/generator"} <= rows[0].keys()
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["model"]["channels"] == 16
    assert config["provenance"]["packages"]["torch"]
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["steps"] == 40
    for clip, columns in summary["clips"].items():
        assert columns["griffin_lim"]["log_mel_error"] < columns["system"]["log_mel_error"]
        for name in ("truth.wav", "griffin_lim.wav", "step_00000040.wav", "step_00000040.png"):
            assert (finished / "audio" / clip / name).stat().st_size > 1000
    assert {p.name for p in (finished / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert list(finished.glob("wandb/offline-run-*/*.wandb"))


def test_a_finished_run_is_not_repeated(finished, place):
    before = (finished / "metrics.csv").read_bytes()
    assert "is finished (40 steps)" in ostinato(place, *fit()).stdout
    assert (finished / "metrics.csv").read_bytes() == before


def test_synthesize_any_file(finished, place):
    (place / "in").mkdir()
    stereo = 0.1 * np.random.default_rng(1).standard_normal((44100, 2))
    soundfile.write(place / "in" / "stereo.flac", stereo, 44100)
    soundfile.write(place / "in" / "low.ogg", stereo[:8000, 0], 8000)
    (place / "in" / "broken.wav").write_bytes(b"RIFF")
    arguments = ["hifigan_bach", "--data", "recordings", *SMALL, "--input", "in", "--output", "out"]
    done = ostinato(place, "synthesize", *arguments)
    assert "2 written to out, 1 skipped" in done.stdout
    assert "broken.wav" in done.stderr + done.stdout
    for name in ("stereo", "low"):
        audio, rate = soundfile.read(place / "out" / f"{name}.wav")
        assert (rate, len(audio)) == (22050, 22050)
    arguments[-3:] = ["in/low.ogg", "--output", "rounded"]
    assert "in bf16" in ostinato(place, "synthesize", *arguments, "--precision", "bf16").stdout
    rounded = soundfile.read(place / "rounded" / "low.wav")[0]
    # Eight bits of precision in place of 24.
    assert 1e-6 < np.square(rounded - audio).mean() / np.square(audio).mean() < 0.05


SLOW_EVALUATION = """
import sys, time
from framework.cli import main
from framework.evaluation import evaluating

of_clip = evaluating._Pass.clip
evaluating._Pass.clip = lambda *arguments: (time.sleep(5), of_clip(*arguments))
sys.exit(main(["evaluate", sys.argv[1]]))
"""


def test_an_evaluation_shows_its_progress_and_leaves_nothing_when_it_is_interrupted(finished, place):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_EVALUATION, finished], cwd=place, env=environment(place), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    lines = []
    for line in process.stderr:
        lines.append(line.strip())
        if line.startswith("evaluating: "):
            break
    # Progress is shown once it takes longer than a second and a half: one clip here takes five.
    assert re.fullmatch(r"evaluating: \d of \d clips, \d+:\d\d elapsed.*", lines[-1])
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (130, "")
    assert errors.splitlines()[-1] == "ostinato: interrupted"
    assert "Traceback" not in errors
    assert not [path for path in (finished / "evaluation").iterdir() if path.suffix != ".lock"]


def test_validate_gives_the_numbers_of_the_summary(finished, place):
    done = ostinato(place, "validate", "hifigan_bach", "--data", "recordings", *SMALL)
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["system"]]
    clips = json.loads((finished / "summary.json").read_text())["clips"].values()
    mean = sum(clip["system"]["log_mel_error"] for clip in clips) / len(clips)
    assert float(line.split()[1]) == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "hifigan_v33"], "no experiment 'hifigan_v33': did you mean hifigan_v3?"),
        (["fti"], "no command 'fti': did you mean fit?"),
        (["fit"], "needs the name of an experiment"),
        (["fit", "hifigan_v3", "--model.chanels", "3"], "no argument --model.chanels: did you mean --model.channels?"),
        (
            ["fit", "hifigan_v3", "--model.channels", "wide"],
            "model.channels = wide: must be a whole number of at least 1",
        ),
        (["fit", "hifigan_v3", "--model.mel", "hifigan_44k"], "no mel preset 'hifigan_44k': did you mean"),
        (["fit", "hifigan_v3", "--data", "nowhere"], "nowhere"),
        (["fit", "hifigan_v3", "--data", "recordings", "--data.segment", "65536"], "segment"),
        (["fit", "hifigan_v3", "--data", "recordings", "--data.sample_rate", "44100"], "44100 Hz"),
        (["validate", "hifigan_v3", "--data", "recordings"], "no run of HiFiGANV3 with these values"),
        (
            ["validate", "hifigan_v3", "--data", "recordings", "--ckpt_path", "none.ckpt"],
            "none.ckpt: no such checkpoint",
        ),
        (["synthesize", "hifigan_v3", "--input", "nowhere.wav", "--output", "o"], "nowhere.wav"),
    ],
)
def test_a_mistake_is_answered_in_one_line(place, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("OSTINATO_CACHE", str(place / "cache"))
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ostinato: error:")]
    assert message in line


def test_recordings_are_neither_written_over_nor_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    audio = 0.1 * np.sin(np.arange(4000) / 10)
    for name in ("a.wav", "a.flac", "b.flac"):
        (tmp_path / name[0]).mkdir(exist_ok=True)
        soundfile.write(tmp_path / name[0] / name, audio, 22050)
    soundfile.write(tmp_path / "b" / "tiny.wav", audio[:100], 22050)
    arguments = ["synthesize", "griffin_lim", "--model.iterations", "1"]
    before = (tmp_path / "a" / "a.wav").read_bytes()
    assert main([*arguments, "--input", "a/a.wav", "--output", "a"]) == 2
    assert "a/a.wav is one of the recordings" in capsys.readouterr().err
    assert main([*arguments, "--input", "a", "--output", "out"]) == 2
    assert "would both become out/a.wav" in capsys.readouterr().err
    assert (tmp_path / "a" / "a.wav").read_bytes() == before
    assert main([*arguments, "--input", "b", "--output", "out"]) == 0
    shown = capsys.readouterr()
    assert "1 written to out, 1 skipped" in shown.out
    assert "tiny.wav" in shown.out + shown.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.wav"]


def test_a_wrong_checkpoint_is_named(finished, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("OSTINATO_CACHE", str(place / "cache"))
    path = finished / "checkpoints" / "last.ckpt"
    arguments = ["validate", "melgan", "--data", "recordings", "--ckpt_path"]
    assert main([*arguments, str(path)]) == 2
    assert "holds another network than MelGAN" in capsys.readouterr().err
    (place / "cut.ckpt").write_bytes(path.read_bytes()[:10000])
    assert main([*arguments, "cut.ckpt"]) == 2
    assert "cut.ckpt is cut short or no checkpoint" in capsys.readouterr().err


def test_list_needs_no_torch_once_it_has_been_called(place):
    assert "hifigan_v3" in ostinato(place, "list").stdout
    code = "import sys; from framework.cli import main; main(['list', 'hifigan']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(place), capture_output=True, text=True)
    assert done.returncode == 0
    assert "channels 512 -> 256" in done.stdout
    assert "build_discriminators() overridden" in done.stdout


def test_who_has_seen_enough_is_told_no_more(place):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([OSTINATO, "list"], env=environment(place), stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_show_tells_values_and_their_origin(capsys):
    assert main(["show", "hifigan_v3", "--model.mel_weight", "15"]) == 0
    shown = capsys.readouterr().out
    assert "parameters of generator: 1,464,322" in shown
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip().startswith(("model.", "data."))}
    assert "15" in rows["model.mel_weight"]
    assert "command line" in rows["model.mel_weight"]
    assert "HiFiGANV3" in rows["model.channels"]
    assert "receptive field: 22 frames" in shown


def test_doctor_looks_before_a_long_run(finished, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("OSTINATO_CACHE", str(place / "cache"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    arguments = ["doctor", "hifigan_bach", "--data", "recordings", *SMALL]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "7 checks:" in shown.splitlines()[0]
    assert "all checks passed" in shown
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("  ok")] == [
        "devices", "data", "batches", "step", "held-out", "disk", "tracking",
    ]  # fmt: skip
    assert main([*arguments, "--trainer.devices=3", "--model.learning_rate=1e30"]) == 1
    shown = capsys.readouterr().out
    assert "FAIL  devices    trainer.devices = 3: a batch of 2 cannot be shared by 3 devices" in shown
    assert "lower --model.learning_rate" in shown
    assert "2 of 7 checks failed" in shown


def test_one_clip_is_learnt_by_heart_in_a_run_of_its_own(finished, place):
    done = ostinato(place, *fit("--overfit_one_clip", "--trainer.max_steps=12"))
    assert "1 held-out clips" in done.stdout
    (summary,) = [p for p in place.glob("runs/*/*/summary.json") if p.parent != finished]
    (clip,) = json.loads(summary.read_text())["clips"]
    rows = list(csv.DictReader((summary.parent / "metrics.csv").read_text().splitlines()))
    losses = [float(row["train/mel"]) for row in rows if row["train/mel"]]
    assert len(losses) == 12
    assert losses[-1] < 0.8 * losses[0]
    assert (summary.parent / "audio" / clip / "truth.wav").exists()
