"""Evaluates a run: generates each held-out clip, computes the metrics and stores the audio."""

import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from framework.audio.files import save_audio
from framework.audio.griffin_lim import GriffinLim
from framework.errors import OstinatoError
from framework.evaluation.cost import CostMeter
from framework.evaluation.evaluation import FILE, Evaluation, EvaluationError, Subject
from framework.evaluation.inference import recording_of
from framework.evaluation.metrics.metric import Clip, Metric, RegenerationMetric, SetMetric
from framework.evaluation.metrics.shelf import AnyMetric
from framework.evaluation.statistics import Corrected, jackknife
from framework.progress import Progress, length, progress
from framework.traits import Trait

NOT_FINITE = "NaN or infinite samples"

UNITS = {"bits_per_sample": "bits"}
"""Descriptions of the metrics that systems compute themselves."""


def evaluate(
    system: Any,
    batches: Iterable[dict[str, Any]],
    metrics: Sequence[AnyMetric],
    folder: Path,
    subject: Subject,
) -> Evaluation:
    """Generate each held-out clip, compute its metrics, and store audio and values in `folder`.

    The random numbers of a clip are a function of the run's seed and the clip's index, as in every validation.
    Generated audio with NaN or infinite samples has no value of any metric.

    Args:
        system: The system, on any device.
        batches: Batches of one clip: `key`, `audio` `(1, 1, time)`, and what else the system is conditioned on.
        metrics: What to measure; what does not apply to the system, or lacks a package, is listed as missing.
        folder: Where to, in the place of an earlier evaluation, once all is measured.
        subject: What is evaluated.

    Raises:
        EvaluationError: there are no clips, the true audio is not finite, or no generated clip is finite.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    found = Evaluation(
        part,
        **{f.name: getattr(subject, f.name) for f in fields(subject) if f.name != "seconds_per_step"},
        sample_rate=system.preset.sample_rate,
    )
    was_training = system.training
    system.eval()
    try:
        with torch.no_grad():
            with Progress("evaluating", length(batches), "clips") as shown:
                clips = _Pass(system, found, metrics, shown)
                for number, batch in enumerate(batches):
                    clips.clip(number, batch)
                    shown.update()
                shown.note("")
            check(found)
            clips.distances_of_sets()
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    finally:
        system.train(was_training)
    found.cost = {
        "parameters": sum(p.numel() for p in system.generator.parameters()),
        "real_time_factor": clips.meter.real_time_factor,
        "seconds_per_step": subject.seconds_per_step,
        "device": device_name(system.device),
        "peak_memory": clips.meter.peak_memory,
    }
    found.save()
    # An earlier evaluation remains intact until here.
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / "audio", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for made in sorted(part.iterdir()):
        os.replace(made, folder / made.name)
    part.rmdir()
    found.folder = folder
    return found


def check(found: Evaluation) -> None:
    """Check that clips were evaluated.

    Raises:
        EvaluationError: there were no clips, or no generated clip is finite.
    """
    if not found.clips:
        raise EvaluationError(
            f"{found.data['class']} has no {found.data['split']} clips: "
            "choose another --split, or evaluate on other data by `ostinato evaluate RUN --data FOLDER`"
        )
    if len(found.notes.get("audio", ())) == len(found.clips):
        raise EvaluationError(f"{found.checkpoint} has diverged: all {len(found.clips)} clips have {NOT_FINITE}")


class _Pass:
    """Generates and measures all clips, and fills an evaluation with the values."""

    def __init__(self, system: Any, found: Evaluation, metrics: Sequence[AnyMetric], shown: Progress) -> None:
        self.system, self.found, self.shown = system, found, shown
        self.griffin_lim = GriffinLim(system.preset).to(system.device)
        self.meter = CostMeter(system.device, system.preset.sample_rate)
        found.missing = {m.name: why for m in metrics if (why := inapplicable(m, system))}
        able = [metric for metric in metrics if metric.name not in found.missing]
        self.of_clips = [metric for metric in able if isinstance(metric, Metric)]
        self.of_sets = [metric for metric in able if isinstance(metric, SetMetric)]
        self.of_regeneration = [metric for metric in able if isinstance(metric, RegenerationMetric)]
        self.traits = [metric for metric in able if isinstance(metric, Trait)]
        self.embedded: dict[tuple[str, str], dict[str, Tensor]] = {}
        of_values: list[AnyMetric] = [*self.of_clips, *self.of_regeneration, *self.traits]
        for metric in of_values:
            found.metrics[metric.name] = {"values": [], **described(metric)}

    def clip(self, number: int, batch: dict[str, Any]) -> None:
        """Generate a clip, store its audio and compute its metrics."""
        system, found = self.system, self.found
        batch = {name: v.to(system.device) if isinstance(v, Tensor) else v for name, v in batch.items()}
        key, real = batch["key"][0], system.reference(batch).float()
        if not torch.isfinite(real).all():
            raise EvaluationError(f"the held-out clip {key} has {NOT_FINITE}; repair it or remove it from the data")
        system.on_validation_batch_start(batch, number)
        self.shown.note(f"generating {key}")
        with self.meter.clip(real.shape[-1]):
            fake = self.generated(key, batch) if self.traits else system.synthesize(batch)
        audio = {"generated": fake, "truth": real}
        if system.reconstructs_input:
            audio["griffin_lim"] = self.by_griffin_lim(real)
        for name, made in audio.items():
            if name == "generated" and not torch.isfinite(made).all():
                continue  # `score` notes it
            save_audio(found.audio(key) / f"{name}.wav", made[0], found.sample_rate)
        self.measure_itself(key, batch)
        self.score(key, audio)
        self.score_regeneration(key, real)
        found.clips.append(key)
        found.recordings.append(batch["recording"][0] if "recording" in batch else recording_of(key))

    def by_griffin_lim(self, audio: Tensor) -> Tensor:
        """Return Griffin-Lim's reconstruction `(1, 1, time)` from the log-mel of audio."""
        padded = nn.functional.pad(audio, (0, -audio.shape[-1] % self.system.preset.hop_length))
        return self.griffin_lim(self.system.front_end(padded))[..., : audio.shape[-1]]

    def by_system(self, key: str, audio: Tensor) -> Tensor:
        """Return the system's reconstruction `(1, 1, time)` of a clip or of a part of it."""
        return self.system.synthesize(self.system.batch_from_audio(audio) | {"key": [key]})

    def generated(self, key: str, batch: dict[str, Any]) -> Tensor:
        """Generate audio; measure the traits of the generated example and of the true one."""
        system, found = self.system, self.found
        made = system.generate(batch)
        columns = (
            ([found.metrics[trait.name]["values"] for trait in self.traits], made),
            (
                [found.columns.setdefault("truth", {}).setdefault(t.name, []) for t in self.traits],
                system.example(batch),
            ),
        )
        for values, example in columns:
            described = system.describe(example, batch)
            for trait, taken in zip(self.traits, values, strict=True):
                value = described.get(trait.name, math.nan)
                taken.append(float(value) if math.isfinite(value) else None)
                if taken[-1] is None:
                    found.notes.setdefault(trait.name, {})[key] = "there is nothing to measure it by"
        return system.cut(system.render(made, batch), batch)

    def measure_itself(self, key: str, batch: dict[str, Any]) -> None:
        """Store the metrics that the system computes for a clip itself, such as its likelihood."""
        known = {trait.name for trait in self.traits}
        for name, value in self.system.measure(batch).items():
            if name.removesuffix("_real") in known:
                continue
            entry = {"values": [], "title": name.replace("_", " "), "unit": UNITS.get(name, ""), "better": "lower"}
            entry |= {"source": f"{type(self.system).__name__}.measure"}
            number = float(value)
            self.found.metrics.setdefault(name, entry)["values"].append(number if math.isfinite(number) else None)

    def score(self, key: str, audio: dict[str, Tensor]) -> None:
        """Compute the metrics of a clip's generated audio and of Griffin-Lim's."""
        found, time = self.found, min(made.shape[-1] for made in audio.values())
        cut = {name: Clip(made[..., :time].float(), self.system.preset) for name, made in audio.items()}
        finite = bool(torch.isfinite(cut["generated"].audio).all())
        if not finite:
            found.notes.setdefault("audio", {})[key] = NOT_FINITE
        for name, made in cut.items():
            for metric in self.of_clips:
                self.shown.note(f"{metric.title} of {key}, {name.replace('_', ' ')}")
                skip = (name == "generated" and not finite) or (name == "truth" and metric.compares)
                value = metric.perfect if name == "truth" else None
                value = value if skip else self.value(metric, key, made, cut["truth"])
                if name == "generated":
                    found.metrics[metric.name]["values"].append(value)
                else:
                    found.columns.setdefault(name, {}).setdefault(metric.name, []).append(value)
            for of_set in self.of_sets:
                if finite or name != "generated":
                    self.shown.note(f"{of_set.title} of {key}, {name.replace('_', ' ')}")
                    self.embedded.setdefault((of_set.name, name), {})[key] = of_set.embed(made).double().cpu()

    def score_regeneration(self, key: str, real: Tensor) -> None:
        """Compute the metrics of regeneration, of the system and of Griffin-Lim, on a true clip."""
        found, true = self.found, Clip(real, self.system.preset)
        for metric in self.of_regeneration:
            self.shown.note(f"{metric.title} of {key}")
            found.metrics[metric.name]["values"].append(self.value(metric, key, partial(self.by_system, key), true))
            values = found.columns.setdefault("griffin_lim", {}).setdefault(metric.name, [])
            values.append(self.value(metric, key, self.by_griffin_lim, true))

    def value(self, metric: Metric | RegenerationMetric, key: str, made: Any, true: Clip) -> float | None:
        """Return the value of a metric for a clip; if there is none, return None and store the reason."""
        try:
            value = metric.measure(made, true)
        except OstinatoError as error:
            self.found.notes.setdefault(metric.name, {})[key] = str(error)
            return None
        if math.isfinite(value):
            return float(value)
        self.found.notes.setdefault(metric.name, {})[key] = f"is {value}"
        return None

    def distances_of_sets(self) -> None:
        """Compute the distances of the generated set, and of Griffin-Lim's, from the true set, over finite clips."""
        for metric in progress(self.of_sets, "measuring all clips together", unit="metrics"):
            columns = {name: clips for (m, name), clips in self.embedded.items() if m == metric.name}
            kept = list(columns["generated"])
            intervals = {
                name: jackknife(partial(_distance, metric, columns, name, kept), len(kept))
                for name in columns
                if name != "truth" or metric.alone
            }
            values = {name: _plain(interval) for name, interval in intervals.items()}
            entry = {**values.pop("generated"), "clips": len(kept), **described(metric), "columns": values}
            self.found.distributions[metric.name] = entry


