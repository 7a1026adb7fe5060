"""The adversarial step against a slower, obvious one, and what it must and must not touch."""

import copy
from itertools import chain

import lightning as L
import pytest
import torch
from noise_clips import Noise
from tiny_system import Tiny, make, train
from torch import nn
from torch.nn.functional import l1_loss

from framework.losses.adversarial import Hinge, WassersteinGP


def obvious_steps(system, steps):
    """The official order written out: every gradient of every network, nothing frozen, nothing skipped."""
    g, ds = system.generator, system.discriminators
    kwargs = {"lr": system.learning_rate, "betas": system.betas, "weight_decay": system.weight_decay}
    optim_g, optim_d = torch.optim.AdamW(g.parameters(), **kwargs), torch.optim.AdamW(ds.parameters(), **kwargs)
    batches = iter(Noise().train_dataloader())
    for _ in range(steps):
        real = next(batches)["audio"]
        fake = g(system.front_end(real))
        loss_d = 0
        for d in ds.values():
            for real_logits, fake_logits in zip(d(real)[0], d(fake.detach())[0], strict=True):
                loss_d = loss_d + ((1 - real_logits) ** 2).mean() + (fake_logits**2).mean()
        optim_d.zero_grad()
        loss_d.backward()
        optim_d.step()
        loss_g = 45 * l1_loss(system.losses["mel"].mel(fake), system.losses["mel"].mel(real))
        for d in ds.values():
            (real_logits, real_maps), (fake_logits, fake_maps) = d(real), d(fake)
            loss_g = loss_g + sum(((1 - logits) ** 2).mean() for logits in fake_logits)
            for r, f in zip([*chain(*real_maps), *real_logits], [*chain(*fake_maps), *fake_logits], strict=True):
                loss_g = loss_g + 2 * (r - f).abs().mean()
        optim_g.zero_grad()
        loss_g.backward()
        optim_g.step()


def test_lean_step_equals_the_obvious_one():
    lean, obvious = make(), make()
    train(lean, 3)
    obvious_steps(obvious, 3)
    for (name, a), b in zip(lean.named_parameters(), obvious.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=name)


def test_discriminators_in_bf16_give_nearly_the_same_gradients_and_leave_the_rest_in_float32():
    gradients, seen = {}, set()
    for bf16 in (False, True):
        system = make(bf16_discriminators=bf16)
        if bf16:
            system.discriminators["multi_period"].discriminators[0].convs[1].register_forward_hook(
                lambda *arguments: seen.add(arguments[-1].dtype)
            )
            system.generator.register_forward_hook(lambda *arguments: seen.add(arguments[-1].dtype))
        step_optimizer = system.step_optimizer
        system.step_optimizer = lambda name, network, step_optimizer=step_optimizer, bf16=bf16: (
            gradients.update({(name, bf16): torch.cat([p.grad.flatten() for p in network.parameters()]).clone()}),
            step_optimizer(name, network),
        )
        train(system, 1)
        assert {p.dtype for p in system.parameters()} == {torch.float32}
    assert seen == {torch.bfloat16, torch.float32}
    for name in ("discriminator", "generator"):
        exact, rounded = gradients[name, False], gradients[name, True]
        assert 0 < (rounded - exact).norm() < 0.01 * exact.norm()


def test_discriminators_judge_the_real_audio_first_in_both_updates():
    # As the official codes do: a spectral norm iterates at every pass, so that the order is in the numbers.
    system, seen = make(), []
    real = next(iter(Noise().train_dataloader()))["audio"]
    for discriminator in system.discriminators.values():
        discriminator.register_forward_pre_hook(lambda _, arguments: seen.append(torch.equal(arguments[0], real)))
    train(system, 1)
    assert seen == [True, False] * 4


def test_only_the_right_network_changes_in_its_step():
    system = make()
    changes = []

    def watch(network, name):
        state = copy.deepcopy(network.state_dict())

        def changed():
            now = network.state_dict()
            parameters = [n for n, _ in network.named_parameters()]
            return any(not torch.equal(state[n], now[n]) for n in parameters)

        return name, changed

    step_optimizer = system.step_optimizer

    def watched(name, *rest):
        before = [watch(system.generator, "generator"), watch(system.discriminators, "discriminator")]
        step_optimizer(name, *rest)
        changes.append((name, [n for n, changed in before if changed()]))

    system.step_optimizer = watched
    train(system, 1)
    assert changes == [("discriminator", ["discriminator"]), ("generator", ["generator"])]


def test_one_step_is_one_generator_update():
    system = make()
    updates = []
    step_optimizer = system.step_optimizer
    system.step_optimizer = lambda *a: (updates.append(a[0]), step_optimizer(*a))
    trainer = train(system, 5)
    assert trainer.global_step == 5
    assert updates.count("generator") == updates.count("discriminator") == 5


def test_discriminators_wait_for_their_start():
    system = make(adversarial_start=2)
    names = []
    step_optimizer = system.step_optimizer
    system.step_optimizer = lambda *a: (names.append(a[0]), step_optimizer(*a))
    train(system, 3)
    assert names == ["generator", "generator", "discriminator", "generator"]


@pytest.mark.parametrize("loss", [Hinge, WassersteinGP])
def test_other_games_train(loss):
    system = make(type("Other", (Tiny,), {"__module__": __name__, "build_adversarial_loss": lambda self: loss()}))
    before = copy.deepcopy(system.state_dict())
    train(system, 1)
    assert all(torch.isfinite(p).all() for p in system.parameters())
    assert any(not torch.equal(before[n], p) for n, p in system.generator.named_parameters(prefix="generator"))


