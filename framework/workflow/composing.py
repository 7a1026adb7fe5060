"""Composing a whole piece, from its form to its sound; every layer can be replaced by the user's own."""

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datamodules.bach.songs import STEPS, within_ranges
from framework.audio.files import check_finite, save_audio
from framework.audio.mel import PRESETS
from framework.audio.resample import resample
from framework.composition.cascade import number_of, write_form, write_level
from framework.composition.forms import form_of, form_text
from framework.composition.page import write_page
from framework.composition.playing import RATE, in_seconds, mixed, own_stems, sampled, through
from framework.errors import InvalidValueError
from framework.hyperparameters import nearest
from framework.music.midi.reader import read_score
from framework.music.midi.score import described
from framework.music.notes import VOICES, Note
from framework.music.song_files import load_song, save_song
from framework.music.song_midi import MidiVoices, save_midi, voices_of
from framework.music.songs import Song
from framework.music.soundfont import SOLOS
from framework.music.structure import structure
from framework.outputs import check_outputs, output_file
from framework.progress import busy, progress
from framework.runs.finding import RunNotFoundError
from framework.tracking.media import log_mel_picture
from framework.workflow.plan import Plan, resolve
from framework.workflow.runs import find_run
from framework.workflow.trained import load_trained, open_trained
from framework.workflow.training import train

INSTRUMENTS = ("violin", "viola", "viola", "cello")
"""Instruments of the four voices."""
LEVELS = ("wholesong_bach_form", "wholesong_bach_skeleton", "wholesong_bach_outer", "wholesong_bach_voices")
LAYERS = ("form.json", "skeleton.json", "outer.json", "voices.json", "song.json", "song.mid")
"""Files of the levels in the folder of a piece, in order, and those of the whole piece."""
TEMPO = 76.0
_LONGEST = 128  # beats
_KEYS = range(-5, 7)
_RANGES = {"soprano": (57, 81), "alto": (53, 74), "tenor": (48, 69), "bass": (36, 64)}


@dataclass(frozen=True)
class Settings:
    """How a piece is composed and played.

    Args:
        seed: The same seed gives the same piece, to the byte.
        form: Letters of the phrases, as `ABA` or `A8B12A8` (lengths in beats).
        output: The mix (wav, flac), or a folder for it; its layers and page go to a folder next to it.
        tempo: Beats per minute; by default 76, or that of the score.
        instruments: Sampled instruments of the voices.
        through: Trained runs that play the voices.
        start: The JSON file of a level to continue from.
        score: A MIDI file to play instead of composing.
        stems: A folder of recordings that replace or join the voices.
        lufs: Loudness of the mix (ITU-R BS.1770).
        train: Whether levels are trained first that are not trained yet.
        runs: Folder of all runs.
        overwrite: Whether files that exist are replaced.
    """

    seed: int = 0
    form: str = ""
    output: str = "song.wav"
    tempo: float | None = None
    instruments: Sequence[str] = INSTRUMENTS
    through: Sequence[str] = ()
    start: str = ""
    score: str = ""
    stems: str = ""
    lufs: float = -16.0
    train: bool = False
    runs: str = "runs"
    overwrite: bool = False


@dataclass(frozen=True)
class Composed:
    """A piece that was composed.

    Args:
        path: The mix.
        folder: Folder of its layers, with the page `index.html`.
        seconds: Length of the mix.
        loudness: Integrated loudness of the mix (LUFS).
    """

    path: Path
    folder: Path
    seconds: float
    loudness: float


def compose(**options: Any) -> Composed:
    """Compose a piece by four trained levels, or play a score; mix it, and write a page with all layers.

    Args:
        options: The values of `Settings` that are not the default ones.

    Raises:
        InvalidValueError: a value is wrong, or a level is not trained.
        OutputError: a file exists, or cannot be written.
    """
    settings = Settings(**options)
    output = check(settings)
    folder = output.with_suffix("")
    wanted = form_of(settings.form, _LONGEST) if settings.form else ()
    given = own_stems(Path(settings.stems)) if settings.stems else {}
    score = scored(Path(settings.score)) if settings.score else None
    song = started(Path(settings.start)) if settings.start else None
    layers = () if score else LAYERS[made_levels(song) :]
    source = settings.start or settings.score
    check_outputs([output, *replaced(folder, layers, source)], settings.overwrite)
    known = {name: open_trained(resolve(name, runs=settings.runs)).system for name in dict.fromkeys(settings.through)}
    trained = [known[name] for name in settings.through]
    percussion = frozenset[str]()
    if score:
        voices, tempo, percussion = score
        beat = 60 / (settings.tempo or tempo)
        performed = {n: [Note(x.onset * beat, x.duration * beat, x.midi) for x in v] for n, v in voices.items()}
    else:
        systems = levels(LEVELS[made_levels(song) :], settings.runs, settings.train)
        folder.mkdir(parents=True, exist_ok=True)
        song = written(settings, song, systems, wanted, folder)
        performed = in_seconds(song, settings.tempo or TEMPO)
    folder.mkdir(parents=True, exist_ok=True)
    stems = play(performed, settings, trained, given, percussion)
    with busy(f"mixing and writing {output}"):
        mix, loudness = mixed(list(stems.values()), settings.lufs)
        save_audio(output, torch.from_numpy(mix), RATE)
        clear(folder, layers, source)
        finish(output, folder, settings, song, performed, stems, mix)
    return Composed(output, folder, len(mix) / RATE, loudness)


