"""Beside this file, `reference` is importable: the reference vectors of official implementations."""

import pytest
import torch

# Several processes test at once, and small tensors gain nothing from threads.
torch.set_num_threads(1)

LONG = (
    "test_survival",
    "test_golden_losses",
    "test_kills",
    "test_cli",
    "test_local",
    "test_sweep_command",
    "test_sweep",
)
"""Files that take minutes: begun last, one of them would be waited for by all other processes."""


def pytest_collection_modifyitems(items):
    """Begin with the long files; a file's tests stay together."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whatever was tested before: a tolerance is kept or it is not."""
    torch.manual_seed(0)
