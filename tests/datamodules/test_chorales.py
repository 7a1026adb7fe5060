import collections
import zipfile

import pytest

from datamodules.bach.corpus import Chorale, ScoreError, load_chorales, read_chorale
from datamodules.bach.splits import arrange, groups
from datamodules.packing.splits import SPLITS
from framework.music.notes import Note


@pytest.fixture(scope="module")
def chorales() -> tuple[Chorale, ...]:
    return load_chorales()


def test_the_corpus_is_read_whole(chorales):
    assert len(chorales) == len({c.id for c in chorales}) == 364
    assert sum(len(voice) for c in chorales for voice in c.voices) == 84_737
    assert sum(c.quarters for c in chorales) == 19_810
    assert collections.Counter(c.time_signature for c in chorales) == {"4/4": 328, "3/4": 35, "3/2": 1}


@pytest.mark.parametrize("name", ["bwv66.6", "bwv318", "bwv248.12-2"])
def test_notes_and_key_are_those_that_music21_reads(chorales, name):
    music21 = pytest.importorskip("music21")
    score = music21.corpus.parse(f"bach/{name}")
    ours = next(c for c in chorales if c.id == name)
    for voice, part in zip(ours.voices, score.parts, strict=True):
        theirs = part.stripTies().flatten().notes
        assert [(n.onset, n.duration, n.midi) for n in voice] == [
            (float(n.offset), float(n.quarterLength), n.pitch.midi) for n in theirs if n.quarterLength
        ]
    key = score.parts[0].flatten().getElementsByClass(music21.key.Key).first()
    assert ours.key == f"{key.tonic.name.replace('-', 'b')} {key.mode}"


def test_an_unreadable_file_is_named(tmp_path):
    broken = tmp_path / "bwv0.mxl"
    broken.write_bytes(b"not a zip")
    with pytest.raises(ScoreError, match=r"bwv0\.mxl"):
        read_chorale(broken)


def test_fewer_parts_are_no_chorale(tmp_path):
    with zipfile.ZipFile(tmp_path / "solo.mxl", "w") as archive:
        archive.writestr("solo.xml", "<score-partwise><part id='P1'/></score-partwise>")
    assert read_chorale(tmp_path / "solo.mxl") is None


def test_grace_notes_are_dropped_and_ties_joined(tmp_path):
    pitch = "<pitch><step>F</step><alter>1</alter><octave>4</octave></pitch>"
    part = f"""<part><measure><attributes><divisions>2</divisions></attributes>
        <note><grace/>{pitch}</note>
        <note>{pitch}<duration>3</duration><tie type="start"/></note></measure>
        <measure><note>{pitch}<duration>4</duration><tie type="stop"/></note>
        <note>{pitch}<duration>1</duration></note></measure></part>"""
    with zipfile.ZipFile(tmp_path / "tied.mxl", "w") as archive:
        archive.writestr("tied.xml", f"<score-partwise>{part * 4}</score-partwise>")
    chorale = read_chorale(tmp_path / "tied.mxl")
    assert chorale is not None
    assert chorale.voices == ((Note(0.0, 3.5, 66), Note(3.5, 0.5, 66)),) * 4


def test_splits_share_no_piece_and_no_music(chorales):
    split = {chorale.id: name for chorale, name in arrange(chorales)}
    group = groups(chorales)
    assert len(split) == 364
    assert all(split[piece] == split[leader] for piece, leader in group.items())
    # Independent of how groups are found: a long run of bass notes, in any key, is never in two splits at once.
    found = collections.defaultdict(set)
    for chorale in chorales:
        bass = [
            (b.midi - a.midi, b.onset - a.onset) for a, b in zip(*[chorale.voices[3][i:] for i in (0, 1)], strict=False)
        ]
        for i in range(len(bass) - 23):
            found[tuple(bass[i : i + 24])].add(split[chorale.id])
    assert max(map(len, found.values())) == 1


def test_known_copies_are_one_group(chorales):
    group = groups(chorales)
    assert group["bwv398"] == group["bwv197.7-a"]
    assert group["bwv18.5-w"] == group["bwv18.5-lz"]
    assert group["bwv227.1"] == group["bwv227.11"] != group["bwv227.7"]


def test_every_beginning_of_the_order_is_a_fair_sample(chorales):
    order = arrange(chorales)
    assert arrange(chorales[::-1]) == order
    for count in (3, 10, 48, 364):
        counts = collections.Counter(split for _, split in order[:count])
        assert all(counts[split] >= 1 for split in SPLITS)
        assert all(abs(counts[split] - share * count) <= max(1.5, 0.03 * count) for split, share in SPLITS.items())


def test_the_split_of_a_piece_does_not_depend_on_the_others_of_other_music(chorales):
    whole = {chorale.id: split for chorale, split in arrange(chorales)}
    assert all(whole[chorale.id] == split for chorale, split in arrange(chorales[:40]))
