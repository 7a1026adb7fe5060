"""Which code a system is made of: every definition that it reaches counts, and nothing else does."""

import ast
import importlib
import re
import sys
import textwrap
import time
from pathlib import Path

import pytest

from experiments.ablations.hifigan_with_cqt import WithCQT
from experiments.hifigan_bach import HiFiGANBach
from framework.runs.folder import RunFolder
from framework.runs.provenance import change_since, provenance
from framework.runs.sources import Sources, changed_names, has_changed, hash_of, source_hash

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))


def hash_with(module, change, *classes, tmp_path):
    """Return the hash that there would be if a module of the project were changed so."""
    sources = Sources()
    file = sources.file_of(module)
    text = file.read_text()
    assert change(text) != text
    (tmp_path / file.name).write_text(change(text))
    sources.files[module] = tmp_path / file.name
    return hash_of(sources.of(*classes))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("framework.generators.hifigan", "SLOPE = 0.1", "SLOPE = 0.2"),
        ("framework.inference.layers", "def normed_conv(", "def normed_conv(*, unused=None, "),
        ("framework.losses.mel", "class MelLoss(", "class MelLoss(object, "),
        ("framework.losses.adversarial", "class LeastSquares", "@staticmethod\nclass LeastSquares"),
        ("framework.discriminators.multi_period", "class PeriodDiscriminator(", "class PeriodDiscriminator(object, "),
        ("framework.audio.mel", "def mel_filters(", "def mel_filters(*, unused=None, "),
        ("framework.audio.resample", "ZERO_CROSSINGS =", "ZERO_CROSSINGS = 1 +"),
        ("framework.paradigms.adversarial", "class StepState", "@object\nclass StepState"),
        ("datamodules.bach_chorales", "class BachChorales(", "class BachChorales(object, "),
        ("datamodules.streaming.plan", "_ROUNDS = 6", "_ROUNDS = 7"),
        ("framework.native.grouped_convolution", "def by_group(", "def by_group(*, unused=None, "),
    ],
)
def test_every_part_of_a_system_counts(module, old, new, tmp_path):
    own = source_hash(HiFiGANBach, HiFiGANBach.data)
    assert (
        hash_with(module, lambda text: text.replace(old, new), HiFiGANBach, HiFiGANBach.data, tmp_path=tmp_path) != own
    )


@pytest.mark.parametrize(
    "module", ["framework.audio.mel", "framework.generators.hifigan", "datamodules.streaming.loader"]
)
def test_comments_docstrings_formatting_and_what_is_not_used_do_not_count(module, tmp_path):
    own = source_hash(HiFiGANBach, HiFiGANBach.data)
    for change in (
        # Without comments, every expression written in another way.
        lambda text: ast.unparse(ast.parse(text)),
        lambda text: text.replace('"""Return', '"""Perhaps return'),
        lambda text: (
            f'"""A docstring."""\n# A comment.\n{text}\n\nclass Ablation:\n    """Not used."""\n\n    channels = 3\n'
        ),
    ):
        assert hash_with(module, change, HiFiGANBach, HiFiGANBach.data, tmp_path=tmp_path) == own


PACKAGE = {
    "parts/__init__.py": "from .networks import Network\nfrom parts.constants import *\n",
    "parts/networks.py": """
        from typing import TYPE_CHECKING
        import numpy

        if TYPE_CHECKING:
            from parts import only_types
        if not TYPE_CHECKING:
            import parts.at_run_time
        if __name__ != "__main__":
            import parts.at_import
        if __name__ == "__main__":
            import parts.unrelated

        class Network:
            def forward(self):
                from parts.inside import function
                return function(numpy.zeros(3))
        """,
    "parts/constants.py": "GAIN = 0.5\n",
    "parts/inside.py": "import parts.far as distant\n\ndef function(x):\n    return distant.scaled(x)\n",
    "parts/far.py": """
        from importlib import import_module

        def scaled(x):
            return import_module("parts.named").FACTOR * x
        """,
    "parts/named.py": "FACTOR = 2\n",
    "parts/patches.py": "import parts.networks\n\nparts.networks.Network.extra = 1\n",
    "parts/at_run_time.py": "A = 1\n",
    "parts/at_import.py": "B = 1\n",
    "parts/only_types.py": "X = 1\n",
    "parts/unrelated.py": "Y = 1\n",
    "user_system.py": """
        import parts
        import parts.patches
        from framework.losses.mel import MelLoss
        from framework.paradigms.adversarial import Adversarial

        def assigned(self):
            return 1

        class User(Adversarial):
            def build_generator(self):
                return parts.Network(), MelLoss, parts.GAIN

            build_losses = assigned
        """,
}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Write a user's own package and system; return its folder and a function that hashes what it is made of."""
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    importlib.invalidate_caches()
    system = importlib.import_module("user_system").User
    yield tmp_path, lambda: Sources().of(system)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("parts", "user_system"):
            del sys.modules[name]
    from framework.runs import sources

    sources._locations.cache_clear()


