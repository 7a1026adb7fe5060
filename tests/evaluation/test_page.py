"""The page of a comparison in a real browser: it plays, switches in place, sorts, draws, and complains of nothing."""

import json
import re

import numpy as np
import pytest
import soundfile
import torch
from evaluation.chromium import Browser, chromium
from evaluation.stored_evaluations import CLIPS, RATE, three_runs
from PIL import Image

from framework.evaluation.comparison import compare
from framework.evaluation.page.curves import POINTS, curves, thinned
from framework.evaluation.page.page import write_page
from framework.evaluation.page.pictures import log_mel_image, picture_preset, waveform_path

SPACE, LEFT, RIGHT, TAB, ENTER, SHIFT = (" ", 32), ("ArrowLeft", 37), ("ArrowRight", 39), ("Tab", 9), ("Enter", 13), 8
needs_browser = pytest.mark.skipif(chromium() is None, reason="no chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    root = tmp_path_factory.mktemp("comparison")
    return write_page(compare(three_runs(root), name="a <b>question</b>"), root / "page")


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory):
    """Return a browser with the page open; what it complained of is checked at the end."""
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(page)
        opened.wait("player.buffers.size === 5")
        yield opened
        assert opened.complaints() == []


def test_the_folder_holds_everything_and_names_nothing_outside(page):
    folder = page.parent
    assert len(list(folder.glob("audio/*/*.wav"))) == len(list(folder.glob("pictures/*/*.png"))) == 5 * len(CLIPS)
    assert len(list(folder.glob("clips/*.js"))) == len(CLIPS)
    for file in [*folder.glob("*.html"), *folder.glob("*.css"), *folder.glob("*.js")]:
        assert set(re.findall(r"https?://[^\s\"']+", file.read_text())) <= {"http://www.w3.org/2000/svg"}, file
        assert str(folder.parent) not in file.read_text(), "a path of the machine that wrote it"


