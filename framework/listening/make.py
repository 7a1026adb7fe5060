"""Creates the folder of a listening test from a comparison: the plan, and pages that work from disk or from a server.

Listeners receive `<comparison>/listening/<kind>/page/` only: the template, `plan.js`, which does not name the columns,
and `sounds/<trial>.js` for each trial. `plan.json` and `answers.jsonl` are outside of this folder.
"""

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from framework.audio.files import load_audio
from framework.errors import InvalidValueError
from framework.evaluation.columns import GRIFFIN_LIM, TRUTH
from framework.evaluation.page.page import script, track_file
from framework.json_text import check_kinds, parse_json
from framework.listening.answers import ANSWERS, read_answers
from framework.listening.plan import (
    FILE,
    RANGES,
    REFERENCED,
    ListeningError,
    Plan,
    Trial,
    load_plan,
    make_plan,
    save_plan,
)
from framework.listening.stimuli import ANCHORS, anchors_at, encoded, level_matched, low_passed, together
from framework.progress import progress
from framework.writing import write_atomically

TEMPLATE = ("index.html", "test.css", "scales.js", "test.js")
PLAYER = "player.js"
COMPARISON = "comparison.json"


ANCHORS_OF = {"mushra": 2, "mushra_1s": 1}
"""Number of anchors of a kind of test, the lowest first; others have none."""

KINDS: dict[str, Any] = {
    **{"name": str, "baseline": str, "sample_rate": int, "clips": [str], "metrics?": {str: Any}},
    "columns": [{"name": str, "reference": str, "runs": [str], "steps": [int], "evaluations": [str]}],
}
"""Types of the entries of `comparison.json` that a test needs."""
MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Valid sample rates (Hz) of comparisons."""


def make_test(
    comparison: Path, kind: str, clips: int | None, seed: int, match_levels: bool, pairs: str = "baseline"
) -> Path:
    """Create a listening test of a comparison, or reuse an equal one; return its folder.

    Args:
        comparison: Folder written by `ostinato compare`.
        kind: One of `RANGES`.
        clips: Number of clips, starting with the comparison's first; None for all.
        seed: Seed of the presentation order.
        match_levels: Whether to scale all stimuli to the root mean square of the ground truth.
        pairs: What an A/B test compares: `baseline`, each run with the baseline, or `all` pairs of runs.

    Raises:
        ListeningError: the comparison does not allow this test, or the folder has answers to another test.
    """
    folder = comparison / "listening" / kind
    values = read_comparison(comparison)
    sounds = sounds_of(comparison, values, kind, clips)
    made_of = described(values, sounds, kind, seed, match_levels)
    if kind == "ab" and pairs == "all":
        made_of["pairs"] = pairs
    if (folder / FILE).exists():
        plan = load_plan(folder)
        if plan.made_of == made_of:
            write_page(plan, folder / "page")
            return folder
        if read_answers(plan, folder / ANSWERS).last:
            raise ListeningError(
                f"{folder} has answers to a test of other clips, sounds or settings; rename it to start a new test"
            )
    elif folder.exists() and any(path.name != "page" for path in folder.iterdir()):
        raise ListeningError(f"{folder} is not the folder of a listening test ({FILE} is missing); rename that folder")
    plan = make_plan(kind, made_of, list(made_of["columns"]), made_of["anchors"])
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "page" / "sounds").mkdir(parents=True)
    for trial in progress(plan.trials, "writing the test", unit="trials"):
        text = trial_script(trial, sounds[trial.clip], values["sample_rate"], match_levels)
        write_atomically(folder / "page" / sound_file(trial), text)
    write_page(plan, folder / "page")
    save_plan(plan, folder)
    return folder


def read_comparison(folder: Path) -> dict[str, Any]:
    """Return the content of `comparison.json`.

    Raises:
        ListeningError: the file is missing or damaged.
    """
    try:
        values = parse_json((folder / COMPARISON).read_text())
        check_kinds(values, KINDS)
        if not MIN_RATE <= values["sample_rate"] <= MAX_RATE:
            raise InvalidValueError(f"sample_rate is {values['sample_rate']}")
        return values
    except FileNotFoundError:
        raise ListeningError(f"{folder} contains no comparison; create one with `ostinato compare`") from None
    except ValueError as error:
        raise ListeningError(f"{folder / COMPARISON} is damaged ({error}); compare again") from None


def sounds_of(comparison: Path, values: dict[str, Any], kind: str, count: int | None) -> dict[str, dict[str, Path]]:
    """Return the audio files of each clip by column, for the columns that this kind of test rates."""
    rated = [(i, c["name"]) for i, c in enumerate(values["columns"]) if kind != "ab" or not c["reference"]]
    found = {}
    for number, clip in enumerate(values["clips"], 1):
        paths = {n: comparison / "page" / "audio" / f"{track_file(number, clip, i, n)}.wav" for i, n in rated}
        found[clip] = {name: path for name, path in paths.items() if path.exists()}
    if kind in REFERENCED and not all({TRUTH, GRIFFIN_LIM} <= clip.keys() for clip in found.values()):
        raise ListeningError(
            f"{kind} needs a reference, and these systems do not reconstruct a clip; use --kind mos or ab"
        )
    whole = max(found.values(), key=len, default={}).keys()
    found = dict([(clip, paths) for clip, paths in found.items() if paths.keys() == whole][:count])
    if not found or not whole:
        raise ListeningError(f"{comparison}/page contains no sounds; write them with `ostinato compare`")
    return found


def described(
    values: dict[str, Any], sounds: dict[str, dict[str, Path]], kind: str, seed: int, match_levels: bool
) -> dict[str, Any]:
    """Return everything that determines the test's sounds and orders, with run and step of each column."""
    columns = next(iter(sounds.values())).keys()
    content = hashlib.sha256()
    for paths in sounds.values():
        for name in columns:
            content.update(hashlib.sha256(paths[name].read_bytes()).digest())
    return {
        "comparison": values["name"],
        "baseline": values["baseline"],
        "clips": list(sounds),
        "columns": {
            c["name"]: {"runs": c["runs"], "steps": c["steps"], "reference": c["reference"]}
            for c in values["columns"]
            if c["name"] in columns
        },
        "anchors": list(anchors_at(values["sample_rate"]))[: ANCHORS_OF.get(kind, 0)],
        "sample_rate": values["sample_rate"],
        "seed": seed,
        "match_levels": match_levels,
        "sounds": content.hexdigest()[:16],
    }


