"""Structure of pieces that were made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from song_examples import OTHER, TUNE, chorale, quarters

from framework.music.structure import self_similarity_matrix, structure


def test_phrases_of_one_letter_repeat_and_others_do_not():
    found = structure(chorale("ABA"))
    assert found.phrase_repetition == 1
    assert found.other_repetition == pytest.approx(np.mean(np.array(TUNE) == np.array(OTHER)))
    assert found.self_similarity > 0
    assert math.isnan(structure(chorale("ABC")).phrase_repetition)


def test_half_a_repetition_is_half():
    song = chorale("AA")
    changed = quarters([*TUNE, *TUNE[:4], 50, 50, 50, 50])
    assert structure(replace(song, voices=song.voices | {"soprano": changed})).phrase_repetition == 0.5


def test_keys_are_kept_or_left():
    song = chorale("AA")
    home = structure(replace(song, voices={"soprano": quarters(TUNE * 2)}))
    assert (home.key_coherence, home.home, home.melody_range, home.notes_a_beat) == (1, 1, 7, 1)
    tritone = structure(replace(song, voices={"soprano": quarters([midi + 6 for midi in TUNE] * 2)}))
    assert tritone.key_coherence == pytest.approx(0.25)
    assert tritone.home == 0


def test_a_piece_without_notes_has_no_key():
    silent = structure(replace(chorale("AA"), voices={"soprano": ()}))
    assert all(math.isnan(value) for value in (silent.key_coherence, silent.home, silent.melody_range))
    assert silent.notes_a_beat == 0


def test_a_piece_is_like_itself_where_it_repeats():
    matrix = self_similarity_matrix(chorale("ABA"))
    np.testing.assert_allclose(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1)
    np.testing.assert_allclose(matrix[:8, 16:], matrix[:8, :8])
