"""The score: Bach's four-part chorales, read from the files of music21's corpus without importing music21.

Importing music21 and parsing with it takes minutes; its files are zips of plain XML, read here in seconds.
"""

import functools
import importlib.util
import itertools
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from framework.errors import OstinatoError
from framework.music.notes import VOICES, Note
from framework.progress import progress

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_MAJOR = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR = ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#")
# Rounding slack in quarters: onsets are sums of binary fractions and the odd triplet.
_SLACK = 1e-6


class ScoreError(OstinatoError, ValueError):
    """The chorales are not there, or a file of theirs cannot be read."""


@dataclass(frozen=True, slots=True)
class Chorale:
    """A four-part piece: its voices (soprano, alto, tenor, bass) have one note at a time, onsets in quarters.

    `key` is the written key ("G major", "E minor"), `time_signature` the first one ("4/4"), `fermatas` the ends of the
    phrases: where the soprano's notes that are held end.
    """

    id: str
    voices: tuple[tuple[Note, ...], ...]
    key: str
    time_signature: str
    fermatas: tuple[float, ...] = ()

    @property
    def tonality(self) -> int:
        """The written key as a number: 0 to 11 is C major to B major, 12 to 23 C minor to B minor."""
        tonic, mode = self.key.split()
        accidentals = tonic.count("#") - tonic.count("b")
        return (_SEMITONES[tonic[0]] + accidentals) % 12 + 12 * (mode == "minor")

    @property
    def quarters(self) -> float:
        """Length in quarters, to the end of the last note."""
        return max(voice[-1].end for voice in self.voices)


@functools.cache
def load_chorales() -> tuple[Chorale, ...]:
    """Read the chorales of music21's corpus, in order of their file names (once a process).

    Only pieces of exactly four parts, each with one note at a time, are taken. Tied notes are one note; grace notes are
    left out.

    Raises:
        ScoreError: music21 is not installed, has no chorales, or one of its files cannot be read.
    """
    package = importlib.util.find_spec("music21")
    if package is None or package.origin is None:
        raise ScoreError("the chorales are read from music21's corpus, which is not installed: pip install music21")
    folder = Path(package.origin).parent / "corpus" / "bach"
    paths = progress(sorted(folder.glob("*.mxl")), "reading chorales", unit="files")
    chorales = (read_chorale(path) for path in paths)
    found = tuple(chorale for chorale in chorales if chorale is not None)
    if not found:
        raise ScoreError(f"no chorales in {folder}: pip install --force-reinstall music21")
    return found


def read_chorale(path: Path) -> Chorale | None:
    """Read one compressed MusicXML file; `None` if it is not a piece of four monophonic parts.

    Raises:
        ScoreError: the file cannot be read.
    """
    try:
        root = _score(path)
        parts = root.findall("part")
        voices = tuple(tuple(_notes(part)) for part in parts) if len(parts) == len(VOICES) else ()
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ScoreError(f"{path} cannot be read ({error}): pip install --force-reinstall music21") from error
    if len(voices) != len(VOICES) or not all(map(_is_monophonic, voices)):
        return None
    return Chorale(path.stem, voices, _key(root), _time_signature(root), _fermatas(parts[0]))


def _score(path: Path) -> ElementTree.Element:
    with zipfile.ZipFile(path) as archive:
        names = (name for name in archive.namelist() if not name.startswith("META-INF"))
        scores = [name for name in names if name.endswith((".xml", ".musicxml"))]
        return ElementTree.fromstring(archive.read(scores[0]))


def _is_monophonic(voice: Sequence[Note]) -> bool:
    return bool(voice) and all(a.end <= b.onset + _SLACK for a, b in itertools.pairwise(voice))


def _notes(part: ElementTree.Element) -> list[Note]:
    """Return a part's notes in order of writing, tied notes joined."""
    notes: list[Note] = []
    tied: dict[int, int] = {}  # MIDI number -> index of the note that waits for its continuation
    for onset, duration, element in _timed(part):
        midi = _midi(element)
        if midi is None:
            continue
        ties = {tie.get("type") for tie in element.iterfind("tie")}
        held = tied.pop(midi, None) if "stop" in ties else None
        if held is not None and abs(notes[held].end - onset) < _SLACK:
            notes[held] = Note(notes[held].onset, notes[held].duration + duration, midi)
        else:
            held = len(notes)
            notes.append(Note(onset, duration, midi))
        if "start" in ties:
            tied[midi] = held
    return notes


def _fermatas(part: ElementTree.Element) -> tuple[float, ...]:
    """Return where a part's notes with a fermata end, in quarters."""
    held = (onset + duration for onset, duration, note in _timed(part) if note.find("notations/fermata") is not None)
    return tuple(sorted(set(held)))


def _timed(part: ElementTree.Element) -> Iterator[tuple[float, float, ElementTree.Element]]:
    """Yield (onset, duration, element) in quarters for each note and rest of a part, without grace notes."""
    divisions, measure_start = 1, 0.0
    for measure in part.iterfind("measure"):
        position = chord_onset = measure_end = measure_start
        for element in measure:
            if element.tag == "attributes":
                divisions = int(element.findtext("divisions") or divisions)
            if element.tag not in ("note", "backup", "forward") or element.find("grace") is not None:
                continue
            duration = float(element.findtext("duration") or 0) / divisions
            if element.tag == "backup":
                position -= duration
                continue
            onset = chord_onset if element.find("chord") is not None else position
            position = max(position, onset + duration)
            chord_onset, measure_end = onset, max(measure_end, position)
            if element.tag == "note":
                yield onset, duration, element
        measure_start = measure_end


def _midi(note: ElementTree.Element) -> int | None:
    """Return a note's MIDI number, `None` for a rest."""
    pitch = note.find("pitch")
    if pitch is None:
        return None
    step, octave = pitch.findtext("step", ""), int(pitch.findtext("octave", ""))
    return 12 * (octave + 1) + _SEMITONES[step] + round(float(pitch.findtext("alter") or 0))


def _key(root: ElementTree.Element) -> str:
    fifths = int(root.findtext(".//key/fifths") or 0)
    mode = root.findtext(".//key/mode") or "major"
    return f"{(_MINOR if mode == 'minor' else _MAJOR)[fifths + 7]} {mode}"


def _time_signature(root: ElementTree.Element) -> str:
    return f"{root.findtext('.//time/beats', '4')}/{root.findtext('.//time/beat-type', '4')}"
