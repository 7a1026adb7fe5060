"""Logging a comparison to Weights & Biases: one run with audio and pictures of all columns, tables, charts and lineage.

Audio in a table is stored outside an offline run's folder and lost when the folder is moved. All clips are therefore
also logged as media of the run.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from framework.audio.files import load_audio
from framework.evaluation.columns import Column
from framework.evaluation.comparison import Comparison, audio_of
from framework.evaluation.comparison_table import comparison_values, title
from framework.evaluation.page.page import slug
from framework.evaluation.page.pictures import log_mel_image, picture_preset
from framework.progress import busy
from framework.tracking.lineage import (
    MARKER,
    LateLog,
    evaluation_artifact,
    file_hash,
    log_evaluation,
    logged_content,
    use,
)
from framework.tracking.media import drawn
from framework.tracking.wandb_log import flatten


def log_comparison(comparison: Comparison, folder: Path, group: str, project: str = "ostinato") -> None:
    """Log a comparison as one W&B run, which is resumed if the comparison was logged before.

    Args:
        comparison: The comparison.
        folder: Folder of `comparison.json` and `comparison.md`, to which W&B's files are written.
        group: Name of the sweep, or of the comparison.
        project: W&B project.
    """
    marker, content = folder / MARKER, file_hash(folder / "comparison.json")
    if os.environ.get("WANDB_MODE") == "disabled" or logged_content(marker) == content:
        return
    with busy("logging to W&B"):
        _log(comparison, folder, group, project)


def _log(comparison: Comparison, folder: Path, group: str, project: str) -> None:
    marker, content = folder / MARKER, file_hash(folder / "comparison.json")
    # Offline, the same id does not continue a run: an earlier one of this comparison would be uploaded as well.
    for earlier in folder.glob(f"wandb/offline-run-*-{identifier(comparison)}"):
        shutil.rmtree(earlier)
    for column in comparison.runs:
        for evaluation in column.evaluations:
            # Avoids a message with the address for each part; the comparison prints one for all.
            with contextlib.redirect_stdout(io.StringIO()):
                log_evaluation(evaluation, project)
    log = LateLog(
        project=project,
        save_dir=str(folder),
        id=identifier(comparison),
        group=group,
        name=f"comparison {comparison.name}"[:120],
        config=config(comparison),
        job_type="comparison",
        tags=["comparison", *([group[:64]] if group else [])],
    )
    for column in comparison.runs:
        for evaluation in column.evaluations:
            log.send(lambda run, e=evaluation: use(run, evaluation_artifact(e)))
    log.send(lambda run: run.log(scores(comparison)))
    pictures = {clip: picture(comparison, clip) for clip in comparison.clips}
    for clip in comparison.clips:
        log.send(lambda run, clip=clip: run.log(media(comparison, clip, pictures[clip])))
    log.send(lambda run: run.log({"comparison/clips": clip_table(comparison, pictures)}))
    log.send(lambda run: run.summary.update(means(comparison)))
    log.send(lambda run: run.log_artifact(result(comparison, folder)))
    log.finish()
    log.mark(marker, content)


def config(comparison: Comparison) -> dict[str, Any]:
    """Return the configuration of the comparison's run."""
    runs = {
        column.name: {"runs": [e.run for e in column.evaluations], "seeds": column.seeds, "steps": column.steps}
        | {"changes": {n: str(new) for n, (_, new) in (column.changes or {}).items()}}
        for column in comparison.runs
    }
    described = {"baseline": comparison.baseline, "sample_rate": comparison.sample_rate, "data": comparison.data}
    return flatten(described) | {"clips": comparison.clips, "runs": runs}


def scores(comparison: Comparison) -> dict[str, Any]:
    """Return a table of all scores and, for each metric, a bar chart and a picture of bars with intervals."""
    import wandb

    columns: list[str | int] = ["run", "metric", "mean", "low", "high", "clips", "deviation_over_seeds"]
    columns += ["difference", "difference_low", "difference_high", "p", "p_corrected", "significant"]
    columns += ["method_low", "method_high", "method_p_corrected", "method_significant"]
    table = wandb.Table(columns=columns)
    logged: dict[str, Any] = {}
    values = comparison_values(comparison)["scores"]
    for metric, described in comparison.metrics.items():
        bars = wandb.Table(columns=["run", metric])
        for name, score in values[metric].items():
            other = score.get("difference") or {}
            row = [name, metric, *(score[key] for key in ("mean", "low", "high", "clips", "deviation"))]
            table.add_data(
                *row,
                *(other.get(key) for key in ("mean", "low", "high", "p", "p_corrected", "significant")),
                *((score.get("method") or {}).get(key) for key in ("low", "high", "p_corrected", "significant")),
            )
            bars.add_data(name, score["mean"])
        logged[f"chart/{metric}"] = wandb.plot.bar(bars, "run", metric, title=title(described))
        logged[f"intervals/{metric}"] = wandb.Image(bar_picture(comparison, metric), caption=title(described))
    return {"comparison/scores": table, "comparison/costs": cost_table(comparison), **logged}


