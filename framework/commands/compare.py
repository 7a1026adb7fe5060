"""`ostinato compare`: runs beside each other on the same held-out clips, as a table, on W&B and as a page to hear."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.catalogue import UnknownExperimentError, find
from framework.commands.evaluate import measured, open_evaluation
from framework.evaluation.columns import run_folder_of, short
from framework.evaluation.comparison import Comparison, compare
from framework.evaluation.comparison_table import comparison_json, comparison_markdown, comparison_table
from framework.evaluation.evaluation import FILE, Evaluation, EvaluationError, load_evaluation
from framework.evaluation.metrics.distribution import FORMER_NAMES
from framework.evaluation.metrics.regeneration import regeneration_metrics
from framework.evaluation.metrics.shelf import metrics_named
from framework.evaluation.page.page import slug, write_page
from framework.evaluation.paper import clips_csv, comparison_tex, methods_text, scores_csv
from framework.listening.columns import with_listening
from framework.runs.finished import checkpoint_step
from framework.runs.provenance import few
from framework.sweeps.find import is_sweep_name
from framework.sweeps.record import read_record, record_path, sweep_command
from framework.tracking.comparison_log import log_comparison
from framework.workflow import usage
from framework.workflow.parser import Parser, UsageError
from framework.workflow.runs import ReleasedRun, is_path, run_named
from framework.writing import check_outputs, output_folder, write_atomically


@dataclass(frozen=True)
class Target:
    """One thing to compare.

    Args:
        path: Folder of an evaluation or a run, or a checkpoint; None of an experiment.
        arguments: How `ostinato evaluate` is told of it.
        label: What its sweep calls it, without the seed.
    """

    path: Path | None
    arguments: list[str]
    label: str = ""

    @property
    def is_evaluation(self) -> bool:
        """Whether it is a stored evaluation, which is taken as it is."""
        return self.path is not None and (self.path.name == FILE or (self.path / FILE).is_file())


def run(arguments: list[str]) -> None:
    """Evaluate what is not evaluated yet, compare, print a table, and write everything into one folder."""
    compared(parser().parse_args(arguments))


def compared(settings: Any) -> Path:
    """Compare what a command line names; return the comparison's folder."""
    settings.metrics = [FORMER_NAMES.get(metric, metric) for metric in settings.metrics]
    if settings.output:
        check_output(output_folder(settings.output), settings.overwrite)
    sweeps = [name for name in settings.runs_or_sweeps if is_sweep(name, settings.runs)]
    targets = [target for name in settings.runs_or_sweeps for target in targets_of(name, settings.runs)]
    evaluations = evaluated(targets, settings)
    warn_of_code(evaluations)
    name = ", ".join(sweeps or dict.fromkeys(short(evaluation) for evaluation in evaluations))
    labels = {found.run: target.label for target, found in zip(targets, evaluations, strict=True) if target.label}
    comparison = compare(evaluations, settings.baseline, settings.metrics, name, labels)
    output = Path(settings.output or Path(settings.runs) / "comparisons" / folder_name(name, evaluations, bool(sweeps)))
    comparison = with_listening(comparison, output)
    page = write(comparison, output)
    print(comparison_table(comparison))
    log_comparison(comparison, output, sweeps[0] if sweeps else name)
    print(f"listen:  {page} (opens from the disk)\nnumbers: {output}/comparison.json and comparison.md")
    return output


