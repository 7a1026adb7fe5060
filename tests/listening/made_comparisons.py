"""Comparisons as `ostinato compare` leaves them, of noise: only what a listening test reads; and listeners made up."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from framework.evaluation.page.page import track_file
from framework.listening.answers import ANSWERS, Answers
from framework.listening.plan import Plan, load_plan

RATE = 22050
CLIPS = ["prelude", "fugue & <b>coda</b>", "allegro"]
COLUMNS = ["ground truth", "full", "without_mpd", "without_mel", "Griffin-Lim"]


def comparison(root: Path, clips: list[str] = CLIPS, columns: list[str] = COLUMNS, rate: int = RATE) -> Path:
    """Write and return the folder of a comparison with half a second of noise of its own in every place."""
    folder = root / "comparison"
    references = {"ground truth": "truth", "Griffin-Lim": "griffin_lim"}
    listed = [
        {"name": n, "reference": references.get(n, ""), "runs": [] if n in references else [f"run{i}"], "seeds": [0]}
        | {"steps": [] if n in references else [4000], "evaluations": [f"runs/{n}/evaluation/validation"]}
        for i, n in enumerate(columns)
    ]
    random = np.random.default_rng(0)
    for number, clip in enumerate(clips, 1):
        for place, column in enumerate(columns):
            path = folder / "page" / "audio" / f"{track_file(number, clip, place, column)}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            samples = 0.1 * (1 + place) / len(columns) * random.standard_normal(rate // 2 + 10 * place)
            soundfile.write(path, samples, rate, "PCM_16")
    values = {"name": "hifigan_table3", "baseline": "full", "sample_rate": rate, "clips": clips, "columns": listed}
    (folder / "comparison.json").write_text(json.dumps(values))
    return folder


def sounds(page: Path, trial: str) -> dict[str, tuple[bytes, np.ndarray]]:
    """Return file and samples of each sound of a trial, as the page gets them."""
    text = (page / "sounds" / f"{trial}.js").read_text()
    (payload,) = re.findall(r"^ostinatoClip\((.*)\);$", text)
    value = json.loads(payload)
    assert value["clip"] == trial
    files = {name: base64.b64decode(sound) for name, sound in value["sounds"].items()}
    return {name: (file, soundfile.read(io.BytesIO(file))[0]) for name, file in files.items()}


def answer(folder: Path, listeners: int, rating: Any) -> Plan:
    """Have made-up listeners answer everything; `rating(listener, clip, column, columns)` is what each says."""
    plan = load_plan(folder)
    with Answers(plan, folder / ANSWERS) as answers:
        for number in range(listeners):
            name = f"{number:032x}"
            answers.listen(name)
            for trial in plan.trials:
                columns = trial.columns()
                ratings = {s: rating(number, trial.clip, c, [*columns.values()]) for s, c in columns.items()}
                answers.add({"listener": name, "trial": trial.id, "ratings": ratings})
    return plan
