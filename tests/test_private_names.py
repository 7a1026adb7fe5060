"""Names of dependencies that are not public: they stand in one package, exist, and do what they are relied on for."""

import argparse
import ast
import inspect
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from framework.private_names import of_argparse, of_lightning, of_torch, of_wandb

ROOT = Path(__file__).parents[1]
PUBLIC = {"_asdict", "_fields", "_exit"}
"""Names with an underscore that Python documents."""


def parameters():
    return [torch.nn.Parameter(torch.ones(3))]


def test_lightning_counts_a_step_by_two_hooks_of_an_optimizer():
    wrapped = LightningOptimizer(torch.optim.SGD(parameters(), 0.1))
    assert {"_on_before_step", "_on_after_step"} <= vars(wrapped).keys()
    source = inspect.getsource(LightningOptimizer.step)
    assert source.index("self._on_before_step()") < source.index("self._on_after_step()")


def test_fused_optimizers_skip_a_step_that_found_inf_marks():
    for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad):
        (weight,) = own = parameters()
        optimizer = kind(own, 0.1, fused=True)
        assert optimizer._step_supports_amp_scaling
        for found, moved in ((1.0, False), (0.0, True)):
            weight.grad = torch.full((3,), float("nan") if found else 1.0)
            optimizer.found_inf = torch.tensor(found)
            optimizer.step()
            assert bool((weight != 1).any()) == moved
        assert not getattr(kind(parameters(), 0.1), "_step_supports_amp_scaling", False)


def test_no_other_package_uses_private_names_of_dependencies():
    trees = {
        path: ast.parse(path.read_text())
        for package in ("framework", "datamodules", "experiments")
        for path in (ROOT / package).rglob("*.py")
    }
    nodes = [(path, node) for path, tree in trees.items() for node in ast.walk(tree)]
    own = {node.name for _, node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {n.id for _, n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    own |= {n.attr for _, n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self" and
            isinstance(n.ctx, ast.Store)}  # fmt: skip
    found = set()
    for path, node in nodes:
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(("framework", "datamodules")):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        else:
            continue
        private = [name for name in names if name.startswith("_") and not name.startswith("__")]
        if set(private) - own - PUBLIC:
            found.add(path.relative_to(ROOT).as_posix())
    assert len(found) == 5
    assert all(path.startswith("framework/private_names/") for path in found)


def test_names_that_are_assigned_or_overridden_exist():
    trainer = L.Trainer(logger=False, accelerator="cpu")
    loop = trainer.fit_loop.epoch_loop
    assert loop.batch_progress.total.ready == 0
    assert callable(trainer._signal_connector.register_signal_handlers)
    assert "_launcher" in vars(trainer.strategy)
    of_lightning.set_batches_begun(trainer, 7)
    assert loop.batch_progress.total.ready == 7
    assert loop.val_loop._restart_stage == RestartStage.NONE
    of_lightning.begin_with_validation(trainer)
    assert loop.val_loop.restarted_mid_evaluation
    assert "self.val_loop.restarted_mid_evaluation" in inspect.getsource(_TrainingEpochLoop.advance)
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    for owner, names in (
        (DDPStrategy, ("_setup_model", "configure_ddp")),
        (_SubprocessScriptLauncher, ("_call_children_scripts", "launch")),
    ):
        assert all(callable(getattr(owner, name)) for name in names)


def test_names_of_other_libraries():
    parser = argparse.ArgumentParser()
    parser.add_argument("--one")
    assert [action.dest for action in of_argparse.actions_of(parser)] == ["help", "one"]
    logger = of_wandb.WandbLoggerBase(save_dir="somewhere", name="one", offline=True)
    assert isinstance(logger, WandbLogger)
    assert (logger.folder, logger.run_arguments["name"]) == ("somewhere", "one")
    network = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh())
    other = of_torch.with_children(network, {"1": torch.nn.Identity()})
    assert [type(m).__name__ for m in (*other, *network)] == ["ReLU", "Identity", "ReLU", "Tanh"]
