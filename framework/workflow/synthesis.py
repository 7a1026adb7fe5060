"""Synthesising audio by a run, a release or a system."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.audio.files import save_audio
from framework.audio.resample import resample
from framework.errors import InvalidValueError
from framework.paradigms.system import System, seed_all
from framework.workflow.trained import open_trained


def synthesize(
    run: Any,
    source: Any = None,
    *,
    ckpt: str | int | None = None,
    sample_rate: int | None = None,
    seconds: float = 5.0,
    seed: int = 0,
    output: str | Path | None = None,
) -> Tensor:
    """Generate a recording again from its conditioning, or new audio; return it as `(1, time)`.

    Args:
        run: A run, the path of one or of a release, the name of an experiment, or a system with its weights.
        source: An audio file; or audio `(time,)` or `(1, time)` as a tensor or an array. None for systems that generate
            audio of their own.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        sample_rate: Of the source, if it is no file (Hz); by default that of the system.
        seconds: Length of audio without a source.
        seed: Of the random numbers that are drawn.
        output: Audio file to write.

    Raises:
        InvalidValueError: a source is needed and there is none, or there is one and none is used.
        RunError: there is no such run.
    """
    system = run if isinstance(run, System) else open_trained(run, ckpt).system
    rate = system.preset.sample_rate
    if source is None:
        if system.reconstructs_input:
            raise InvalidValueError(
                f"{type(system).__name__} generates recordings again: pass a path or audio as `source`"
            )
        time = round(seconds * rate)
        if time < 1:
            raise InvalidValueError(f"seconds = {seconds}: must be positive")
        batch = system.batch_from_audio(torch.zeros(1, 1, time, device=system.device))
    else:
        if sample_rate not in (None, rate) and not isinstance(source, (str, Path)):
            source = resample(torch.as_tensor(source).reshape(1, -1).numpy(), sample_rate, rate)
        batch = system.batch_of(source)
    was_training = system.training
    system.eval()
    seed_all("synthesize", seed)
    audio: Tensor = system.synthesize(batch)[0].cpu()
    system.train(was_training)
    if output is not None:
        save_audio(Path(output), audio, rate)
    return audio
