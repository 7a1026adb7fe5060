"""Listening tests of comparisons that are found by name: serving them, and taking in their answers."""

from pathlib import Path
from typing import Any

from framework.evaluation.comparison import compare
from framework.evaluation.evaluation import EvaluationError, load_evaluation
from framework.evaluation.page.page import slug
from framework.listening.answers import import_answers
from framework.listening.columns import with_listening
from framework.listening.make import COMPARISON, read_comparison
from framework.listening.plan import FILE, RANGES, ListeningError, load_plan
from framework.listening.report import listening_table, write_results
from framework.listening.results import results_of
from framework.listening.server import serving, wait
from framework.sweeps.comparing import compare_into_folder, write
from framework.tracking.comparison_log import log_comparison


def comparison_of(names: list[str], runs: str) -> Path:
    """Return the folder of a comparison, made now if there is none."""
    if len(names) == 1:
        for folder in (Path(names[0]), Path(runs) / "comparisons" / slug(names[0])):
            if (folder / COMPARISON).exists():
                return folder
    return compare_into_folder(names, runs=runs)[1]


def serve(folder: Path, port: int) -> None:
    """Serve a test until somebody presses Ctrl-C."""
    with serving(folder, port) as server:
        print(f"listen:  {server.url} (Ctrl-C ends; every answer is on the disk at once)", flush=True)
        for line in server.answers.stored.damaged:
            print(f"warning: line {line} of {server.answers.path} is cut short or no answer: passed over")
        try:
            wait()
        finally:
            stored = server.answers.stored
            print(f"\nanswers: {len(stored.last)} of {len(stored.forms)} listeners in {server.answers.path}")


def tell(comparison: Path, files: list[Path]) -> None:
    """Take in files of answers, print the results, and write them to the comparison, its page and its W&B run.

    Raises:
        ListeningError: there is no test, or a file holds no answers to one.
    """
    folders = [folder for kind in RANGES if ((folder := comparison / "listening" / kind) / FILE).exists()]
    if not folders:
        raise ListeningError(f"{comparison} has no listening test: `ostinato listen {comparison}` makes one")
    if files:
        for line in import_answers({load_plan(folder).id: folder for folder in folders}, files):
            print(line)
    results = results_of(comparison)
    write_results(results, comparison)
    print(listening_table(results))
    show(comparison)
    print(f"numbers: {comparison}/listening.json and listening.md")


def show(folder: Path) -> None:
    """Write a comparison's tables and page, and log it, with what listeners said."""
    values = read_comparison(folder)
    paths = [path for column in values["columns"] if not column["reference"] for path in column["evaluations"]]
    try:
        evaluations = [load_evaluation(path) for path in paths]
    except EvaluationError as error:
        print(f"note: the comparison's own tables are as they were ({error}); `ostinato compare` writes them anew")
        return
    metrics = [metric for metric in values["metrics"] if metric not in RANGES]
    comparison = compare(evaluations, values["baseline"], metrics, values["name"], labels(values))
    comparison = with_listening(comparison, folder)
    print(f"page:    {write(comparison, folder)}")
    log_comparison(comparison, folder, values["name"])


def labels(values: dict[str, Any]) -> dict[str, str]:
    """Return what the runs of a comparison are called by signature, without what tells their evaluations apart."""
    found = {}
    for column in values["columns"]:
        for run, path in zip(column["runs"], column["evaluations"], strict=False):
            found[run] = column["name"].removesuffix(f" ({Path(path).name})")
    return found
