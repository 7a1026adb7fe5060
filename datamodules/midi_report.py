"""What is in a folder of MIDI files, packed or not: pieces, notes, tracks, and what was not understood."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datamodules.packing.midi import is_written_music, read_folder, remark_lines
from datamodules.shards.pieces import Piece, read_pieces
from datamodules.shards.remote import is_remote
from datamodules.shards.writer import MANIFEST, SPLITS, read_data_set
from framework.music.notes import PERCUSSION

_LISTED = 10


@dataclass
class MidiReport:
    """What is in a data set of written music.

    Attributes:
        kind: What it is kept as.
        pieces: Number of each split.
        notes: Likewise.
        beats: Likewise, their length in quarter notes.
        in_four: Quarter notes of all pieces in bars of 4 beats, which is what pianorolls are cut from.
        tracks: In how many pieces a track has which name; "drums" and "unnamed" where there is none.
        hash: The hash of all pieces; "" where it is not known.
        skipped: What could not be used, and why.
        ignored: Numbers of files that are not read, by what they are.
        remarks: What was not understood in the pieces, as `Remarks.plain`.
    """

    kind: str
    pieces: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    beats: Counter[str] = field(default_factory=Counter)
    in_four: int = 0
    tracks: Counter[str] = field(default_factory=Counter)
    hash: str = ""
    skipped: list[str] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, split: str, pieces: Iterable[Piece]) -> None:
        """Count pieces of a split."""
        for piece in pieces:
            facts = piece.facts
            self.pieces[split] += 1
            self.notes[split] += len(piece.notes)
            self.beats[split] += facts["length"]
            self.in_four += sum(end - first for first, end in facts.get("in_four", []))
            named = zip(facts["tracks"], facts["programs"], strict=True)
            self.tracks.update({name or ("drums" if p == PERCUSSION else "unnamed") for name, p in named})


def midi_report(path: str) -> MidiReport | None:
    """Look through a folder of MIDI files, one that is packed, or a single file; `None` if it is something else.

    Raises:
        MidiFolderError: no MIDI file in it can be used.
        ValueError: a shard is damaged.
    """
    folder = Path(path).expanduser()
    if is_remote(path):
        return None
    if (folder / MANIFEST).exists():
        manifest = read_data_set(folder)
        if "ticks" not in manifest:
            return None
        found = MidiReport("written music, packed", hash=manifest["hash"])
        found.skipped, found.remarks = manifest.get("skipped", []), manifest.get("remarks", {})
        for split in SPLITS:
            found.add(split, read_pieces(folder, split))
        return found
    if not is_written_music(folder):
        return None
    read = read_folder(folder)
    found = MidiReport(
        "MIDI files, not packed", skipped=read.skipped, ignored=read.ignored, remarks=read.remarks.plain()
    )
    found.add("files", read.pieces.values())
    return found


def midi_lines(path: str, found: MidiReport) -> Iterator[str]:
    """Yield the lines that describe written music."""
    yield f"{path}: {found.kind}"
    for split, pieces in found.pieces.items():
        yield f"{split:12}{pieces:9,} pieces {found.notes[split]:12,} notes {found.beats[split]:12,} beats"
    yield f"{'in 4/4':12}{found.in_four:9,} beats"
    tracks = [f"{name} ({pieces:,})" for name, pieces in found.tracks.most_common(_LISTED)]
    more = f" and {len(found.tracks) - _LISTED:,} more" if len(found.tracks) > _LISTED else ""
    yield f"{'tracks':12}{', '.join(tracks)}{more}"
    if found.hash:
        yield f"{'hash':12}{found.hash}"
    yield f"{'left out':12}{len(found.skipped) or 'nothing'}"
    yield from (f"  {line}" for line in found.skipped[:_LISTED])
    if len(found.skipped) > _LISTED:
        yield f"  and {len(found.skipped) - _LISTED:,} more"
    if found.ignored:
        yield f"{'not read':12}{', '.join(f'{count:,} {kind}' for kind, count in found.ignored.items())}"
    yield f"{'remarks':12}{len(found.remarks) or 'none'}"
    yield from (f"  {line}" for line in remark_lines(found.remarks))