def trial_script(trial: Trial, paths: dict[str, Path], sample_rate: int, match_levels: bool) -> str:
    """Return the script that contains the sounds of a trial under their opaque names."""
    columns = trial.columns() | ({trial.reference: TRUTH} if trial.reference else {})
    columns |= {trial.anchor: next(iter(ANCHORS))} if trial.anchor else {}
    audio = {name: samples(column, paths, sample_rate) for name, column in columns.items()}
    if match_levels:
        like = samples(TRUTH if TRUTH in paths else next(iter(paths)), paths, sample_rate)
        audio = {name: level_matched(sound, like) for name, sound in audio.items()}
    # All sounds of a clip have the same length, in all trials, so that lengths do not identify a system.
    length = max(soundfile.info(path).frames for path in paths.values())
    ready = {name: encoded(sound, sample_rate, name) for name, sound in together(audio, length).items()}
    return script("ostinatoClip", {"clip": trial.id, "sounds": {name: ready[name] for name in sorted(ready)}})


def samples(column: str, paths: dict[str, Path], sample_rate: int) -> np.ndarray:
    """Return the samples `(time,)` of a clip's column or anchor."""
    audio = load_audio(paths[column if column in paths else TRUTH], sample_rate)[0].double().numpy()
    return audio if column in paths else low_passed(audio, anchors_at(sample_rate)[column], sample_rate)


def write_page(plan: Plan, page: Path) -> None:
    """Write the page without its sounds."""
    for file in TEMPLATE:
        write_atomically(page / file, (files(__package__) / "template" / file).read_text())
    player = files("framework.evaluation.page") / "template" / PLAYER
    write_atomically(page / PLAYER, player.read_text())
    trials = [
        {"id": t.id, "script": sound_file(t), "reference": t.reference, "stimuli": [s.id for s in t.stimuli]}
        | ({"low": t.anchor} if t.anchor else {})
        for t in plan.trials
    ]
    data = {"test": plan.id, "kind": plan.kind, "range": RANGES[plan.kind], "trials": trials, "forms": plan.forms}
    write_atomically(page / "plan.js", script("ostinatoTest", data | {"sample_rate": plan.made_of["sample_rate"]}))


def sound_file(trial: Trial) -> str:
    """Return the path of a trial's sounds, relative to the page."""
    return f"sounds/{trial.id}.js"
