"""Validation on the held-out clips, next to Griffin-Lim on the same clips."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.audio.distances import log_mel_error, stft_distance
from framework.audio.files import safe_name, save_audio
from framework.audio.griffin_lim import GriffinLim
from framework.liveness import alive
from framework.progress import progress
from framework.writing import Tolerant

TITLES = {"log_mel_error": "log-mel error", "stft_distance": "MR-STFT distance"}


@torch.no_grad()
def validate(system: Any, batches: Iterable[dict[str, Any]], audio: Path | None = None) -> dict[str, Any]:
    """Return the system's metrics of each held-out clip and, if it reconstructs its input, the distances.

    Args:
        system: The system, on any device.
        batches: Batches of one clip: `key`, `audio` `(1, 1, time)`, and what else the system is conditioned on.
        audio: Folder to write `<clip>/griffin_lim.wav` to; None writes nothing.

    Returns:
        `{clip: {column: {metric: value}}}` with the column `system` and, if there are distances, `griffin_lim`.
    """
    griffin_lim = GriffinLim(system.preset).to(system.device)
    was_training = system.training
    system.eval()
    clips: dict[str, Any] = {}
    tolerant = Tolerant("audio of held-out clips")
    for number, batch in enumerate(progress(batches, "generating held-out clips", unit="clips")):
        alive()
        batch = {name: v.to(system.device) if isinstance(v, Tensor) else v for name, v in batch.items()}
        system.on_validation_batch_start(batch, number)
        key = batch["key"][0]
        columns = clips[key] = {"system": {n: float(value) for n, value in system.measure(batch).items()}}
        if not system.reconstructs_input:
            continue
        real = system.reference(batch).float()
        columns["system"] |= distances(system.synthesize(batch), real, system)
        baseline = griffin_lim(system.front_end(real))
        columns["griffin_lim"] = distances(baseline, real, system)
        if audio:
            with tolerant:
                save_audio(audio / safe_name(key) / "griffin_lim.wav", baseline[0], system.preset.sample_rate)
    system.train(was_training)
    return clips


def distances(fake: Tensor, real: Tensor, system: Any) -> dict[str, float]:
    """Return the distances between audio `(1, 1, time)`."""
    time = min(fake.shape[-1], real.shape[-1])
    fake, real = fake[..., :time], real[..., :time]
    return {
        "log_mel_error": log_mel_error(fake, real, system.preset),
        "stft_distance": stft_distance(fake, real),
    }


def table(clips: dict[str, Any]) -> str:
    """Return the means over the clips as a table with a row for each column; missing values are dashes."""
    if not clips:
        return "no held-out clips: nothing was measured, and there is no best.ckpt"
    rows: dict[str, dict[str, float]] = next(iter(clips.values()), {})
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    titles = [TITLES.get(metric, metric.replace("_", " ")) for metric in metrics]
    lines = [f"{f'{len(clips)} held-out clips':24}" + "".join(f"{title:>20}" for title in titles)]
    for name, row in rows.items():
        means = [f"{sum(c[name][m] for c in clips.values()) / len(clips):.3f}" if m in row else "-" for m in metrics]
        lines.append(f"  {name.replace('_', ' '):22}" + "".join(f"{mean:>20}" for mean in means))
    return "\n".join(lines)