def check(settings: Settings) -> Path:
    """Check the arguments; return the file to write.

    Raises:
        InvalidValueError: an argument is wrong.
        OutputError: the output ends like a file that cannot be written.
    """
    if settings.seed < 0:
        raise InvalidValueError(f"--seed {settings.seed}: a seed is 0 or more")
    if settings.tempo is not None and not 20 <= settings.tempo <= 300:
        raise InvalidValueError(f"--tempo {settings.tempo:g}: a tempo is 20 to 300 beats a minute")
    if not -60 <= settings.lufs <= 0:
        raise InvalidValueError(f"--lufs {settings.lufs:g}: loudness is -60 to 0 LUFS")
    for name in settings.instruments:
        if name not in SOLOS:
            raise InvalidValueError(f"--instruments: there is no {name!r}: {nearest(name, SOLOS)}")
    if sum(bool(part) for part in (settings.form, settings.start, settings.score)) > 1:
        raise InvalidValueError("--form, --start and --score are three ways to begin: give one of them")
    output = output_file(settings.output, "song.wav", (".wav", ".flac"))
    folder = output.with_suffix("")
    own, written = Path(settings.stems).resolve(), (folder / "stems").resolve()
    if settings.stems and (own.is_relative_to(written) or written.is_relative_to(own)):
        raise InvalidValueError(
            f"--stems {settings.stems}: {folder / 'stems'} is written anew: copy your recordings to another folder"
        )
    return output


def replaced(folder: Path, layers: Collection[str], source: str) -> Iterator[Path]:
    """Yield the files in a piece's folder that are written, and those of an earlier piece that are removed.

    Args:
        folder: Folder of the piece.
        layers: Which of `LAYERS` are written.
        source: Path of what the piece continues from.
    """
    names = layers if _is_in(source, folder) else LAYERS
    yield from (folder / name for name in ("index.html", "spectrogram.png", *names))
    yield from sorted((folder / "stems").glob("*.wav"))


def scored(path: Path) -> MidiVoices:
    """Return the voices of a MIDI file, and print what was not understood in it.

    Raises:
        MidiError: the file cannot be read as MIDI, or has no notes.
    """
    score = read_score(path)
    if score.remarks:
        print(f"score:   {path}: {described(score.remarks)}")
    return voices_of(score, path)


def started(path: Path) -> Song:
    """Return the song of a level's JSON.

    Raises:
        InvalidValueError: levels have still to be written, and work on another grid.
    """
    song = load_song(path)
    if made_levels(song) < len(LEVELS) and (song.unit, song.steps) != (1, STEPS):
        raise InvalidValueError(
            f"--start {path}: its grid has unit {song.unit} and {song.steps} steps a beat, the levels' 1 and {STEPS}: "
            f"name a level that a song left"
        )
    return song


def made_levels(song: Song | None) -> int:
    """Return how many of the levels a song has been through: up to the last whose voices are all there."""
    if song is None:
        return 0
    voices = (set(VOICES), {"soprano", "bass"}, {"skeleton"})
    return next((len(LEVELS) - n for n, level in enumerate(voices) if level <= song.voices.keys()), 1)


def levels(names: Sequence[str], runs: str | Path, train_missing: bool) -> list[Any]:
    """Return levels with the weights of their newest runs.

    Args:
        names: Names of the levels' experiments.
        runs: Folder of all runs.
        train_missing: Whether levels are trained whose runs are not finished.

    Raises:
        InvalidValueError: some are not trained.
    """
    plans = [resolve(name, runs=runs) for name in names]
    if train_missing:
        # A run that was interrupted has a checkpoint, too, and is resumed from it.
        for plan in plans:
            if plan.folder().summary() is None:
                train(plan)
    elif missing := [plan.name for plan in plans if not is_trained(plan)]:
        elsewhere = "" if str(runs) == "runs" else f" --runs {shlex.quote(str(runs))}"
        commands = ", ".join(f"`ostinato fit {name}{elsewhere}`" for name in missing)
        raise InvalidValueError(f"not trained yet: {commands}; or give --train, which does that first (minutes each)")
    return [load_trained(plan).system for plan in plans]


