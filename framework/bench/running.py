"""Finding benchmarks and running them; nothing is imported that takes long before one runs."""

import ast
import datetime
import importlib
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

from framework.errors import InvalidValueError
from framework.progress import busy
from framework.writing import write_atomically

PACKAGE = "framework.bench"
DOCUMENT = Path("docs/benchmarks.md")


def benches() -> dict[str, str]:
    """Return the summary of every module that defines `benchmarks`, by name, without importing any of them."""
    package = importlib.util.find_spec(PACKAGE)
    found = {}
    for folder in package.submodule_search_locations or [] if package else []:
        for path in sorted(Path(folder).glob("*.py")):
            tree = ast.parse(path.read_text())
            if any(isinstance(node, ast.FunctionDef) and node.name == "benchmarks" for node in tree.body):
                found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def listed(known: dict[str, str]) -> list[str]:
    """Return a line of text for each bench module."""
    return [f"{name:14} {summary}" for name, summary in known.items()]


def run_bench(
    name: str,
    summary: str,
    peers: dict[str, Path],
    output: Path,
    command: str,
    rounds: int = 5,
    seconds: float = 1.0,
    save: bool = False,
) -> None:
    """Run the benchmarks of a module, print each result, and write all of them."""
    with busy("loading PyTorch", at_once=True):
        from framework.bench.harness import run_benchmark
        from framework.bench.machine import machine, peak_memory
        from framework.bench.tables import keep, section, text

        facts = machine()
        bench = importlib.import_module(f"{PACKAGE}.{name}")
    print(f"{name}: {summary}\n" + ", ".join(f"{key}: {value}" for key, value in facts.items()), flush=True)
    results = []
    for benchmark in bench.benchmarks(peers):
        results.append(run_benchmark(benchmark, rounds, seconds, peak=peak_memory))
        print(f"\n{text(results[-1])}", flush=True)
    date = datetime.date.today().isoformat()
    written = section(name, summary, facts, command, date, results)
    record = {"bench": name, "command": command, "date": date, "machine": facts, "contests": list(map(asdict, results))}
    write_atomically(output / f"{name}.json", json.dumps(record, indent=1) + "\n")
    write_atomically(output / f"{name}.md", written)
    print(f"\nwritten to {output / name}.json and .md", flush=True)
    if save:
        keep(DOCUMENT, name, written)
        print(f"kept in {DOCUMENT}", flush=True)


def peer_of(text: str) -> tuple[str, Path]:
    """Return the name of another project and the folder of its checkout, of `NAME=DIR`.

    Raises:
        InvalidValueError: it is not of this form, or there is no such folder.
    """
    name, _, folder = text.partition("=")
    path = Path(folder).expanduser().absolute()
    if not name or not folder or not path.is_dir():
        raise InvalidValueError(
            f"--peer {text}: expected NAME=DIR, the name of a project and a folder with its checkout"
        )
    return name, path
