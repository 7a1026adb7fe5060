"""The public Python interface of Ostinato: what a person does with an experiment.

    import ostinato as ost

    run = ost.train("hifigan_bach", data="recordings/", mel_weight=15, max_steps=20_000)
    run.metrics.plot(x="step", y="validation/log_mel_error")
    run.audio
    ost.evaluate(run, metrics=["stft_distance"]).table()
    ost.compare([run, "runs/hifigan/1c9a"]).table()

`train` resumes or reports a run by the same rules as the command `ostinato fit`. Nothing here imports torch before the
first of these names is used.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.catalogue import find
    from framework.errors import OstinatoError
    from framework.evaluation.comparison import Comparison
    from framework.evaluation.evaluation import Evaluation
    from framework.release import load
    from framework.runs.finding import list_runs as runs
    from framework.workflow.comparisons import compare
    from framework.workflow.evaluations import evaluate
    from framework.workflow.plan import Plan, resolve
    from framework.workflow.run import Run
    from framework.workflow.runs import open_run
    from framework.workflow.synthesis import synthesize
    from framework.workflow.training import train

__all__ = [
    "Comparison",
    "Evaluation",
    "OstinatoError",
    "Plan",
    "Run",
    "__version__",
    "compare",
    "evaluate",
    "find",
    "load",
    "open_run",
    "resolve",
    "runs",
    "synthesize",
    "train",
]

__version__ = importlib.metadata.version("ostinato")

_PLACES = {
    "Comparison": "framework.evaluation.comparison",
    "Evaluation": "framework.evaluation.evaluation",
    "OstinatoError": "framework.errors",
    "Plan": "framework.workflow.plan",
    "Run": "framework.workflow.run",
    "compare": "framework.workflow.comparisons",
    "evaluate": "framework.workflow.evaluations",
    "find": "framework.catalogue",
    "load": "framework.release",
    "open_run": "framework.workflow.runs",
    "resolve": "framework.workflow.plan",
    "runs": "framework.runs.finding:list_runs",
    "synthesize": "framework.workflow.synthesis",
    "train": "framework.workflow.training",
}
"""Where each name comes from, as `module` or `module:name`."""


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found = globals()[name] = getattr(importlib.import_module(module), attribute or name)
    return found


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
