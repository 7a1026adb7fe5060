"""Comparing runs and sweeps by their names, and writing the comparison into a folder."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from framework.catalogue import UnknownExperimentError, find
from framework.evaluation.comparison import Comparison
from framework.evaluation.comparison_table import comparison_json, comparison_markdown
from framework.evaluation.evaluation import Evaluation
from framework.evaluation.page.page import slug, write_page
from framework.evaluation.paper import clips_csv, comparison_tex, methods_text, scores_csv
from framework.listening.columns import with_listening
from framework.outputs import check_outputs, output_folder
from framework.runs.finding import run_at
from framework.sweeps.find import is_sweep_name
from framework.sweeps.record import read_record, record_path, sweep_command
from framework.tracking.comparison_log import log_comparison
from framework.workflow.comparisons import Target, compared, evaluated, target_of
from framework.workflow.parser import UsageError
from framework.workflow.runs import is_path
from framework.writing import write_atomically


def compare_into_folder(
    names: Sequence[str],
    baseline: str = "",
    metrics: Sequence[str] = (),
    *,
    output: str | Path = "",
    runs: str | Path = "runs",
    split: str = "",
    clips: int | None = None,
    overwrite: bool = False,
) -> tuple[Comparison, Path]:
    """Compare runs; write tables and a page to listen on into a folder, and log them to W&B.

    Args:
        names: Sweeps that were started, run folders, checkpoints, folders of evaluations, or experiments.
        baseline: Run that the others are compared with; by default the first.
        metrics: Names of metrics, in this order; by default all.
        output: The folder; by default one below `comparisons` in the folder of all runs, which is always replaced.
        runs: Folder of all runs.
        split: Held-out clips: `validation` or `test`; by default the latter where the data have test clips.
        clips: Number of clips; by default as many as were evaluated before.
        overwrite: Whether files in `output` are replaced.

    Returns:
        The comparison, and its folder.

    Raises:
        UsageError: a name is no run and no sweep.
        OutputError: the folder has a comparison already, or cannot be written to.
    """
    runs = str(runs)
    if output:
        check_output(output_folder(output), overwrite)
    sweeps = [name for name in names if is_sweep(name, runs)]
    targets = [target for name in names for target in targets_of(name, runs)]
    evaluations = evaluated(targets, split, clips, metrics)
    comparison = compared(targets, evaluations, baseline, metrics, ", ".join(sweeps))
    name = folder_name(comparison.name, evaluations, bool(sweeps))
    folder = Path(output or Path(runs) / "comparisons" / name)
    comparison = with_listening(comparison, folder)
    write(comparison, folder)
    log_comparison(comparison, folder, sweeps[0] if sweeps else comparison.name)
    return comparison, folder


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
            yield target_of(one.path, runs, one.label.removesuffix(f" seed={one.seed}"))
    elif is_path(name) or Path(name).exists() or run_at(name, runs):
        yield target_of(name, runs) if is_path(name) else target_of(Path(name), runs)
    elif is_sweep_name(name):
        raise UsageError(f"{name} has no runs in {runs}: run the sweep first: `{sweep_command(runs, name)}`")
    else:
        try:
            find(name)
        except UnknownExperimentError as error:
            sweeps = ", ".join(sorted(path.stem for path in record_path(runs, "x").parent.glob("*.json")))
            started = f"sweeps in {runs}: {sweeps}" if sweeps else f"no sweep was started in {runs}"
            raise UsageError(f"{name!r} is no run folder and no sweep ({started}); {error}") from None
        yield target_of(name, runs)


def folder_name(name: str, evaluations: Sequence[Evaluation], is_sweep: bool) -> str:
    """Return the name of a comparison's folder: the sweep's, else one that other evaluations do not have."""
    if is_sweep:
        return slug(name)
    parts = sorted({f"{e.run}/{e.folder.name}" for e in evaluations})
    return f"{slug(name)}_{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:6]}"