def _distance(
    metric: SetMetric, columns: dict[str, dict[str, Tensor]], name: str, kept: list[str], chosen: np.ndarray
) -> float:
    keys = [kept[clip] for clip in chosen]
    made, true = (torch.cat([columns[column][key] for key in keys]) for column in (name, "truth"))
    return metric.distance(made, true)


def _plain(found: Corrected) -> dict[str, float | None]:
    """Return a distance as JSON values; NaN becomes None."""
    values = {"value": found.uncorrected, "corrected": found.mean, "low": found.low, "high": found.high}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def described(metric: AnyMetric) -> dict[str, str]:
    """Return the stored description of a metric."""
    return {name: getattr(metric, name) for name in ("title", "unit", "better", "source")}


def inapplicable(metric: AnyMetric, system: Any) -> str | None:
    """Return the reason why a metric does not apply to a system, or None."""
    if isinstance(metric, Trait):
        return None
    if isinstance(metric, RegenerationMetric) and not system.reconstructs_input:
        return f"{type(system).__name__} does not reconstruct recordings"
    if isinstance(metric, Metric) and metric.compares and not system.reconstructs_input:
        return f"{type(system).__name__} does not reconstruct recordings: there is no true clip to compare with"
    if isinstance(metric, SetMetric):
        again = f"{type(system).__name__} reconstructs recordings: this metric is for systems that do not"
        return again if metric.own and system.reconstructs_input else None
    return metric.lacking() if isinstance(metric, Metric) else None


def device_name(device: torch.device) -> str:
    """Return the device that generates: the name of the GPU, or `cpu` with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