@pytest.mark.parametrize("name", sorted(set(PACKAGE) - {"parts/only_types.py", "parts/unrelated.py"}))
def test_modules_of_the_user_count_wherever_they_are_imported(user, name):
    folder, found = user
    before = found()
    path = folder / name
    path.write_text(f"# A comment.\n{path.read_text()}")
    assert found() == before
    path.write_text(f"{path.read_text()}\nADDED = 3\n")
    assert hash_of(found()) != hash_of(before)
    assert changed_names(before, found()) == [f"{name[:-3].replace('/', '.').removesuffix('.__init__')}:ADDED"]


def test_what_the_user_does_not_import_and_libraries_do_not_count(user):
    folder, found = user
    before = found()
    assert {re.split("[.:]", name)[0] for name in before} == {"framework", "parts", "user_system"}
    for name in ("parts/only_types.py", "parts/unrelated.py"):
        (folder / name).write_text("Z = 2\n")
    assert found() == before
    (folder / "parts" / "far.py").write_text("def scaled(x:\n")
    assert found() != before, "a file that Python cannot read is another one, and no error"


def test_a_definition_that_moves_is_the_same(user):
    folder, found = user
    before = found()
    (folder / "parts" / "constants.py").write_text("from parts.gains import *\n")
    (folder / "parts" / "gains.py").write_text("GAIN = 0.5\n")
    assert hash_of(found()) == hash_of(before)
    assert changed_names(before, found()) == []


def test_compiled_sources_count_without_their_comments(tmp_path):
    sources = Sources()
    build = sources.file_of("framework.native.build")
    native = tmp_path / "native"
    native.mkdir()
    for file in (build, *build.parent.glob("*.cpp")):
        (native / file.name).write_text(file.read_text())
    streams = native / "streams.cpp"

    def found():
        sources = Sources()
        sources.files["framework.native.build"] = native / "build.py"
        return hash_of(sources.of(HiFiGANBach))

    before = found()
    streams.write_text(f"// A comment.\n/* Another\n one. */\n{streams.read_text()}")
    assert found() == before == source_hash(HiFiGANBach)
    streams.write_text(f"{streams.read_text()}\nint more;\n")
    assert found() != before


def test_another_discriminator_is_other_code_and_another_value_is_not():
    assert source_hash(HiFiGANBach) != source_hash(WithCQT)
    assert source_hash(HiFiGANBach) == source_hash(HiFiGANBach.variant(channels=16))


def test_a_run_says_what_has_changed_and_older_hashes_raise_no_alarm(tmp_path):
    folder = RunFolder(tmp_path / "run")
    old, new = {"a:x": "1", "b:y": "2"}, {"a:x": "3", "b:y": "2"}
    assert change_since(folder, new) == ""
    folder.write_config({"provenance": provenance(old) | {"commit": "0123456789abcdef"}})
    folder.write_sources(old)
    assert change_since(folder, old) == ""
    assert change_since(folder, new) == "a:x, since commit 0123456789"
    assert not has_changed("0123456789abcdef", hash_of(new)), "a hash of the first version covered less"
    again = provenance(new, provenance(old))
    assert [entry["source"] for entry in again["earlier"]] == [hash_of(old)]
    assert provenance(new, again)["earlier"] == again["earlier"]
    folder.config.write_text("provenance: [")
    assert change_since(folder, new) == ""


def test_it_takes_no_time_that_a_person_notices():
    Sources().of(HiFiGANBach, HiFiGANBach.data)
    began = time.process_time()
    Sources().of(HiFiGANBach, HiFiGANBach.data)
    assert time.process_time() - began < 0.3
