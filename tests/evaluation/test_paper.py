"""What a comparison gives to a paper agrees with the comparison itself."""

import csv
import io
import shutil
import subprocess

import numpy as np
import pytest
from evaluation.stored_evaluations import CLIPS, store, three_runs

from framework.evaluation.comparison import compare
from framework.evaluation.paper import clips_csv, comparison_tex, methods_text, scores_csv


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_values_of_clips_give_the_scores(tmp_path):
    runs = three_runs(tmp_path, audio=False)
    runs[2].metrics["si_sdr"]["values"][3] = None
    found = compare(runs)
    clips = read(clips_csv(found))
    assert len(clips) == 4 * 2 * len(CLIPS)
    for row in read(scores_csv(found)):
        if row["metric"] == "frechet_distance" or not row["seeds"]:
            continue
        own = [r for r in clips if (r["run"], r["metric"]) == (row["run"], row["metric"])]
        by_clip = {}
        for value in own:
            if value["value"]:
                by_clip.setdefault(value["clip"], []).append(float(value["value"]))
        assert float(row["mean"]) == pytest.approx(np.mean([np.mean(v) for v in by_clip.values()]))
        assert row["seeds"].split() == sorted({r["seed"] for r in own})


def test_the_table_is_latex(tmp_path):
    names = {"aaaa0": "A & B_1", "bbbbb0": "50 %"}
    runs = [store(tmp_path, n, f, 0, e, audio=False) for n, f, e in (("a", "aaaa", 1.0), ("b", "bbbbb", 0.5))]
    text = comparison_tex(compare(runs, labels=names))
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {3}
    assert r"A \& B\_1 & " in text
    assert r"50 \%" in text
    assert r"\textsuperscript{*}" in text
    if shutil.which("pdflatex"):
        document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
        (tmp_path / "t.tex").write_text(document)
        subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_the_paragraph_says_what_was_compared(tmp_path):
    text = methods_text(compare(three_runs(tmp_path, audio=False)))
    assert "full (2 seeds), without_mpd (1 seed)" in text
    assert "on 8 validation clips of 8 recordings of Noise at 22,050 Hz" in text
    assert "Holm" in text
    assert "log-mel L1 (a paper)" in text
    assert "c0de" in text