def check_output(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that has a comparison already, or that cannot be written to.

    Raises:
        OutputError: naming it.
    """
    page = folder / "page"
    files = [folder / "comparison.json", folder / "comparison.md", page / "index.html"]
    if not overwrite and page.is_dir():
        # An earlier page is replaced as a whole.
        files += [path for path in page.iterdir() if not path.is_dir()]
    check_outputs(files, overwrite)


def warn_of_code(evaluations: Sequence[Evaluation]) -> None:
    """Print which runs were trained by other code than the first one, where both have a definition and it differs."""
    first, *others = [(short(found), run_folder_of(found)) for found in evaluations]
    sources = first[1].sources()
    for name, folder in others:
        own = folder.sources()
        if changed := [key for key in sources.keys() & own.keys() if sources[key] != own[key]]:
            print(
                f"warning: {name} ({folder.path}) and {first[0]} were trained by different code: "
                f"{few(sorted(changed))}",
                file=sys.stderr,
            )


def write(comparison: Comparison, output: Path) -> Path:
    """Write the page, and the comparison as JSON, Markdown, LaTeX and CSV; return the page's first file."""
    output.mkdir(parents=True, exist_ok=True)
    page = write_page(comparison, output / "page")
    write_atomically(output / "comparison.md", comparison_markdown(comparison))
    write_atomically(output / "comparison.json", comparison_json(comparison))
    write_atomically(output / "comparison.tex", comparison_tex(comparison))
    write_atomically(output / "comparison.csv", scores_csv(comparison))
    write_atomically(output / "clips.csv", clips_csv(comparison))
    write_atomically(output / "methods.md", methods_text(comparison))
    return page


def parser() -> Parser:
    """Return the parser of the command line."""
    made: Parser = usage.parser("compare")
    return made


def is_sweep(name: str, runs: str) -> bool:
    """Say whether a name is that of a sweep that was started."""
    return not is_path(name) and record_path(runs, name).exists()


def targets_of(name: str, runs: str) -> Iterator[Target]:
    """Yield what a name on the command line stands for.

    Raises:
        UsageError: it is no run, no sweep and no experiment, or no run of the sweep is finished.
    """
    if is_sweep(name, runs):
        planned = read_record(runs, name)[1]
        finished = [one for one in planned if one.state() == "finished"]
        if not finished:
            raise UsageError(f"no run of {name} is finished yet: `{sweep_command(runs, name)}` goes on with it")
        for one in planned:
            if one not in finished:
                print(f"warning: {one.label} is left out, it is {one.state()}", file=sys.stderr)
        for one in finished:
            yield Target(one.path, [str(one.path)], one.label.removesuffix(f" seed={one.seed}"))
    elif is_path(name) or Path(name).exists():
        yield Target(Path(name), [name])
    elif is_sweep_name(name):
        raise UsageError(f"{name} has no runs in {runs}: run the sweep first: `{sweep_command(runs, name)}`")
    else:
        try:
            find(name)
        except UnknownExperimentError as error:
            sweeps = ", ".join(sorted(path.stem for path in record_path(runs, "x").parent.glob("*.json")))
            started = f"sweeps in {runs}: {sweeps}" if sweeps else f"no sweep was started in {runs}"
            raise UsageError(f"{name!r} is no run folder and no sweep ({started}); {error}") from None
        yield Target(None, [name, "--runs", runs])


def evaluated(targets: Sequence[Target], settings: Any) -> list[Evaluation]:
    """Return an evaluation of each target, those that are there already and the others made now."""
    known = [stored(target, settings) for target in targets]
    clips = settings.clips or next((len(found.clips) for found in known if found), None)
    found = []
    for target, one in zip(targets, known, strict=True):
        if target.is_evaluation and one:
            found.append(one)
            continue
        other = bool(one and settings.clips and len(one.clips) != settings.clips)
        measured_already = {**one.metrics, **one.distributions, **one.missing} if one else {}
        if one is None or other or any(metric not in measured_already for metric in settings.metrics):
            options = ["--split", settings.split, *(["--clips", str(clips)] if clips else [])]
            if settings.metrics:
                # What was measured before is measured again: these values take the place of those.
                known_metrics = [*metrics_named(), *regeneration_metrics(0)]
                again = [metric.name for metric in known_metrics if metric.name in measured_already]
                options += ["--metrics", *dict.fromkeys([*again, *settings.metrics])]
            if other:
                options += ["--name", of_clips(settings)]
            print(f"evaluating {target.path or target.arguments[0]}", file=sys.stderr, flush=True)
            one = measured(open_evaluation([*target.arguments, *options]))
        found.append(one)
    return found


def stored(target: Target, settings: Any) -> Evaluation | None:
    """Return the evaluation that a target has already; None where it has none, or an older one."""
    if target.path is None:
        return None
    if target.is_evaluation:
        return load_evaluation(target.path)
    run = run_named(target.path)
    if run is None or isinstance(run, ReleasedRun):
        return None
    checkpoint = run.checkpoint() if run.checkpoints or run.is_given else None
    name = "_".join([settings.split, *([checkpoint.stem] if checkpoint and checkpoint.stem != "last" else [])])
    for known in [of_clips(settings), name] if settings.clips else [name]:
        try:
            found = load_evaluation(run.folder.path / "evaluation" / known)
        except EvaluationError:
            continue
        if not is_older(found, checkpoint):
            return found
    return None


def of_clips(settings: Any) -> str:
    """Return the name of an evaluation of as many clips as are asked for, beside that of more or fewer."""
    return f"{settings.split}_{settings.clips}_clips"


def is_older(found: Evaluation, checkpoint: Path | None) -> bool:
    """Say whether a run was trained further since it was evaluated."""
    if checkpoint is None or checkpoint.stat().st_mtime <= (found.folder / FILE).stat().st_mtime:
        return False
    return checkpoint_step(checkpoint) != found.step


def folder_name(name: str, evaluations: Sequence[Evaluation], is_sweep: bool) -> str:
    """Return the name of a comparison's folder: the sweep's, else one that other evaluations do not have."""
    if is_sweep:
        return slug(name)
    parts = sorted({f"{e.run}/{e.folder.name}" for e in evaluations})
    return f"{slug(name)}_{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:6]}"