def test_reconstruction_alone_needs_no_discriminator():
    system = make(type("Alone", (Tiny,), {"__module__": __name__, "build_discriminators": lambda self: {}}))
    assert train(system, 2).global_step == 2


def test_learning_rate_decays_by_epoch():
    system = make(learning_rate_decay=0.5)
    trainer = train(system, 5, limit_train_batches=2)
    assert [o.param_groups[0]["lr"] for o in trainer.optimizers] == [5e-5, 5e-5], "in the third epoch"


def test_learning_rate_is_a_function_of_the_position():
    system = make(learning_rate=1.0, learning_rate_decay=0.5, decay_steps=100, warmup_steps=10)
    assert [system.learning_rate_at(step, 7) for step in (0, 9, 99, 100, 250)] == [0.1, 1.0, 1.0, 0.5, 0.25]
    system = make(learning_rate=1.0, schedule="cosine")
    system.trainer = L.Trainer(max_steps=100, logger=False, accelerator="cpu")
    rates = [system.learning_rate_at(step, 0) for step in (0, 50, 100)]
    assert rates == pytest.approx([1.0, 0.5, 0.0], abs=1e-12)


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    whole, parts = make(), make(accumulate_grad_batches=2)
    train(whole, 2)
    train(parts, 2)
    for (name, a), b in zip(whole.named_parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-6, msg=name)


def test_a_gradient_that_is_not_finite_takes_no_step():
    system = make(ema_decay=0.5)
    before = copy.deepcopy(dict(system.named_parameters()))
    handle = system.generator.conv_post.register_full_backward_hook(lambda *a: (a[1][0] * float("nan"),))
    train(system, 1)
    handle.remove()
    after = dict(system.named_parameters())
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("generator."))
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith("discriminators."))


def test_every_network_takes_a_step_in_bf16():
    system = make()
    before = copy.deepcopy(dict(system.named_parameters()))
    train(system, 1, precision="bf16-mixed")
    after = dict(system.named_parameters())
    assert all(after[name].isfinite().all() for name in before)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    # Weights and gains; a bias of a layer that sees nothing may stay.
    assert len(changed) > 0.9 * len(before)


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_arithmetic_that_losses_do_not_have_is_refused(precision):
    with pytest.raises(ValueError, match=f"{precision} .* use --trainer.precision bf16-mixed, or 32-true"):
        train(make(), 1, precision=precision)


def test_override_beats_what_the_checkpoint_stored(tmp_path):
    train(make(learning_rate_decay=0.5), 2, limit_train_batches=2).save_checkpoint(tmp_path / "a.ckpt")
    system = make(learning_rate=1e-3, betas=(0.5, 0.9), learning_rate_decay=1.0)
    trainer = L.Trainer(
        max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.fit(system, datamodule=Noise(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    group = trainer.optimizers[0].param_groups[0]
    assert group["betas"] == (0.5, 0.9)
    assert group["lr"] == pytest.approx(1e-3)


def test_averaged_weights_are_the_ones_heard():
    system = make(ema_decay=0.5)
    start = copy.deepcopy(system.generator.state_dict())
    train(system, 1)
    averaged = dict(system.averaged_generator.module.named_parameters())
    for name, parameter in system.generator.named_parameters():
        # The first update takes the weights over, as torch's AveragedModel does.
        torch.testing.assert_close(averaged[name], parameter)
    train(system, 2)
    assert any(not torch.equal(averaged[n], p) for n, p in system.generator.named_parameters())
    assert start.keys() == system.generator.state_dict().keys()
    audio = torch.randn(1, 1, 1000)
    padded = nn.functional.pad(audio, (0, 24))
    torch.testing.assert_close(
        system.synthesize({"audio": audio}),
        system.averaged_generator(system.condition({"audio": padded}))[..., :1000],
    )


def test_a_loss_without_weight_is_refused():
    class Unweighted(Tiny):
        def build_losses(self):
            return {"loudness": nn.L1Loss()}

    with pytest.raises(TypeError, match="annotate loudness_weight: float in Unweighted"):
        Unweighted()


def test_other_mel_front_end_is_refused(tmp_path):
    train(make(), 1).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"another mel front end: .*log e \(here 10\)"):
        L.Trainer(
            max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
        ).fit(make(mel="melgan_22k"), datamodule=Noise(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_discriminators_take_their_updates_on_the_parts_of_a_batch_and_the_generator_one_on_the_last():
    seen = []

    class Watched(Tiny):
        critic_steps = 2

        def update(self, name, parts):
            before = copy.deepcopy(dict(self.named_parameters()))
            super().update(name, parts)
            changed = {n.split(".")[0] for n, value in self.named_parameters() if not torch.equal(value, before[n])}
            seen.append((name, changed))

        def condition(self, batch):
            seen.append(batch["key"])
            return super().condition(batch)

    train(Watched(), 1)
    updates = [entry for entry in seen if isinstance(entry, tuple)]
    assert updates == [("discriminator", {"discriminators"})] * 2 + [("generator", {"generator"})]
    assert [entry for entry in seen if isinstance(entry, list)] == [["0"], ["1"]]
    with pytest.raises(ValueError, match="critic_steps = 3 does not divide"):
        train(Tiny(critic_steps=3), 1)


def test_what_is_trained_on_need_not_be_audio():
    class Quiet(Tiny):
        def example(self, batch):
            return batch["audio"] / 10

        def render(self, example, batch):
            return example * 10

    batch = {"audio": 0.3 * torch.randn(1, 1, 2000), "key": ["a"]}
    system = Quiet()
    out = system.clip(batch)
    expected = 10 * system.generator(system.condition(system.pad_to_hop(batch)))[..., :2000]
    assert torch.allclose(out["fake"], expected[0], atol=1e-6)
    assert torch.equal(out["real"], batch["audio"][0])
