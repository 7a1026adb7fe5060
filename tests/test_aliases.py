"""Former names of modules lead to today's, and identities of runs keep them."""

import importlib
import subprocess
import sys

import pytest

from framework.aliases import MODULES
from framework.generators.codecs.vae import VAE
from framework.generators.wavenet.system import WaveNet
from framework.runs.folder import run_folder
from framework.runs.identity import canonical, structure_of, system_of


@pytest.mark.parametrize("former", MODULES)
def test_a_former_name_leads_to_the_module_of_today(former):
    today = importlib.import_module(MODULES[former])
    found = importlib.import_module(former)
    assert today.__spec__.name == MODULES[former]
    if found is not today:
        # A package today, which gives what the module gave.
        assert found.__path__
        names = [name for name, value in vars(today).items() if getattr(value, "__module__", "") == today.__name__]
        assert names
        assert all(getattr(found, name) is getattr(today, name) for name in names)


def test_a_former_name_can_be_the_first_that_is_imported():
    code = "from datamodules.reader import Reader; print(Reader.__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "datamodules.shards.reader\n"


def test_moved_code_keeps_the_identity_and_the_folder_of_its_runs(tmp_path):
    assert canonical(WaveNet) == "framework.generators.wavenet:WaveNet"
    assert canonical(VAE) == "framework.generators.vae:VAE"
    assert structure_of(WaveNet) == ["framework.generators.wavenet:WaveNet"]
    assert system_of("", {"system": "framework.generators.wavenet:WaveNet"}) is WaveNet
    assert system_of("", {"system": "framework.generators.vae:VAE"}) is VAE
    assert run_folder(tmp_path, WaveNet, "0").path.parent.name == "wavenet"
