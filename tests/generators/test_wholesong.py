"""A level of whole-song generation: what it is given and makes, and pieces filled in around what is known."""

from typing import ClassVar

import pytest
import torch
from reference.weights import load_reference
from song_examples import chorale

from datamodules.bach.layouts import CHORALE_FORM, CHORALE_SKELETON
from datamodules.chorale_levels import ChoraleForms, ChoraleSkeletons
from datamodules.streaming.song_levels import SongLevel
from framework.catalogue import find
from framework.generators.wholesong.system import SmallSongLevel


class Skeletons(SongLevel):
    layout: ClassVar = CHORALE_SKELETON


class Tiny(SmallSongLevel):
    """A tiny level."""

    data = Skeletons
    channels = 8
    multipliers = (1, 2)
    attention = (1,)
    width = 8
    sampling_steps = 4


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return Tiny().eval()


def test_levels_see_what_is_above_them_and_earlier(tiny):
    batch = tiny.stand_in()
    assert tiny.example(batch).shape == (1, 10, 32, 12)
    assert tiny.example(batch).unique().tolist() == [-1, 1]
    condition = tiny.condition(batch)
    assert condition["background"].shape == (1, 8, 32, 12)
    assert condition["segments"].shape == (1, 18, 24, 12)
    hidden = Tiny(masked=1.0).train().condition(batch)["background"]
    assert (hidden == -1).all()
    assert set(tiny.training_losses(batch)) == {"denoising"}


def test_what_is_known_stays_and_the_rest_depends_on_it(tiny):
    batch, known = tiny.stand_in(), torch.zeros(1, 10, 32, 12)
    known[:, :, :16] = 1
    noise = torch.randn(1, 10, 32, 12, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(2)
    made = tiny.fill(batch, known, noise)
    torch.testing.assert_close(made[:, :, :16], batch["image"][:, :10, :16])
    assert ((made >= 0) & (made <= 1)).all()
    other = dict(batch)
    other["image"] = batch["image"].clone()
    other["image"][:, :10, :16] = 0
    torch.manual_seed(2)
    assert not torch.equal(tiny.fill(other, known, noise)[:, :, 16:], made[:, :, 16:])


def test_a_window_is_heard_and_seen(tiny):
    batch = tiny.stand_in()
    audio = tiny.render(tiny.example(batch), batch)
    assert audio.shape == (1, 1, round(32 * 60 / 76 * 22050))
    picture = tiny.pictures(tiny.example(batch), tiny.example(batch))["pianoroll"]
    assert picture.size[0] == 32 * 8


def test_levels_of_one_kind_are_told_apart_by_their_layout():
    for name, own in {"form": ChoraleForms, "skeleton": ChoraleSkeletons}.items():
        assert find(f"wholesong_bach_{name}").data.system() is own


def test_a_window_has_the_structure_of_its_notes(tiny):
    song = chorale("ABA")
    image = torch.from_numpy(CHORALE_FORM.image(song))[None]
    form = find("wholesong_bach_form")()
    described = form.describe(form.to_network(image), {"image": image})
    assert described == {"phrases": 3, "returning": pytest.approx(1 / 3), "home": 1}
    assert form.describe(form.to_network(image * 0), {"image": image}) == {}
    assert {trait.name for trait in form.traits} == set(described)
    image = torch.from_numpy(CHORALE_SKELETON.image(song))[None]
    described = tiny.describe(tiny.example({"image": image}), {"image": image})
    assert {trait.name for trait in tiny.traits} <= set(described)
    assert described["phrase_repetition"] == 1 > described["other_repetition"]


def test_the_noise_is_the_official_one_and_so_are_the_sizes():
    level = find("wholesong_form")()
    assert sum(p.numel() for p in level.generator.parameters()) == 38_273_288
    seen = torch.tensor(level.noise_schedule.alpha_bars[::111], dtype=torch.float32)
    torch.testing.assert_close(seen, load_reference("wholesong_frm")["alpha_bar"])
    rows = {"counterpoint": (10, 108, 4), "lead_sheet": (12, 136, 8), "accompaniment": (14, 136, 8)}
    for name, sizes in rows.items():
        layout = find(f"wholesong_{name}").data.layout
        assert (layout.channels, layout.segment_rows, layout.token_rows) == sizes


def test_the_small_levels_have_few_weights():
    names = ("form", "skeleton", "outer", "voices")
    for name in names:
        assert sum(p.numel() for p in find(f"wholesong_bach_{name}")().generator.parameters()) < 1_500_000
    assert find("wholesong_bach_form").data.layout == CHORALE_FORM
