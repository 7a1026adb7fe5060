"""Evaluations as they lie on the disk, of runs that never were: known values, tones as audio, logs, configurations."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from framework.audio.files import save_audio
from framework.evaluation.evaluation import Evaluation

RATE = 22050
CLIPS = ["prelude/1", "fugue & <b>coda</b>", "prelude#2", "four", "five", "six", "seven", "eight"]
DATA = {"class": "Noise", "fingerprint": "f00d", "split": "validation", "seconds": 1.0, "peak": 0.95}
ERROR = {"title": "log-mel L1", "unit": "", "better": "lower", "source": "a paper"}
LEVEL = {"title": "SI-SDR", "unit": "dB", "better": "higher", "source": "another"}
DISTANCE = {"title": "Frechet distance (bands)", "unit": "", "better": "lower", "source": "a third over bands"}


def store(
    root: Path,
    experiment: str,
    family: str,
    seed: int = 0,
    error: float = 1.0,
    model: dict[str, Any] | None = None,
    clips: list[str] = CLIPS,
    audio: bool = True,
    **fields: Any,
) -> Evaluation:
    """Write and return the evaluation of a run with a mean error of about `error`, a tone of its own as every clip."""
    run = f"{family}{seed}"
    folder = root / experiment / run
    random = np.random.default_rng(len(family) * 100 + seed)
    hard = np.linspace(0.8, 1.2, len(clips))
    errors = error * hard + 0.02 * random.standard_normal(len(clips))
    found = Evaluation(
        folder / "evaluation" / "validation",
        **{"run": run, "family": family, "experiment": f"experiments.{experiment}", "step": 4000}
        | {"checkpoint": str(folder / "checkpoints" / "last.ckpt"), "data": dict(DATA), "seed": seed}
        | {"sample_rate": RATE, "clips": list(clips)},
        metrics={
            "log_mel_error": {**ERROR, "values": errors.tolist()},
            "si_sdr": {**LEVEL, "values": (10 - 5 * errors + random.standard_normal(len(clips))).tolist()},
        },
        distributions={
            "frechet_distance": {
                **DISTANCE,
                "value": 2.5 * error,
                "corrected": 2 * error,
                "low": error,
                "high": 3 * error,
            }
            | {"clips": len(clips)}
            | {"columns": {"griffin_lim": {"value": 1.25, "corrected": 1.0, "low": 0.5, "high": 1.5}}}
        },
        cost={
            "parameters": 1000,
            "real_time_factor": 0.1,
            "seconds_per_step": 0.9,
            "device": "cpu",
            "peak_memory": 2**20,
        },
        columns={
            "griffin_lim": {"log_mel_error": (0.5 * hard).tolist(), "si_sdr": (-20 * hard).tolist()},
            "truth": {"log_mel_error": [0.0] * len(clips), "si_sdr": [None] * len(clips)},
        },
    )
    for name, value in fields.items():
        setattr(found, name, value)
    found.save()
    values = {"mel_weight": 45.0, "channels": 32, **(model or {})}
    identity = {"system": "framework.generators.hifigan:HiFiGAN", "model": values, "seed": seed}
    config = {"experiment": found.experiment, "identity": identity | {"data": {"manifest": "f00d"}}, "model": values}
    config |= {"data": {}, "trainer": {"devices": 2, "num_nodes": 1}, "seed": seed, "provenance": {"commit": "c0de"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [f"{step},{error + 50 / step:.4f},{'' if step % 200 else 2 * error}" for step in range(100, 4001, 100)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/mel,validation/log_mel_error", *rows]) + "\n")
    for number, clip in enumerate(clips if audio else ()):
        for kind, hertz in (("truth", 440), ("generated", 300 + 100 * error), ("griffin_lim", 200)):
            phase = 2 * torch.pi * hertz * torch.arange(RATE + 100 * number) / RATE
            save_audio(found.audio(clip) / f"{kind}.wav", 0.2 * torch.sin(phase)[None], RATE)
    return found


def three_runs(root: Path, **more: Any) -> list[Evaluation]:
    """Write a baseline of two seeds, a better and a worse run."""
    return [
        store(root, "full", "aaaa", 0, 1.0, **more),
        store(root, "full", "aaaa", 1, 1.1, **more),
        store(root, "without_mpd", "bbbbb", 0, 0.6, {"mel_weight": 15.0}, **more),
        store(root, "without_mel", "cccccc", 0, 1.8, {"mel_weight": 0.0}, **more),
    ]
