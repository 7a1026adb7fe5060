"""Songs as images: what goes in comes out again; windows in a fixed order on any number of devices."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from song_examples import chorale

from datamodules.bach.layouts import CHORALE_FORM, CHORALE_INNER, CHORALE_OUTER, CHORALE_SKELETON
from datamodules.streaming.song_levels import Drawn, SongLevel
from framework.music.layouts import form_of, similar_segments
from framework.music.songs import Phrase, Song

LEVELS = (CHORALE_FORM, CHORALE_SKELETON, CHORALE_OUTER, CHORALE_INNER)


class ByHand(SongLevel):
    layout: ClassVar = CHORALE_OUTER

    def songs(self, split):
        return tuple(chorale(form, form) for form in ("ABA", "AABB", "ABCB", "AAAA"))


def test_levels_one_after_the_other_give_the_whole_song():
    song = chorale("ABACBD")
    made = Song(song.name, 1, 2, song.phrases)
    for layout in LEVELS:
        image = layout.image(song)
        assert image.shape == (layout.channels, song.units * layout.rows(song), layout.pitch)
        # What a level is given is what the levels above made, and nothing that it makes itself.
        given = layout.image(made)
        np.testing.assert_array_equal(given[layout.front :], image[layout.front :])
        assert layout is CHORALE_FORM or not given[: layout.front].any()
        made = layout.completed(made, image[: layout.front])
    assert made == song


def test_a_form_is_read_through_noise():
    song = chorale("ABCBAD")
    image = CHORALE_FORM.image(song)
    noise = np.random.default_rng(0).normal(0, 0.12, image.shape).astype(np.float32)
    assert form_of(np.clip(image + noise, 0, 1)) == song.phrases
    with pytest.raises(ValueError, match="no phrase"):
        form_of(np.zeros_like(image))


def test_earlier_segments_are_those_with_the_same_letters():
    phrases = [Phrase(kind, 8, 0, 0) for kind in (0, 1, 2, 1)]
    assert similar_segments(phrases, 24, 8, 8, 2)[0] == (8, 16)
    assert similar_segments(phrases, 0, 8, 8, 2) == []
    spans = similar_segments(phrases, 24, 8, 8, 3)
    assert len({unit for first, last in spans for unit in range(first, last)}) == 24
    song = chorale("ABCB")
    image = CHORALE_OUTER.image(song)
    seen = CHORALE_OUTER.earlier(image, song, 48, 1)
    np.testing.assert_array_equal(seen[:, :16], image[:, 16:32])
    assert (seen[:, 16:] == -1).all()


def test_a_phrase_with_an_earlier_letter_repeats_its_melody():
    song = chorale("ABAA")
    assert CHORALE_SKELETON.repeated(song, 0, 8) is None
    assert CHORALE_SKELETON.repeated(song, 16, 24) == (6, 0)
    assert CHORALE_SKELETON.repeated(song, 28, 32) == (6, 4)
    assert CHORALE_OUTER.repeated(song, 32, 48) is None


def test_the_order_is_one_whatever_the_devices_and_goes_on_where_it_was():
    data = ByHand(batch_size=4, shift=(-2, 2), seed=3)
    whole = [batch["key"] for batch in data.train_dataloader()]
    data.teardown("fit")
    assert len(whole) == data.plan.steps > 3
    halves = [Drawn(data.windows("train"), data.plan, 3, rank, 2) for rank in range(2)]
    assert [half[0, 1]["key"] for half in halves] == [whole[1][:2], whole[1][2:]]
    data.advance({"position": (0, 1)})
    resumed = ByHand(batch_size=4, shift=(-2, 2), seed=3)
    resumed.load_state_dict(data.state_dict())
    batch = next(iter(resumed.train_dataloader()))
    resumed.teardown("fit")
    assert batch["key"] == whole[2]
    assert batch["image"].shape == (4, 30, 64, 12)
    assert batch["segments"].shape == (4, 30, 40, 12)
    with pytest.raises(ValueError, match="batch_size was 4"):
        ByHand(batch_size=2, shift=(-2, 2), seed=3).load_state_dict(data.state_dict())


def test_held_out_windows_are_the_same_each_time():
    first, again = ([dict(b) for b in ByHand(validation_clips=2).val_dataloader()] for _ in range(2))
    assert [b["key"] for b in first] == [b["key"] for b in again]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert len(first) == 2
