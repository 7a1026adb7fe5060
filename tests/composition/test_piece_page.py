"""The page of a composed piece: well-formed, complete, and with every name as text."""

import math
import xml.etree.ElementTree as ElementTree

from framework.composition.page import write_page
from framework.music.notes import Note
from framework.music.songs import Phrase, Song


def test_names_are_text_and_every_note_is_drawn(tmp_path):
    song = Song("one", 1, 4, (Phrase(0, 4, 0, 0), Phrase(1, 8, 9, 0)))
    voices = {"<b>soprano</b>": [Note(0, 1, 60), Note(1, 1, 64)], "bass": [Note(0, 2, 48)]}
    measured = {"key_coherence": 0.5, "undefined": math.nan}
    page = write_page(
        tmp_path, "A & <i>B</i>", "../mix.wav", song, voices, measured, ["bass.wav", 'a"b.mid'], {"x": "</pre>"}
    )
    text = page.read_text().replace("<!doctype html>", "")
    assert "<b>soprano" not in text
    assert "<i>B" not in text
    assert "</pre>\n</body>" in text
    assert text.count('height="6"') == 3
    form, score = (
        ElementTree.fromstring(f"<svg{part.partition('</svg>')[0]}</svg>") for part in text.split("<svg")[1:]
    )
    assert [t.text for t in form.iter("text")] == ["A (4)", "C major", "B (8)", "A minor"]
    assert sum(float(bar.get("width")) for bar in form.iter("rect")) == 1100
    assert [t.text for t in score.iter("text")] == ["C3", "C4", "<b>soprano</b>", "bass"]
    assert "<tr><td>undefined</td><td>-</td></tr>" in text
    assert text.count("<audio") == 2
