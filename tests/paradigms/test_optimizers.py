"""Any optimiser, any of Lightning's ways to configure it: against plain loops and closed forms."""

import copy
import math

import lightning as L
import pytest
import torch
from noise_clips import Noise
from tiny_system import Alone, Tiny, make, train
from torch import nn

from framework.errors import OstinatoError
from framework.strategies import GradientAveraging


class Signs(torch.optim.Optimizer):
    """A user's own optimiser, which does not expect parameters without a gradient."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure else None
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad.sign(), alpha=-group["lr"])
                self.state[p]["steps"] = self.state[p].get("steps", 0) + 1
        return loss


OPTIMIZERS = {
    "fused": lambda p, lr: torch.optim.AdamW(p, lr, fused=True),
    "foreach": lambda p, lr: torch.optim.AdamW(p, lr, foreach=True),
    "fused SGD": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, fused=True),
    "SGD": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9),
    "RMSprop": lambda p, lr: torch.optim.RMSprop(p, lr),
    "a user's": Signs,
}


def with_optimizer(build, base=Alone):
    """Return a class whose networks have the optimisers that `build(parameters, learning rate)` returns."""

    class Optimized(base):
        def build_optimizer(self, name, network):
            return build(network.parameters(), self.learning_rate)

    return Optimized


@pytest.fixture(params=OPTIMIZERS.values(), ids=OPTIMIZERS)
def build(request):
    return request.param


def test_any_optimizer_takes_the_steps_of_a_plain_loop(build):
    system, plain = make(with_optimizer(build)), make(Alone)
    trainer = train(system, 3)
    optimizer = build(plain.generator.parameters(), plain.learning_rate)
    batches = iter(Noise().train_dataloader())
    for _ in range(3):
        optimizer.zero_grad()
        (45 * plain.training_losses(next(batches))["mel"]).backward()
        optimizer.step()
    assert trainer.global_step == 3
    for (name, a), b in zip(system.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6, msg=name)


def test_any_optimizer_skips_a_step_without_a_finite_gradient_and_goes_on(build):
    class Spoilt(with_optimizer(build, Tiny)):
        def training_losses(self, batch):
            raise NotImplementedError

        def on_generator_losses(self, fake, terms):
            if self.global_step == 1:
                terms["mel"] = terms["mel"] * float("nan")

        def on_train_batch_start(self, batch, batch_index):
            super().on_train_batch_start(batch, batch_index)
            self.before = copy.deepcopy(dict(self.named_parameters()))

        def on_train_batch_end(self, outputs, batch, batch_index):
            super().on_train_batch_end(outputs, batch, batch_index)
            for network in ("generator", "discriminator"):
                changed = any(not torch.equal(self.before[n], p) for n, p in self.of(network))
                seen.append((network, bool(self.not_finite[network]), changed))

        def of(self, network):
            return [(n, p) for n, p in self.named_parameters() if n.startswith(network)]

    seen = []
    trainer = train(make(Spoilt), 3)
    assert trainer.global_step == 3, "a skipped step is counted: the position does not depend on it"
    for network in ("generator", "discriminator"):
        skipped = [(flag, changed) for name, flag, changed in seen if name == network]
        expected = [(False, True), (True, False), (False, True)] if network == "generator" else [(False, True)] * 3
        assert skipped == expected
    assert all(p.isfinite().all() for p in trainer.lightning_module.parameters())


@pytest.mark.parametrize(("name", "waits"), [("fused", False), ("fused SGD", False), ("SGD", True)])
def test_fused_optimizers_do_not_make_the_host_wait(name, waits, monkeypatch):
    class Watched(with_optimizer(OPTIMIZERS[name])):
        def step_optimizer(self, name, network):
            read = torch.Tensor.__bool__
            with monkeypatch.context() as patch:
                patch.setattr(torch.Tensor, "__bool__", lambda tensor: reads.append(1) or read(tensor))
                patch.setattr(torch.Tensor, "item", None)
                self.network_optimizers.step(name, counted=True)

    reads = []
    train(make(Watched), 2)
    assert bool(reads) == waits


def test_all_devices_skip_the_same_steps(tmp_path):
    class Uneven(with_optimizer(OPTIMIZERS["SGD"])):
        def on_generator_losses(self, fake, terms):
            if self.global_step == 1 and self.global_rank == 1:
                terms["mel"] = terms["mel"] * float("inf")

        def on_train_batch_end(self, outputs, batch, batch_index):
            super().on_train_batch_end(outputs, batch, batch_index)
            weights = torch.cat([p.detach().flatten() for p in self.generator.parameters()])
            torch.save((weights, self.not_finite["generator"]), tmp_path / f"{self.global_rank}_{self.global_step}.pt")

    train(make(Uneven), 3, devices=2, strategy=GradientAveraging(start_method="fork"))
    for step in (1, 2, 3):
        (ours, skipped), (theirs, theirs_skipped) = (torch.load(tmp_path / f"{rank}_{step}.pt") for rank in (0, 1))
        assert torch.equal(ours, theirs)
        assert ours.isfinite().all()
        assert bool(skipped) == bool(theirs_skipped) == (step == 2)


def test_groups_keep_the_ratio_of_their_learning_rates():
    class Grouped(Alone):
        learning_rate_decay = 0.5
        decay_steps = 1

        def build_optimizer(self, name, network):
            biases = [p for n, p in network.named_parameters() if n.endswith("bias")]
            rest = [p for n, p in network.named_parameters() if not n.endswith("bias")]
            groups = [{"params": rest}, {"params": biases, "lr": 10 * self.learning_rate}]
            return torch.optim.SGD(groups, self.learning_rate)

    trainer = train(make(Grouped, learning_rate=1e-4), 3)
    assert [g["lr"] for g in trainer.optimizers[0].param_groups] == pytest.approx([0.25e-4, 2.5e-4])


def test_an_optimizers_own_learning_rate_is_scheduled_and_not_overwritten():
    system = make(with_optimizer(lambda p, lr: torch.optim.SGD(p, 0.1)), learning_rate_decay=0.5, decay_steps=2)
    assert train(system, 3).optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05)


def test_learning_rate_at_gives_the_learning_rate_of_a_step():
    class Inverse(Alone):
        def learning_rate_at(self, step, epoch):
            return self.learning_rate / math.sqrt(step + 1)

    trainer = train(make(Inverse, learning_rate=1.0), 4)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.5)

    class Twice(Inverse):
        def build_optimizer(self, name, network):
            return torch.optim.SGD(network.parameters(), 0.1)

    with pytest.raises(OstinatoError, match=r"has the learning rate 0.1, but Twice.learning_rate_at gives it too"):
        train(make(Twice), 1)


def configured(configure, base=Alone, **members):
    """Return a class with Lightning's own hook."""
    return type("Configured", (base,), {"__module__": __name__, "configure_optimizers": configure, **members})


