"""Names of PyTorch and Lightning that are not public and that the framework uses: what each is relied on for."""

import inspect

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher


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


def test_names_that_are_assigned_or_overridden_exist():
    trainer = L.Trainer(logger=False, accelerator="cpu")
    loop = trainer.fit_loop.epoch_loop
    assert isinstance(loop.batch_progress.total.ready, int)
    assert callable(trainer._signal_connector.register_signal_handlers)
    assert "_launcher" in vars(trainer.strategy)
    loop.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION
    assert loop.val_loop.restarted_mid_evaluation
    assert "self.val_loop.restarted_mid_evaluation" in inspect.getsource(_TrainingEpochLoop.advance)
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    for owner, names in (
        (DDPStrategy, ("_setup_model", "configure_ddp")),
        (_SubprocessScriptLauncher, ("_call_children_scripts", "launch")),
        (LightningCLI, ("_parse_ckpt_path", "_set_seed", "before_instantiate_classes", "instantiate_trainer")),
    ):
        assert all(callable(getattr(owner, name)) for name in names)
