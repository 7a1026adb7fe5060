"""Every experiment file: it can be found and described, and changes what it says."""

import ast
from pathlib import Path

import pytest

from framework.catalogue import UnknownExperimentError, describe_module, find, module_names, modules
from framework.losses.adversarial import Minimax
from framework.shelf import PACKAGE

ROOT = Path(__file__).parents[2] / PACKAGE
NAMES = [entry.name for module in modules().values() for entry in describe_module(module)]


def test_every_file_holds_experiments():
    files = {p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for p in ROOT.rglob("*.py")}
    assert {m for m in files if not m.endswith("__init__")} == set(module_names())
    assert len(NAMES) >= len(module_names())


@pytest.mark.parametrize("path", sorted((ROOT / "ablations").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_an_ablation_is_a_few_lines(path):
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    if len(classes) > 1:
        classes = classes[1:]  # the file of a sweep begins with what all its runs are at the same size
    for cls in classes:
        assert cls.end_lineno - cls.lineno + 1 <= 10
        assert ast.get_docstring(cls)


def test_ablations_change_what_they_say():
    assert find("hifigan_without_mel").changes() == {"mel_weight": (45.0, 0.0)}
    assert find("ablations.hifigan_without_mpd")().discriminators.keys() == {"multi_scale"}
    assert find("hifigan_without_msd")().discriminators.keys() == {"multi_period"}
    assert "cqt" in find("hifigan_with_cqt")().discriminators
    assert find("hifigan_v3").changes()["channels"] == (512, 256)
    assert find("wavegan_without_phase_shuffle").changes() == {"phase_shuffle": (2, 0)}
    assert isinstance(find("wavegan_with_minimax")().adversarial_loss, Minimax)
    both = type("Both", (find("hifigan_without_mpd"), find("hifigan_without_mel")), {"__module__": __name__})()
    assert (both.mel_weight, list(both.discriminators)) == (0.0, ["multi_scale"])


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownExperimentError, match="did you mean hifigan_v3"):
        find("hifigan_v33")


def test_published_sizes():
    sizes = {"hifigan_v1": 13_936_130, "hifigan_v2": 928_514, "hifigan_v3": 1_464_322, "melgan": 4_266_050}
    sizes |= {"wavenet_vocoder_mulaw": 4_699_944, "wavenet_vocoder_mol": 3_720_932, "wavenet": 1_267_392}
    sizes |= {"wavenet_vocoder_gaussian": 3_717_292}
    sizes |= {"ddsp_solo_instrument": 4_849_150, "ddsp_tiny": 280_314, "ddsp_pytorch": 3_785_000}
    sizes |= {"wavegan": 19_065_345, "specgan": 19_065_345}
    sizes |= {"ddsp_autoencoder": 6_407_334 + 843_852}
    for name, size in sizes.items():
        assert sum(p.numel() for p in find(name)().generator.parameters()) == size
