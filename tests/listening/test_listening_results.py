"""What answers say: every figure recomputed by other means, from made-up listeners."""

import json
import math

import numpy as np
import pytest
from listening.made_comparisons import CLIPS, COLUMNS, answer, comparison
from scipy import stats

from framework.listening.make import make_test
from framework.listening.report import listening_markdown, listening_table, listening_values, write_results
from framework.listening.results import results_of

WORTH = {"ground truth": 4.6, "full": 3.7, "without_mpd": 3.1, "without_mel": 2.0, "Griffin-Lim": 3.3}
random = np.random.default_rng(7)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return comparison and everything that made-up listeners said, `{kind: {(listener, clip, column): rating}}`."""
    folder = comparison(tmp_path_factory.mktemp("results"))
    said = {"mos": {}, "mushra": {}, "ab": {}}

    def mos(listener, clip, column, columns):
        value = int(np.clip(round(WORTH[column] + random.normal(0, 0.7)), 1, 5))
        return said["mos"].setdefault((listener, clip, column), value)

    def mushra(listener, clip, column, columns):
        anchor = {"3.5 kHz anchor": 1, "7 kHz anchor": 2}
        value = int(np.clip(random.normal(20 * WORTH.get(column, anchor.get(column, 0)), 5), 0, 100))
        value = 100 if column == "ground truth" else value
        # Two listeners miss the reference, once and twice in three trials; either is more than 15 %.
        missed = column == "ground truth" and (listener, clip) in {(1, "allegro"), (4, "allegro"), (4, "prelude")}
        return said["mushra"].setdefault((listener, clip, column), 89 if missed else value)

    def ab(listener, clip, column, columns):
        (other,) = (c for c in columns if c != column)
        pair = said["ab"].setdefault(
            (listener, clip, frozenset(columns)), random.choice([*columns, None], p=[0.5, 0.4, 0.1])
        )
        if {"full", "without_mel"} == {column, other}:
            pair = said["ab"][listener, clip, frozenset(columns)] = "full"
        return int(pair == column)

    for kind, rating, listeners in (("mos", mos, 6), ("mushra", mushra, 5), ("ab", ab, 4)):
        answer(make_test(folder, kind, None, 0, False), listeners, rating)
    return folder, said, {result.plan.kind: result for result in results_of(folder)}


def t_interval(values):
    return stats.ttest_1samp(values, 0).confidence_interval(0.95)


def test_mean_opinion_scores_are_those_of_an_independent_computation(said):
    _, answers, found = said
    assert [figure.column for figure in found["mos"].figures] == COLUMNS
    assert (found["mos"].listeners, found["mos"].finished) == (6, 6)
    for figure in found["mos"].figures:
        table = np.array([[answers["mos"][n, clip, figure.column] for clip in CLIPS] for n in range(6)], float)
        assert figure.interval.mean == pytest.approx(table.mean())
        assert (figure.interval.low, figure.interval.high) == pytest.approx(tuple(t_interval(table.ravel())))
        assert (figure.interval.count, figure.listeners) == (18, 6)
        assert figure.spread == pytest.approx(table.mean(1).std(ddof=1))
        assert list(figure.clips.values()) == pytest.approx(list(table.mean(0)))


def test_who_misses_the_hidden_reference_is_excluded_and_named(said):
    _, answers, found = said
    result = found["mushra"]
    kept = [0, 2, 3]
    assert result.listeners == 3
    (remark,) = result.remarks
    assert "2 of 5 listeners excluded" in remark
    assert "BS.1534-3" in remark
    assert [f.column for f in result.figures] == [*COLUMNS, "3.5 kHz anchor", "7 kHz anchor"]
    for figure in result.figures:
        values = [answers["mushra"][n, clip, figure.column] for n in kept for clip in CLIPS]
        assert figure.interval.mean == pytest.approx(np.mean(values))
        if np.ptp(values):
            assert (figure.interval.low, figure.interval.high) == pytest.approx(tuple(t_interval(values)))
        assert figure.interval.count == 9


def test_preferences_are_tested_exactly_and_corrected(said):
    _, answers, found = said
    figures = {figure.column: figure for figure in found["ab"].figures}
    assert figures.keys() == {"without_mpd", "without_mel"}
    p_values = {}
    for column, figure in figures.items():
        votes = [v for (_, _, pair), v in answers["ab"].items() if pair == {column, "full"}]
        wins, losses = votes.count(column), votes.count("full")
        n, k = wins + losses, min(wins, losses)
        tail = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        p_values[column] = min(1.0, tail)
        assert figure.interval.mean == pytest.approx(wins / n)
        assert figure.p == pytest.approx(p_values[column])
        assert (figure.interval.count, figure.ties, figure.listeners) == (n, len(votes) - n, 4)
        low = stats.beta.ppf(0.025, wins, n - wins + 1) if wins else 0
        assert (figure.interval.low, figure.interval.high) == pytest.approx(
            (low, stats.beta.ppf(0.975, wins + 1, n - wins))
        )
    small, large = sorted(p_values, key=p_values.get)
    assert figures[small].p_corrected == pytest.approx(2 * p_values[small])
    assert figures[large].p_corrected == pytest.approx(max(2 * p_values[small], p_values[large]))
    assert figures["without_mel"].p == pytest.approx(2 / 2**12)


def test_every_figure_says_what_it_rests_on(said):
    folder, _, found = said
    results = list(found.values())
    write_results(results, folder)
    assert json.loads((folder / "listening.json").read_text()) == listening_values(results)
    for text in (listening_table(results), listening_markdown(results), (folder / "listening.md").read_text()):
        assert "18 ratings of 6 listeners" in text
        assert "MUSHRA: 3 listeners, 3 of them finished, 3 clips" in text
        assert "2 of 5 listeners excluded" in text
        assert "Preference to full" in text
    values = listening_values(results)["tests"]["mos"]["figures"][1]
    assert (values["column"], values["ratings"], values["listeners"]) == ("full", 18, 6)


def test_nobody_and_a_single_rating_make_no_number_up(tmp_path):
    folder = comparison(tmp_path, clips=["one"])
    for kind in ("mos", "ab"):
        make_test(folder, kind, None, 0, False)
    for result in results_of(folder):
        assert result.listeners == 0
        assert all(math.isnan(figure.interval.mean) for figure in result.figures)
    answer(folder / "listening" / "mos", 1, lambda listener, clip, column, columns: 3)
    answer(folder / "listening" / "ab", 1, lambda listener, clip, column, columns: 0)
    mos, ab = sorted(results_of(folder), key=lambda r: r.plan.kind, reverse=True)
    assert mos.figures[0].interval.mean == 3
    assert math.isnan(mos.figures[0].interval.low)
    assert ab.figures[0].ties == 1
    assert math.isnan(ab.figures[0].p)
    assert json.dumps(listening_values([mos, ab]), allow_nan=False)