def is_trained(plan: Plan) -> bool:
    """Return whether there is a run with a checkpoint."""
    try:
        return bool(find_run(plan.described, plan.data, plan.identity(manifest=""), plan.runs).checkpoints)
    except RunNotFoundError:
        return False


def written(settings: Settings, song: Song | None, systems: list[Any], wanted: tuple, folder: Path) -> Song:
    """Return the piece that the levels write, from the form or from what there is on; each is kept in the folder."""
    if song is None:
        form, *systems = systems
        with busy("writing the form"):
            phrases = write_form(form, settings.seed, wanted)
        song = Song(f"seed {settings.seed}", 1, systems[-1].layout.beat_rows, phrases)
        save_song(folder / "form.json", song)
    print(f"form:    {form_text(song.phrases)}")
    for level in systems:
        song = write_level(level, song, settings.seed)
        save_song(folder / f"{level.layout.title}.json", song)
    if systems:
        song = in_its_key(within_ranges(song), settings.seed)
    save_song(folder / "song.json", song)
    save_midi(folder / "song.mid", {name: song.voices[name] for name in VOICES}, song.steps, settings.tempo or TEMPO)
    return song


def in_its_key(song: Song, seed: int) -> Song:
    """Return a song in a key that its seed draws among those that singers could sing."""

    def outside(semitones: int) -> int:
        return sum(
            not low <= note.midi + semitones <= high for n, (low, high) in _RANGES.items() for note in song.voices[n]
        )

    least = min(map(outside, _KEYS))
    fitting = [semitones for semitones in _KEYS if outside(semitones) == least]
    return replace(song.transposed(fitting[number_of(seed, "key") % len(fitting)]), name=song.name)


def play(
    performed: dict[str, list[Note]],
    settings: Settings,
    trained: list[Any],
    given: dict[str, np.ndarray],
    percussion: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """Return a stem of each voice: one's own, or a sampled instrument's, through a trained system if there is one.

    Percussion is always the drum kit's: trained systems play pitches.

    Raises:
        NotFiniteError: a system makes NaN or infinite samples.
    """
    with busy("playing the sampled instruments"):
        stems = sampled(performed, settings.instruments, percussion)
    order = list(stems)
    voices = [name for name in order if name not in given and name not in percussion] if trained else []
    for name in progress(voices, "playing through trained systems", unit="voices"):
        system = trained[min(order.index(name), len(trained) - 1)]
        stems[name] = through(system, stems[name], performed[name], settings.seed)
        check_finite(torch.from_numpy(stems[name]), f"{name} played by {type(system).__name__}")
    return stems | given


def clear(folder: Path, layers: Collection[str], source: str) -> None:
    """Take away what an earlier piece left in a folder.

    Args:
        folder: Folder of the piece.
        layers: Which of `LAYERS` this piece has written.
        source: Path of what it goes on from: where that is in the folder, the layers beside it are this piece's own.
    """
    if not _is_in(source, folder):
        for name in set(LAYERS) - set(layers):
            (folder / name).unlink(missing_ok=True)
    # Behind a link are somebody's own recordings.
    if not (folder / "stems").is_symlink():
        for stem in (folder / "stems").glob("*.wav"):
            stem.unlink()


def _is_in(source: str, folder: Path) -> bool:
    return bool(source) and Path(source).resolve().parent == folder.resolve()


def finish(
    output: Path,
    folder: Path,
    settings: Settings,
    song: Song | None,
    performed: dict[str, list[Note]],
    stems: dict[str, np.ndarray],
    mix: np.ndarray,
) -> None:
    """Write stems, spectrogram and page."""
    for name, stem in stems.items():
        save_audio(folder / "stems" / f"{name}.wav", torch.from_numpy(stem), RATE)
    preset = PRESETS["hifigan_22k"].full_band()
    audio = resample(mix[None], RATE, preset.sample_rate)
    log_mel_picture({output.name: torch.from_numpy(audio)}, preset).save(folder / "spectrogram.png")
    measured = {} if song is None else asdict(structure(song))
    files = [name for name in LAYERS if (folder / name).exists()] + [f"stems/{name}.wav" for name in sorted(stems)]
    said = {n: v for n, v in vars(settings).items() if v not in ("", [], (), None)}
    write_page(folder, output.stem, f"../{output.name}", song, performed, measured, files, said)
