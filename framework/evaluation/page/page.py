"""Writes the page of a comparison: template, numbers, sounds and pictures in one folder that needs no server.

A browser lets a page opened from the disk load images and scripts but read no files, so numbers and sounds come as
scripts: `data.js`, and for each clip `clips/<n>.js` with the sounds of all columns, which is what makes switching
between them exact to the sample. The same sounds lie beside them as wav files.
"""

import base64
import json
import math
import re
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from framework.audio.files import load_audio
from framework.evaluation.columns import run_folder_of
from framework.evaluation.comparison import Comparison, MetricValue, audio_of
from framework.evaluation.comparison_table import (
    COSTS,
    changed_names,
    comparison_values,
    cost,
    deviation,
    method,
    name,
    plain,
    plain_difference,
    probability,
    summary,
    title,
)
from framework.evaluation.page.curves import curves_of
from framework.evaluation.page.pictures import frequency_ticks, log_mel_image, picture_preset, waveform_path
from framework.evaluation.table import corrected
from framework.progress import progress
from framework.writing import part_of, remove_leftovers, write_atomically

TEMPLATE = ("index.html", "page.css", "player.js", "charts.js", "page.js")
KEYS = 9
"""Columns that have a key."""


def write_page(comparison: Comparison, folder: Path) -> Path:
    """Write the page into a folder, in place of an earlier one, and return its `index.html`.

    Raises:
        AudioFileError: when an evaluation's audio is damaged.
    """
    remove_leftovers(folder.parent)
    part = part_of(folder)
    part.mkdir(parents=True)
    try:
        for file in TEMPLATE:
            write_atomically(part / file, (files(__package__) / "template" / file).read_text())
        names = progress(comparison.clips, "writing the page", unit="clips")
        clips = [write_clip(comparison, number, clip, part) for number, clip in enumerate(names, 1)]
        data = page_data(comparison) | {"clips": clips}
        write_atomically(part / "data.js", script("ostinatoData", data))
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder / "index.html"


def write_clip(comparison: Comparison, number: int, clip: str, folder: Path) -> dict[str, Any]:
    """Write sounds and pictures of a clip; return what the page lists of it."""
    found = audio_of(comparison, clip)
    preset = picture_preset(comparison.sample_rate)
    audio = {column: load_audio(path, comparison.sample_rate) for column, path in found.items()}
    peak = max((float(samples.abs().max()) for samples in audio.values()), default=1.0) or 1.0
    length = max((samples.shape[-1] for samples in audio.values()), default=0)
    base = f"{number:02d}_{slug(clip)}"
    tracks, sounds = [], {}
    for index, column in enumerate(comparison.columns):
        if column.name not in found:
            continue
        file = track_file(number, clip, index, column.name)
        samples = audio[column.name]
        wav, picture = folder / "audio" / f"{file}.wav", folder / "pictures" / f"{file}.png"
        wav.parent.mkdir(parents=True, exist_ok=True)
        picture.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[column.name], wav)
        log_mel_image(samples, preset, length).save(picture)
        sounds[column.name] = base64.b64encode(wav.read_bytes()).decode()
        tracks.append(
            {
                "column": column.name,
                "wav": f"audio/{file}.wav",
                "picture": f"pictures/{file}.png",
                "waveform": waveform_path(samples, peak, length),
            }
        )
    (folder / "clips").mkdir(exist_ok=True)
    script_file = f"clips/{base}.js"
    write_atomically(folder / script_file, script("ostinatoClip", {"clip": clip, "sounds": sounds}))
    return {"name": clip, "script": script_file, "seconds": length / comparison.sample_rate, "tracks": tracks}


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page shows but clips."""
    values = comparison_values(comparison)
    for column, entry in zip(comparison.columns, values["columns"], strict=True):
        entry["title"] = name(comparison, column)
        entry["cost"] = {cost_name: cost(column, cost_name) for cost_name in COSTS} if not column.reference else {}
        changes = column.changes
        entry["changes"] = changes and {n: [plain(old), plain(new)] for n, (old, new) in changes.items()}
        del entry["evaluations"]  # paths of this machine
    texts = {
        metric: {column: told(score) for column, score in scores.items()}
        for metric, scores in comparison.scores.items()
    }
    runs = {c.name: [run_folder_of(e).path / "metrics.csv" for e in c.evaluations] for c in comparison.runs}
    return {
        **values,
        "summary": summary(comparison),
        "titles": {metric: title(described) for metric, described in comparison.metrics.items()},
        "shown": texts,
        "costs": COSTS,
        "baselineValues": baseline_values(comparison),
        "curves": curves_of(runs),
        "frequencies": frequency_ticks(picture_preset(comparison.sample_rate)),
        "keys": KEYS,
    }


def told(score: MetricValue) -> dict[str, str]:
    """Return a score as the page says it."""
    return {
        "mean": corrected(score.interval, score.uncorrected),
        "deviation": deviation(score),
        "difference": plain_difference(score),
        "method": method(score),
        "p": probability(score) and f"{probability(score)}, corrected for the number of runs",
    }


def baseline_values(comparison: Comparison) -> dict[str, str]:
    """Return the baseline's value of each hyperparameter that any run changes."""
    found: dict[str, str] = {}
    for column in comparison.runs:
        found |= {name: plain(old) for name, (old, _) in (column.changes or {}).items()}
    return {name: found[name] for name in changed_names(comparison)}


def script(function: str, value: Mapping[str, Any]) -> str:
    """Return a script that hands a value to a function of the page."""
    return f"{function}({json.dumps(finite(value), allow_nan=False, separators=(',', ':'))});\n"


def finite(value: Any) -> Any:
    """Return a value with None for each number that is none, which JSON cannot say."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def track_file(number: int, clip: str, column: int, name: str) -> str:
    """Return the path, without suffix, of a column's sound and picture: clips are counted from 1, columns from 0."""
    return f"{number:02d}_{slug(clip)}/{column + 1}_{slug(name)}"


def slug(text: str) -> str:
    """Return a name with only what every file system and every address takes as it is."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:60].strip("._") or "_"