def test_pictures_and_waveforms_of_a_clip_have_one_scale():
    preset = picture_preset(RATE)
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(RATE) / RATE)[None]
    loud, quiet = (np.asarray(log_mel_image(a * tone, preset, RATE)).astype(int) for a in (0.5, 0.05))
    assert loud.shape == (80, RATE // 256)
    row = np.median(loud, axis=1).argmax()
    assert np.median(loud[row] - quiet[row]) == pytest.approx(20 * 255 / 100, abs=1)  # 20 dB of a scale of 100
    half = log_mel_image(tone[:, : RATE // 2], preset, RATE)
    assert half.size == (RATE // 256, 80)
    assert np.asarray(half)[row, -1] == 0
    heights = [float(y) for y in re.findall(r",([\d.]+)", waveform_path(0.5 * tone, 1.0, RATE))]
    assert (min(heights), max(heights)) == pytest.approx((25, 75), abs=0.2)


def test_learning_curves_are_those_of_the_log(tmp_path):
    rows = [f"{step},{step / 1000},{'nan' if step == 3 else ''},0" for step in range(1, 1001)]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,loss,broken,epoch", *rows]) + "\n1001,5")
    found = curves(tmp_path / "metrics.csv")
    assert list(found) == ["loss"]
    assert found["loss"][-1] == (1000, 1.0)
    short = thinned(found["loss"])
    assert len(short) <= POINTS
    assert short[0] == pytest.approx((2.5, 0.0025))
    assert curves(tmp_path / "none.csv") == {}


@needs_browser
def test_all_of_it_is_shown_and_text_stays_text(browser):
    assert browser.evaluate("document.getElementById('name').textContent") == "a <b>question</b>"
    assert browser.evaluate("document.querySelectorAll('b b, h1 b, option b').length") == 0
    assert browser.evaluate("document.querySelectorAll('.track').length") == 5
    assert browser.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 10)")
    assert browser.evaluate("document.querySelectorAll('#forests figure').length") == 3
    changed = browser.evaluate("[...document.querySelectorAll('td.changed')].map((cell) => cell.textContent)")
    assert changed == ["15.0", "0.0"]
    assert browser.evaluate("document.querySelectorAll('#curve-chart path.curve').length") == 4
    unnamed = """[...document.querySelectorAll('button, a, select, input, img, svg[role=img]')].filter((part) =>
        !(part.ariaLabel || part.textContent.trim() || part.alt || part.closest('label'))).length"""
    assert browser.evaluate(unnamed) == 0


@needs_browser
def test_keys_play_switch_in_place_and_change_clips(browser):
    browser.evaluate("player.setLoop(true)")
    browser.press(*SPACE)
    browser.wait("player.playing && player.position > 0.1")
    began = browser.evaluate("player.began")
    for number, column in ((3, "without_mpd"), (1, "ground truth"), (5, "Griffin-Lim"), (2, "full")):
        browser.press(str(number))
        assert browser.evaluate("player.column") == column
        pressed = "[...document.querySelectorAll('.pick[aria-pressed=true]')].map((b) => b.dataset.column)"
        assert browser.evaluate(pressed) == [column]
        # One voice is heard, and none was started anew: the place is kept to the sample.
        heard = "[...player.voices].filter(([, voice]) => voice.gain.gain.value > 0.99).map(([name]) => name).join()"
        browser.wait(f"({heard}) === {json.dumps(column)}")
        assert browser.evaluate("player.began") == began
    browser.press(*RIGHT)
    browser.wait(f"player.playing && document.getElementById('now-clip').textContent === {json.dumps(CLIPS[1])}")
    assert browser.evaluate("player.column") == "full"
    browser.press(*SPACE)
    assert not browser.evaluate("player.playing")
    place = browser.evaluate("player.position")
    browser.press("4")
    assert browser.evaluate("player.position") == place
    browser.evaluate("player.seek(0.2)")
    browser.press(*RIGHT, modifiers=SHIFT)
    assert browser.evaluate("player.position") == pytest.approx(0.7)
    browser.press(*LEFT)
    browser.press(*LEFT)
    browser.wait(f"document.getElementById('now-clip').textContent === {json.dumps(CLIPS[-1])} && player.buffers.size")
    browser.press("9")
    assert browser.evaluate("player.column") == "without_mel"


@needs_browser
def test_what_is_heard_is_what_was_evaluated(browser, page):
    browser.evaluate("openClip(2, false)")
    browser.wait("player.buffers.size === 5 && clip === 2")
    for index, column in enumerate(("ground truth", "full", "without_mpd", "without_mel", "Griffin-Lim"), 1):
        (file,) = page.parent.glob(f"audio/03_*/{index}_*.wav")
        true = soundfile.read(file)[0]
        heard = browser.evaluate(f"[...player.buffers.get({json.dumps(column)}).getChannelData(0)]")
        assert np.abs(np.array(heard)[: len(true)] - true).max() < 2e-5


@needs_browser
def test_the_table_sorts_by_keyboard_and_is_coloured_by_effect(browser):
    browser.evaluate("document.querySelector('#metric-table button[data-metric=si_sdr]').focus()")
    rows = "[...document.querySelectorAll('#metric-table tbody th')].map((cell) => cell.textContent)"
    names = ["without_mpd", "full (2 seeds) (baseline)", "without_mel", "Griffin-Lim", "ground truth"]
    playing = browser.evaluate("player.playing")
    browser.press(*SPACE)
    assert browser.evaluate("player.playing") == playing
    assert browser.evaluate("document.querySelector('th[data-metric=si_sdr]').ariaSort") == "descending"
    assert browser.evaluate(rows) == names
    browser.press(*ENTER, text="\r")
    assert browser.evaluate(rows) == [*names[3::-1], names[4]]
    classes = {
        name: browser.evaluate(f"[...document.querySelectorAll('#metric-table tbody tr')].find((row) => "
                               f"row.textContent.startsWith({json.dumps(name)})).cells[1].className")
        for name in ("without_mpd", "without_mel", "full", "ground truth")
    }  # fmt: skip
    assert classes == {"without_mpd": "better", "without_mel": "worse", "full": "", "ground truth": ""}


@needs_browser
def test_everything_is_reached_by_tab_alone(browser):
    browser.evaluate("document.activeElement.blur(), scrollTo(0, 0)")
    seen = set()
    for _ in range(80):
        browser.press(*TAB)
        seen.add(browser.evaluate("document.activeElement.id || document.activeElement.dataset.column || ''"))
    assert {"previous", "clip", "next", "curve", "log", "play", "seek", "loop", "without_mpd", "Griffin-Lim"} <= seen


@needs_browser
@pytest.mark.parametrize(("width", "height", "mobile"), [(1280, 900, False), (390, 844, True)])
def test_nothing_sticks_out_on_a_screen_or_a_phone(browser, tmp_path, width, height, mobile):
    browser.resize(width, height, mobile)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    small = """[...document.querySelectorAll('main *')].filter((part) => part.childElementCount === 0
        && part.textContent.trim() && parseFloat(getComputedStyle(part).fontSize) < 11).length"""
    assert browser.evaluate(small) == 0
    browser.screenshot(tmp_path / "page.png")
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB").resize((200, 400))).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 500
