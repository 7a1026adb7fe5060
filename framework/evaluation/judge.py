"""The last word on a run: its distances on the held-out clips beside Griffin-Lim's on the same clips."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from framework.audio.files import safe_name, save_audio
from framework.audio.griffin_lim import GriffinLim
from framework.evaluation.distances import log_mel_error, stft_distance

METRICS = {"log_mel_error": "log-mel error", "stft_distance": "MR-STFT distance"}


def judge(system: Any, batches: Iterable[dict[str, Any]], audio: Path | None = None) -> dict[str, Any]:
    """Return the distances of copy-synthesis and of Griffin-Lim for each held-out clip.

    Args:
        system: The system, on any device.
        batches: Batches of one clip: `key`, `audio` `(1, 1, time)`.
        audio: Folder in which each clip's `griffin_lim.wav` is written.

    Returns:
        `{clip: {column: {metric: value}}}` with the columns `system` and `griffin_lim`.
    """
    griffin_lim = GriffinLim(system.preset).to(system.device)
    was_training = system.training
    system.eval()
    clips: dict[str, Any] = {}
    for batch in batches:
        key, real = batch["key"][0], batch["audio"].to(system.device).float()
        columns = {"system": system.copy_synthesis(real), "griffin_lim": griffin_lim(system.front_end(real))}
        clips[key] = {name: distances(fake, real, system) for name, fake in columns.items()}
        if audio:
            save_audio(audio / safe_name(key) / "griffin_lim.wav", columns["griffin_lim"][0], system.preset.sample_rate)
    system.train(was_training)
    return clips


def distances(fake: Tensor, real: Tensor, system: Any) -> dict[str, float]:
    """Return the distances between audio `(1, 1, time)`; the metrics' names are those of `METRICS`."""
    time = min(fake.shape[-1], real.shape[-1])
    fake, real = fake[..., :time], real[..., :time]
    return {
        "log_mel_error": log_mel_error(fake, real, system.preset),
        "stft_distance": stft_distance(fake, real),
    }


def table(clips: dict[str, Any]) -> str:
    """Return the means over the clips as a table, a row a column of `judge`."""
    lines = [f"{f'{len(clips)} held-out clips':24}" + "".join(f"{title:>20}" for title in METRICS.values())]
    for column in next(iter(clips.values()), {}):
        means = [sum(c[column][metric] for c in clips.values()) / len(clips) for metric in METRICS]
        lines.append(f"  {column.replace('_', ' '):22}" + "".join(f"{mean:20.3f}" for mean in means))
    return "\n".join(lines)
