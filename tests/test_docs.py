"""What README and the pages of docs/ show is true: commands parse, paths exist, code runs, figures have a command."""

import ast
import functools
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import lightning as L
import pytest
import torch
from noise_clips import Noise

import ostinato as ost
from datamodules.audio_folder import AudioFolder
from framework.audio.files import save_audio
from framework.catalogue import UnknownExperimentError, find
from framework.commands import command as load
from framework.commands import names
from framework.commands.sweep import divided
from framework.evaluation.metrics.shelf import metrics_named
from framework.sweeps.find import find_sweep, sweep_modules
from framework.sweeps.sweep import Sweep
from framework.trainer_arguments import ARGUMENTS
from framework.workflow.command import ExperimentCommand
from framework.workflow.parser import OneLineParser

ROOT = Path(__file__).parents[1]
TOP = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [path for path in (*TOP, *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
README = (ROOT / "README.md").read_text()
FOLDERS = ("framework/", "datamodules/", "experiments/", "tests/", "scripts/", "docs/", "ostinato/")
MEASURED = [page for page in PAGES if page.name not in ("benchmarks.md", "CHANGELOG.md", "midi.md")]

EXAMPLES = ("mine", "framewise", "my_metrics")
"""Files that the pages tell the reader to write."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def inline(text):
    """Return the code spans of a page, each on one line."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(text):
    """Return the command lines of ours in a page's blocks and code spans, without the comments behind them."""
    lines = [line.partition(" #")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    parts = [part.strip() for line in [*lines, *inline(text)] for part in line.split("&&")]
    return [part for part in parts if part.partition(" ")[0].rpartition("/")[2] == "ostinato" and " " in part]


@functools.cache
def experiment_parser(command, name, data=None):
    """Return a parser with the types of all options of a command with an experiment, and with other data."""
    experiment = find(name)
    made = OneLineParser(prog=f"ostinato {command} {name}", exit_on_error=False)
    made.add_argument("--seed", type=int)
    load(command).add_all_arguments(made)
    for prefix, cls in (("model", experiment), ("data", data or experiment.data)):
        for option, parameter in cls.hyperparameters.items():
            if parameter.kind != "trainer" and (prefix, option) != ("data", "seed"):
                made.add_argument(f"--{prefix}.{option}", type=parameter.annotation)
    for option in ARGUMENTS:
        made.add_argument(f"--trainer.{option}")
    return made


def parse(line):
    """Parse a command line as far as that needs neither files nor runs.

    Raises:
        Exception: it does not parse.
    """
    _, command, *arguments = shlex.split(line)
    if command.startswith("--"):
        return
    assert command in names(), f"no command {command}"
    if not arguments or arguments == ["NAME"]:
        return
    if arguments[0] == "--verify":
        assert command == "pack"
        assert len(arguments) == 2
    elif isinstance(load(command), ExperimentCommand):
        name, *rest = arguments
        if name in ("NAME", "RUN", *EXAMPLES) or "/" in name:
            return
        if "--data" in rest:
            place = rest.index("--data")
            rest[place] = "--data.path"
        parsed = experiment_parser(command, name, AudioFolder if "--data.path" in rest else None).parse_args(rest)
        metrics_named([metric for metric in parsed.get("metrics") or () if not metric.startswith(EXAMPLES)])
    elif command == "sweep":
        if arguments[0] != "NAME":
            find_sweep(arguments[0])
        own, others = divided(arguments[1:])
        load(command).parser().parse_args(own)
        known = {f"--trainer.{option}" for option in ARGUMENTS} | {"--data", "--runs", "--seed"}
        assert {word for word in others if word.startswith("--")} <= known
    else:
        parsed = load(command).parser().parse_args(arguments)
        named = [*getattr(parsed, "runs_or_sweeps", ()), *getattr(parsed, "comparison", ())]
        for name in (name for name in named if "/" not in name and name != "COMPARISON"):
            assert name in {module.rpartition(".")[2] for module in sweep_modules()} or find(name)


def errors(lines):
    """Return the lines that do not parse, each with the reason."""
    found = []
    for line in lines:
        try:
            parse(line)
        except (Exception, SystemExit) as error:
            found.append(f"{line}: {error}")
    return "\n".join(found)


@every_page
def test_every_command_parses(page):
    assert not errors(commands(page.read_text()))


def test_every_example_of_the_help_parses():
    assert not errors([line for name in names() for line in load(name).examples_of()])


def test_there_are_commands_to_parse_and_wrong_ones_do_not():
    assert len(commands(README)) >= 8
    for line in (
        "ostinato fitt hifigan_v3",
        "ostinato fit hifigan_v33",
        "ostinato fit hifigan_v3 --model.mel_wight 3",
        "ostinato fit hifigan_v3 --model.mel_weight loud",
        "ostinato compose --from ABA",
        "ostinato sweep hifigan_table4",
    ):
        with pytest.raises((Exception, SystemExit)):
            parse(line)


@every_page
def test_every_path_exists(page):
    text = page.read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    missing = [link for link in links if link and not (page.parent / link).exists()]
    words = [word.rstrip(".,:;") for span in inline(text) for word in span.split()]
    own = [
        word
        for word in words
        if word.startswith(FOLDERS) and not re.search(rf"[*{{}}<>]|NAME|{'|'.join(EXAMPLES)}", word)
    ]
    assert not missing + [path for path in own if not (ROOT / path).exists()]


@every_page
def test_every_name_of_an_experiment_is_one(page):
    """Of code spans that begin as an experiment's file does and are no argument or file."""
    families = {path.stem.partition("_")[0] for path in (ROOT / "experiments").glob("[a-z]*.py")}
    named = {span for span in inline(page.read_text()) if re.fullmatch(r"[a-z]+\d*(_[a-z0-9]+)+", span)}
    wrong = []
    for name in sorted(name for name in named if name.partition("_")[0] in families):
        try:
            find(name)
        except UnknownExperimentError:
            if name not in {module.rpartition(".")[2] for module in sweep_modules()} | {"generator_v1"}:
                wrong.append(name)
    assert not wrong


@every_page
def test_python_is_valid(page):
    for block in blocks(page.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("framework", "datamodules"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)


def test_ablations_and_sweeps_of_the_pages_are_valid():
    """Blocks without imports use the names of the experiments that they are about."""
    names = vars(importlib.import_module("experiments.ablations.hifigan_table3"))
    names = names | {"HiFiGANV1": find("hifigan_v1"), "HiFiGANV3": find("hifigan_v3")}
    ran = 0
    for page in (ROOT / "README.md", ROOT / "docs" / "experiments.md", ROOT / "docs" / "sweeps.md"):
        for block in blocks(page.read_text(), "python"):
            if "import " not in block:
                found = dict(names)
                exec(block, found)
                for value in found.values():
                    if isinstance(value, Sweep):
                        assert len(value.choices()) > 1
                ran += 1
    assert ran == 4


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.name)
def test_every_figure_stands_in_a_table_with_a_command(page):
    text = page.read_text()
    assert not re.search(r"\b1 ?/ ?\d", text), "ratios stand in tables"
    for before, table in re.findall(r"((?:^(?!\|).*\n)*)((?:^\|.*\n)+)", text, re.MULTILINE):
        measured = [line for line in table.splitlines() if re.search(r"\|[^|`a-z]*\d\.\d+[^|`a-zA-Z]*(?=\|)", line)]
        paragraph = " ".join(before.strip().split("\n\n")[-2:])
        shown = "`ostinato " in table or "ostinato " in paragraph or "paper" in table.partition("\n")[0]
        assert not measured or shown, f"no command with {measured[0]}"


def test_ci_runs_the_test_command_to_the_letter():
    (block,) = re.findall(r"<!-- test command -->\s*```sh\n(.*?)```", README, re.DOTALL)
    assert block.strip() == '.venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_the_readme_can_be_scanned():
    (first,) = re.findall(r"<!-- first command -->\s*```sh\n(.*?)```", README, re.DOTALL)
    assert "ostinato fit" in first
    lines = README.splitlines()
    assert len(lines) <= 120
    assert lines.index("<!-- test command -->") < 45
    assert {page.name for page in PAGES if page != ROOT / "README.md"} <= set(re.findall(r"([\w]+\.md)\)", README))


def trainer(**settings):
    return L.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", **settings,
    )  # fmt: skip


SMALL = (
    "channels=8, hidden=8, layers=1, iterations=1, batch_size=2, segment=2048, validation_clips=1, "
    "max_steps=2, val_check_interval=1, accelerator='cpu'"
)
"""Of a mel inversion that is trained in seconds."""


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A working directory with recordings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for name in ("recordings/a.wav", "recordings/b.wav", "recordings/c.wav", "recordings/d.wav", "song.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        save_audio(Path(name), 0.1 * torch.randn(1, 12_000), 22050)


def test_the_notebook_runs_on_recordings(recordings):
    (code,) = re.findall(r"<!-- notebook -->\n```python\n(.*?)```", README, re.DOTALL)
    code = code.replace("song.mp3", "song.wav").replace("max_steps=2_000, channels=96", SMALL.replace("=8", "=4", 1))
    code = code.replace("max_steps=2_000", SMALL)
    if importlib.util.find_spec("pandas") is None:
        code = re.sub(r"run\.metrics\.plot\(.*?\)", "run.rows()", code).replace(".table()", ".rows()")
    else:
        code = re.sub(r"\.plot\(.*?\)", "", code)
    found = {}
    exec(code, found)
    assert found["audio"].shape == (1, 12_000)
    assert found["run"].state == "finished"
    assert found["run"].path != found["narrow"].path
    assert len(found["run"].audio) == 1


def test_the_plain_training_of_the_page_runs(recordings):
    page = (ROOT / "docs" / "python.md").read_text()
    (code,) = re.findall(r"<!-- plain -->\n```python\n(.*?)```", page, re.DOTALL)
    code = code.replace("channels=96", "channels=8, hidden=8, layers=1, iterations=1")
    code = code.replace("batch_size=4", "batch_size=2").replace("L.Trainer(max_steps=500)", "trainer(max_steps=1)")
    found = {"trainer": trainer}
    exec(code, found)
    assert found["system"].trainer.global_step == 1


@every_page
def test_names_of_the_interface_exist(page):
    text = page.read_text()
    assert set(re.findall(r"\bost\.(\w+)", text)) <= {*ost.__all__}
    metrics_named(
        [name for names in re.findall(r"\bmetrics=\[(.*?)\]", text) for name in re.findall(r'"(.*?)"', names)]
    )


def test_the_generator_of_the_example_trains(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "experiments.md").read_text()
    (code,) = re.findall(r"<!-- own generator -->\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "framewise.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    system = importlib.import_module("framewise").Framewise()
    before = [p.detach().clone() for p in system.generator.parameters()]
    used = trainer(max_steps=2)
    used.fit(system, datamodule=Noise())
    assert {"train/mel", "train/adversarial", "train/feature_matching"} <= set(used.callback_metrics)
    assert all(not torch.equal(b, p) for b, p in zip(before, system.generator.parameters(), strict=True))
    clip = {"audio": 0.1 * torch.randn(1, 1, 2000)}
    assert system.eval().synthesize(clip).shape == clip["audio"].shape