def rates_of(system, steps, **arguments):
    """Train; return the learning rate that each step of the generator was taken with."""
    rates = []
    step_optimizer = system.step_optimizer
    system.step_optimizer = lambda name, network: (
        step_optimizer(name, network),
        rates.append(system.trainer.callback_metrics[f"learning_rate/{name}"].item()) if name == "generator" else 0,
    )
    system.log_dict = lambda values, **_: [system.trainer.callback_metrics.update({k: torch.as_tensor(v)}) for k, v in
                                           values.items()]  # fmt: skip
    trainer = train(system, steps, **arguments)
    assert trainer.global_step == steps
    return rates


def sgd(network, rate=0.1):
    return torch.optim.SGD(network.parameters(), rate)


def exponential(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def with_dictionary(interval, frequency):
    def configure(self):
        optimizer = sgd(self.generator)
        scheduler = {"scheduler": exponential(optimizer), "interval": interval, "frequency": frequency}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    return configure


def with_two_lists(self):
    optimizers = [sgd(self.discriminators), sgd(self.generator)]
    return optimizers, [exponential(optimizer) for optimizer in optimizers]


def with_two_optimizers_of_one_network(self):
    small = [p for p in self.generator.parameters() if p.dim() < 2]
    large = [p for p in self.generator.parameters() if p.dim() >= 2]
    return [torch.optim.SGD(large, 0.1), torch.optim.AdamW(small, 0.1)]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (configured(lambda self: sgd(self.generator)), [0.1] * 4),
        (configured(with_two_optimizers_of_one_network), [0.1] * 4),
        (configured(with_dictionary("step", 1)), [0.1, 0.05, 0.025, 0.0125]),
        (configured(with_dictionary("step", 2)), [0.1, 0.1, 0.05, 0.05]),
        (configured(with_dictionary("epoch", 1)), [0.1, 0.1, 0.05, 0.05]),
        (configured(with_dictionary("epoch", 2)), [0.1, 0.1, 0.1, 0.1]),
        (configured(with_two_lists, Tiny), [0.1, 0.1, 0.05, 0.05]),
    ],
)
def test_configure_optimizers_is_honoured_with_its_schedulers(system, expected, capsys):
    system = make(system, learning_rate_decay=0.1)
    before = copy.deepcopy(dict(system.named_parameters()))
    assert rates_of(system, 4, limit_train_batches=2) == pytest.approx(expected)
    assert "learning_rate_decay, decay_steps, warmup_steps and schedule have no effect" in capsys.readouterr().err
    changed = {n for n, p in system.named_parameters() if not torch.equal(before[n], p)}
    assert len(changed) > 0.9 * len(before), "every network was updated"


