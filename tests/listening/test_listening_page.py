"""The pages of the tests in a real browser, by keyboard: served and from the disk, reloaded, and without a server."""

import json

import pytest
from evaluation.chromium import Browser, chromium
from listening.made_comparisons import comparison

from framework.listening.answers import ANSWERS, import_answers, read_answers
from framework.listening.make import make_test
from framework.listening.plan import load_plan
from framework.listening.server import serving

SPACE, LEFT, RIGHT, ENTER = (" ", 32), ("ArrowLeft", 37), ("ArrowRight", 39), ("Enter", 13)
ENTERS = {"text": "\r"}
pytestmark = pytest.mark.skipif(chromium() is None, reason="no chromium is installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = comparison(tmp_path_factory.mktemp("pages"), clips=["one", "two"])
    return {kind: make_test(made, kind, None, 0, False) for kind in ("mushra", "mos", "ab")}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def visit(browser, url):
    """Open a page, and begin if nobody has."""
    browser.messages.clear()
    browser.call("Page.navigate", url=url)
    browser.wait("document.readyState === 'complete' && typeof test === 'object' && test")
    begun(browser)


def begun(browser):
    if browser.evaluate("!document.getElementById('welcome').hidden"):
        browser.evaluate("document.getElementById('begin').focus()")
        browser.press(*ENTER, **ENTERS)
    browser.wait("document.getElementById('welcome').hidden && (!current || player.buffers.size)")


def complaints(browser, *own):
    """Return what the browser complained of, but for requests to the server's own address."""
    found = browser.complaints()
    browser.messages.clear()
    return [text for text in found if not any(text.startswith(f"foreign request {url}") for url in own)]


def on(browser, index):
    browser.wait(f"typeof current === 'object' && current && current.index === {index} && player.buffers.size > 0")


def fits(browser):
    """Say that nothing sticks out, nothing is too small to read, and every control has a name."""
    for width, height, mobile in ((390, 844, True), (1280, 900, False)):
        browser.resize(width, height, mobile)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        small = """[...document.querySelectorAll('body *')].filter((part) => part.childElementCount === 0 &&
            part.offsetParent && part.textContent.trim() && parseFloat(getComputedStyle(part).fontSize) < 11).length"""
        assert browser.evaluate(small) == 0
    unnamed = """[...document.querySelectorAll('button, a, input')].filter((part) => part.offsetParent &&
        !(part.ariaLabel || part.textContent.trim() || part.closest('label'))).map((part) => part.outerHTML)"""
    assert browser.evaluate(unnamed) == []


def test_mushra_by_keyboard_alone_with_a_reload_between(browser, folders):
    folder, expected = folders["mushra"], {}
    plan = load_plan(folder)
    with serving(folder, 0) as server:
        visit(browser, server.url)
        for index in range(2):
            on(browser, index)
            fits(browser)
            stimuli = browser.evaluate("current.stimuli")
            browser.press("R")
            browser.wait("player.playing && player.column === current.reference")
            began = browser.evaluate("player.began")
            for place, letter in enumerate("ABCDEFG"):
                browser.press(letter)
                assert browser.evaluate("player.column") == stimuli[place]
                assert browser.evaluate("document.activeElement.dataset.slider") == stimuli[place]
                heard = "[...player.voices].filter(([, v]) => v.gain.gain.value > 0.99).map(([name]) => name).join()"
                browser.wait(f"({heard}) === {json.dumps(stimuli[place])}")
                assert browser.evaluate("player.began") == began, "one place in the music, whichever is heard"
                assert browser.evaluate("document.getElementById('next').disabled")
                for _ in range(place + index):
                    browser.press(*RIGHT)
                if place + index == 0:
                    browser.press(*RIGHT)
                    browser.press(*LEFT)
            expected[browser.evaluate("current.trial.id")] = {s: 50 + place + index for place, s in enumerate(stimuli)}
            if index:
                browser.call("Page.reload")
                on(browser, index)
                assert browser.evaluate("document.querySelectorAll('.unrated').length") == 0, "as it was left"
            browser.wait("!document.getElementById('next').disabled")
            browser.press(*ENTER, **ENTERS)
        browser.wait("document.getElementById('stored').textContent === 'That was all. Your answers are stored.'")
        stored = read_answers(plan, folder / ANSWERS)
        assert {trial: ratings for (_, trial), ratings in stored.last.items()} == expected
        (form,) = stored.forms.values()
        order = [plan.trials[number].id for number, _ in plan.forms[form]]
        assert list(expected) == order
        assert complaints(browser, server.url) == []


def test_mos_from_the_disk_saves_a_file_that_is_taken_in(browser, folders, tmp_path):
    folder = folders["mos"]
    plan = load_plan(folder)
    browser.call("Page.navigate", url="about:blank")
    visit(browser, (folder / "page" / "index.html").resolve().as_uri())
    expected = {}
    for index in range(10):
        on(browser, index)
        assert browser.evaluate("document.querySelector('.choices').disabled"), "nothing is rated before it was heard"
        if index == 0:
            browser.press("4")
            assert browser.evaluate("Object.keys(current.ratings).length") == 0
            browser.press(*SPACE)
            fits(browser)
        browser.wait("!document.querySelector('.choices').disabled && !player.playing")
        browser.press(str(1 + index % 5))
        (stimulus,) = browser.evaluate("current.stimuli")
        expected[browser.evaluate("current.trial.id")] = {stimulus: 1 + index % 5}
        browser.press(*ENTER, **ENTERS)
    browser.wait("!document.getElementById('finish').hidden")
    browser.call("Page.reload")
    browser.wait("document.getElementById('save')?.href.startsWith('blob:')")
    fits(browser)
    text = browser.evaluate("fetch(document.getElementById('save').href).then((file) => file.text())")
    (tmp_path / "answers.json").write_text(text)
    list(import_answers({plan.id: folder}, [tmp_path]))
    stored = read_answers(plan, folder / ANSWERS)
    assert {trial: ratings for (_, trial), ratings in stored.last.items()} == expected
    assert complaints(browser) == []


def test_ab_keeps_answers_while_the_server_is_away_and_serves_one_listener_after_another(browser, folders):
    folder = folders["ab"]
    plan = load_plan(folder)
    with serving(folder, 0) as server:
        url, port = server.url, server.server_address[1]
        visit(browser, url)
        on(browser, 0)
        fits(browser)
        assert complaints(browser, url) == []
        # Sounds of all trials, so that the page needs the server for answers alone.
        browser.evaluate("Promise.all(test.trials.map(({ id, script }) => clipSounds({ name: id, script })))")
    choices = [1, 2, 3, 3]
    for index, choice in enumerate(choices):
        on(browser, index)
        browser.press(str(choice))
        assert browser.evaluate("Object.keys(current.ratings).length") == 0, "both are heard first"
        browser.press("A")
        browser.wait("player.playing")
        browser.press("B")
        browser.press(str(choice))
        browser.wait("!document.getElementById('next').disabled")
        browser.press(*ENTER, **ENTERS)
        if index == 0:
            browser.wait("document.getElementById('status').textContent.startsWith('Not sent')")
    browser.wait("document.getElementById('stored').textContent.includes('4 answers could not be sent')")
    browser.messages.clear()
    with serving(folder, port):
        browser.evaluate("document.getElementById('again').click()")
        browser.wait("document.getElementById('stored').textContent === 'That was all. Your answers are stored.'")
        browser.evaluate("document.getElementById('other').click()")
        begun(browser)
        on(browser, 0)
        assert complaints(browser, url) == []
        stored = read_answers(plan, folder / ANSWERS)
    first, second = stored.forms
    assert stored.forms == {first: 0, second: 1}
    given = [stored.last[first, plan.trials[number].id] for number, _ in plan.forms[0]]
    sides = [[plan.trials[number].stimuli[i].id for i in heard] for number, heard in plan.forms[0]]
    wanted = {1: (1, 0), 2: (0, 0), 3: (0, 1)}
    assert [tuple(g[s] for s in pair) for g, pair in zip(given, sides, strict=True)] == [wanted[c] for c in choices]