def cost_table(comparison: Comparison) -> Any:
    """Return a table of each run's changed values and cost."""
    import wandb

    names = list(comparison.runs[0].cost)
    table = wandb.Table(columns=["run", "changes", *names])
    for column in comparison.runs:
        told = ", ".join(f"{n}: {old} -> {new}" for n, (old, new) in (column.changes or {}).items())
        table.add_data(column.name, told, *(column.cost[name] for name in names))
    return table


def bar_picture(comparison: Comparison, metric: str) -> Image.Image:
    """Draw the means of a metric as bars with their 95 % intervals."""
    columns = [c for c in comparison.columns if c.name in comparison.scores[metric]]
    intervals = [comparison.scores[metric][c.name].interval for c in columns]
    figure = Figure(figsize=(7, 0.9 + 0.42 * len(columns)), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots()
    heights = [interval.mean for interval in intervals]
    reach = [[i.mean - i.low for i in intervals], [i.high - i.mean for i in intervals]]
    colours = ["0.7" if c.reference else "tab:blue" if c.name == comparison.baseline else "tab:orange" for c in columns]
    panel.barh(range(len(columns)), heights, xerr=np.nan_to_num(np.maximum(reach, 0)), color=colours, capsize=3)
    panel.set_yticks(range(len(columns)), [column.name for column in columns])
    panel.invert_yaxis()
    panel.set_title(title(comparison.metrics[metric]), fontsize=10)
    return drawn(canvas)


def media(comparison: Comparison, clip: str, picture: Image.Image) -> dict[str, Any]:
    """Return the audio and the log-mel picture of a clip as media of the run."""
    import wandb

    logged: dict[str, Any] = {
        f"audio/{clip}/{slug(name)}": wandb.Audio(str(path), caption=name)
        for name, path in audio_of(comparison, clip).items()
    }
    return {**logged, f"log_mel/{clip}": wandb.Image(picture, caption=clip)}


def clip_table(comparison: Comparison, pictures: dict[str, Image.Image]) -> Any:
    """Return the table of clips, one row per clip, with log-mels and every column's audio and values."""
    import wandb

    names = [name for name, described in comparison.metrics.items() if not described["of_sets"]]
    columns: list[str | int] = ["clip", "log_mel"]
    for column in comparison.columns:
        columns += [column.name, *(f"{column.name} {name}" for name in names if has(comparison, column, name))]
    table = wandb.Table(columns=columns)
    for number, clip in enumerate(comparison.clips):
        sounds = audio_of(comparison, clip)
        row: list[Any] = [clip, wandb.Image(pictures[clip])]
        for column in comparison.columns:
            path = sounds.get(column.name)
            row.append(wandb.Audio(str(path), caption=f"{clip}, {column.name}") if path else None)
            row += [
                comparison.scores[name][column.name].values[number] for name in names if has(comparison, column, name)
            ]
        table.add_data(*row)
    return table


def has(comparison: Comparison, column: Column, metric: str) -> bool:
    """Return whether a column has values of a metric."""
    return column.name in comparison.scores[metric]


def picture(comparison: Comparison, clip: str) -> Image.Image:
    """Draw the log-mels of all columns below each other, with the same axes and colours."""
    rate = comparison.sample_rate
    sounds = {name: load_audio(path, rate) for name, path in audio_of(comparison, clip).items()}
    length = max((audio.shape[-1] for audio in sounds.values()), default=0)
    width, height, line = 700, 120, 18
    sheet = Image.new("RGB", (width, max(len(sounds), 1) * (height + line)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (name, audio) in enumerate(sounds.items()):
        top = number * (height + line)
        pen.text((4, top + 3), name, fill="black")
        strip = log_mel_image(audio, picture_preset(rate), length).convert("RGB")
        sheet.paste(strip.resize((width, height), Image.Resampling.BILINEAR), (0, top + line))
    return sheet


def means(comparison: Comparison) -> dict[str, float]:
    """Return the mean of each metric of each column, for the run's summary."""
    return {
        f"{metric}/{slug(name)}": score.interval.mean
        for metric, of_columns in comparison.scores.items()
        for name, score in of_columns.items()
    }


def result(comparison: Comparison, folder: Path) -> Any:
    """Return the artifact with the comparison's own files."""
    import wandb

    metadata = {"baseline": comparison.baseline, "runs": [column.name for column in comparison.runs]}
    artifact = wandb.Artifact(f"comparison-{identifier(comparison)}", "comparison", metadata=metadata)
    for name in ("comparison.json", "comparison.md", "listening.json", "listening.md"):
        if (folder / name).exists():
            artifact.add_file(str(folder / name), name)
    return artifact


def identifier(comparison: Comparison) -> str:
    """Return the W&B id of a comparison: the same for the same runs and the same baseline."""
    parts = [comparison.baseline, comparison.data, sorted(e.run for c in comparison.runs for e in c.evaluations)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