@pytest.mark.parametrize("monitor", [None, "validation/stft_distance"])
def test_a_plateau_scheduler_watches_the_validation(monitor):
    class Plateau(Alone):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.generator.parameters(), 0.0)
            for group in optimizer.param_groups:
                group["lr"] = 1e-12
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1, eps=0)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}

        def lr_scheduler_step(self, scheduler, metric):
            seen.append(float(metric))
            super().lr_scheduler_step(scheduler, metric)

    class Validated(Noise):
        def val_dataloader(self):
            return torch.utils.data.DataLoader(self.train_dataloader().dataset, 1)

    seen = []
    trainer = L.Trainer(
        max_steps=6, val_check_interval=2, limit_val_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, num_sanity_val_steps=1, accelerator="cpu", check_val_every_n_epoch=None,
    )  # fmt: skip
    trainer.fit(make(Plateau), datamodule=Validated())
    assert len(seen) == 3
    assert seen[-1] == float(trainer.callback_metrics[monitor or Plateau.monitor])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-13)


def test_schedulers_of_configure_optimizers_go_on_from_a_checkpoint(tmp_path):
    cls = configured(with_dictionary("step", 1))
    train(make(cls), 2).save_checkpoint(tmp_path / "a.ckpt")
    trainer = L.Trainer(max_steps=4, logger=False, enable_checkpointing=False, accelerator="cpu", max_epochs=-1)
    trainer.fit(make(cls), datamodule=Noise(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)


def of_everything(self):
    return torch.optim.SGD(self.parameters(), 0.1)


def of_the_generator(self):
    return sgd(self.generator)


def plateau_by_step(self):
    optimizer = sgd(self.generator)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 9}}


def overriding(method):
    """Return a class with a method that does nothing."""
    return type("Own", (Alone,), {"__module__": __name__, method: lambda self, *_: None})


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (configured(of_everything, Tiny), r"SGD has parameters of the discriminator and the generator"),
        (configured(of_the_generator, Tiny), r"no optimiser for the discriminator: .* build_optimizer\(name, net"),
        (configured(lambda self: "adam"), r"configure_optimizers returns str: .* learning_rate_at\(step, epoch\)"),
        (configured(plateau_by_step), "steps after every validation"),
        (configured(of_the_generator, learning_rate_at=lambda self, step, epoch: 1.0), "overrides configure_opt.* and"),
        (with_optimizer(lambda p, lr: torch.optim.LBFGS(p)), r"LBFGS.step needs a closure"),
        (with_optimizer(lambda p, lr: None), "build_optimizer returns NoneType for the generator"),
        (overriding("optimizer_step"), "overrides optimizer_step, which is not called: override build_optimizer"),
        (overriding("training_step"), "made 0 optimiser steps"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_line(system, message):
    with pytest.raises(OstinatoError, match=message) as raised:
        train(make(system), 2)
    assert "\n" not in str(raised.value)


def test_hooks_around_a_step_are_called():
    class Hooked(Alone):
        def on_before_zero_grad(self, optimizer):
            seen.append("before zero_grad")

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
            seen.append("zero_grad")
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

        def on_before_optimizer_step(self, optimizer):
            seen.append("before step")

        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            seen.append(f"clip {gradient_clip_val}")
            nn.utils.clip_grad_value_(self.generator.parameters(), 0.0)

    class Watching(L.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            seen.append("callback")

    seen = []
    system = make(with_optimizer(OPTIMIZERS["SGD"], Hooked), gradient_clip=2.0)
    before = copy.deepcopy(system.state_dict())
    train(system, 1, callbacks=[Watching()])
    assert seen == ["callback", "before zero_grad", "zero_grad", "clip 2.0", "before step"]
    assert all(torch.equal(before[n], p) for n, p in system.named_parameters()), "the gradient was clipped to nothing"


def test_the_state_of_another_optimizer_is_refused(tmp_path):
    train(make(Alone), 1).save_checkpoint(tmp_path / "a.ckpt")
    trainer = L.Trainer(max_steps=2, logger=False, enable_checkpointing=False, accelerator="cpu")
    system = make(with_optimizer(OPTIMIZERS["SGD"]))
    with pytest.raises(OstinatoError, match=r"another optimiser of the generator than SGD, without .*momentum"):
        trainer.fit(system, datamodule=Noise(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_the_learning_rate_finder_works_with_one_network_and_is_refused_with_two(tmp_path):
    def find(system):
        trainer = L.Trainer(
            max_steps=50, max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            accelerator="cpu", default_root_dir=tmp_path,
        )  # fmt: skip
        return L.pytorch.tuner.Tuner(trainer).lr_find(system, datamodule=Noise(), num_training=30, update_attr=False)

    found = find(make(Alone))
    assert len(found.results["loss"]) == len(found.results["lr"]) > 20
    assert found.results["lr"][0] < 1e-7
    assert 1e-8 < found.suggestion() < 1
    with pytest.raises(OstinatoError, match="needs a system with one network, not generator and discriminator"):
        find(make(Tiny))
