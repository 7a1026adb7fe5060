"""The contract of data modules, which all that can be named in `data = ...` have."""

import inspect
import itertools
import pickle

import numpy as np
import pytest
import soundfile
import torch

from datamodules import (
    audio_folder,
    bach_chorales,
    chorale_levels,
    mixture,
    notes,
    one_clip,
    pianorolls,
    pop909_levels,
    stems,
)
from framework.data_module import DataModule, FromData, follow_data
from framework.generators.dcgan import PianorollDCGAN
from framework.generators.musegan.system import MuseGAN
from framework.generators.wavegan import WaveGAN

SHELF = (audio_folder, bach_chorales, chorale_levels, mixture, notes, one_clip, pianorolls, pop909_levels, stems)
SMALL = {"batch_size": 2, "segment": 1024}


class Pair(mixture.Mixture):
    """Two folders of recordings."""

    first: str = ""
    second: str = ""

    def build_parts(self):
        return tuple(audio_folder.AudioFolder(path=path, validation_share=0.5) for path in (self.first, self.second))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTINATO_CACHE", str(made / "cache"))
        for part in ("one", "two"):
            (made / part).mkdir()
            for number in range(6):
                audio = 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * np.arange(4000) / 22050)
                soundfile.write(made / part / f"{number}.wav", audio, 22050)
        yield made


def recordings(folder, **values):
    return audio_folder.AudioFolder(path=str(folder / "one"), validation_share=0.3, **SMALL | values)


MAKE = {
    "AudioFolder": recordings,
    "Mixture": lambda folder: Pair(first=str(folder / "one"), second=str(folder / "two"), **SMALL),
    "BachChorales": lambda folder: bach_chorales.BachChorales(
        pieces=3, clip_seconds=4.0, instruments=("strings",), cache=str(folder), **SMALL
    ),
    "BachStems": lambda folder: stems.BachStems(pieces=3, cache=str(folder), **SMALL),
    "Notes": lambda folder: notes.Notes(instruments=("flute",), velocities=(80,), cache=str(folder), batch_size=2),
    "BachPianorolls": lambda folder: pianorolls.BachPianorolls(batch_size=4),
    "ChoraleForms": lambda folder: chorale_levels.ChoraleForms(batch_size=4),
    "ChoraleInnerVoices": lambda folder: chorale_levels.ChoraleInnerVoices(batch_size=4),
    "OneClip": lambda folder: one_clip.OneClip(recordings(folder)),
}


def equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name], name


@pytest.mark.parametrize("name", MAKE)
def test_every_data_module_has_the_contract(name, folder):
    data, again = (MAKE[name](folder) for _ in range(2))
    assert isinstance(data, DataModule)
    data.prepare_data()
    assert data.fingerprint() == data.fingerprint() == again.fingerprint() != ""
    assert data.sample_rate > 0
    assert data.segment > 0
    assert data.position == (0, 0)
    assert data.steps_per_epoch == len(data.train_dataloader())

    # Position after three batches, over the end of the epoch where that is shorter.
    def read(module, count):
        batches = []
        while len(batches) < count:
            for batch in itertools.islice(module.train_dataloader(), count - len(batches)):
                module.advance({"position": module.position} | batch)
                batches.append(batch)
        module.teardown("fit")
        return batches

    read(data, 3)
    assert data.position == divmod(3, data.steps_per_epoch)
    state = pickle.loads(pickle.dumps(data.state_dict()))
    again.load_state_dict(state)
    assert again.position == data.position
    for one, other in zip(read(data, 2), read(again, 2), strict=True):
        equal(one, other)
    with pytest.raises(ValueError, match="cannot continue in the same order: seed was -1"):
        again.load_state_dict(state | {"seed": -1})

    held_out = data.held_out("validation", 2)
    clips = list(held_out)
    assert 0 < len(clips) <= 2
    assert len({clip["key"][0] for clip in clips}) == len(clips) == len(held_out)
    assert all(isinstance(clip.get("recording", [""])[0], str) for clip in clips)
    for one, other in zip(clips, held_out, strict=True):
        equal(one, other)
    assert data.holds_out
    assert "clip" in data.summary()
    assert type(data).__name__ in str(data)
    assert "batch_size=" in str(data)


def test_all_classes_of_the_shelf_are_data_modules():
    named = {
        cls
        for module in SHELF
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and hasattr(cls, "train_dataloader")
    }
    assert {"AudioFolder", "BachChorales", "OneClip", "Pop909Forms"} <= {cls.__name__ for cls in named}
    assert all(issubclass(cls, DataModule) for cls in named)


def test_a_system_takes_its_shape_from_the_data_and_a_contradiction_names_both_options():
    tracks = ("soprano", "bass")
    data = pianorolls.BachPianorolls(tracks=tracks, bars=2, lowest=30, beat_steps=12, pitches=84)
    expected = {"tracks": tracks, "bars": 2, "beat_steps": 12, "lowest": 30, "pitches": 84}
    assert follow_data(MuseGAN, {}, data) == expected
    assert follow_data(MuseGAN, expected, data) == {}
    message = r"--model\.tracks is \[alto\], but by --data\.tracks it is \[soprano, bass\]: leave --model\.tracks out"
    with pytest.raises(ValueError, match=message):
        follow_data(MuseGAN, {"tracks": ("alto",)}, data)
    assert follow_data(PianorollDCGAN, {}, data)["images"] == 2
    few = notes.Notes(instruments=("flute", "oboe"))
    labelled = WaveGAN.variant(label="instrument")
    assert follow_data(labelled, {}, few) == {"num_classes": 2}
    assert follow_data(labelled, {"num_classes": 3}, few) == {}
    with pytest.raises(ValueError, match=r"--model\.num_classes is 1, but by --data\.instruments it is 2"):
        follow_data(labelled, {"num_classes": 1}, few)
    assert not FromData(2, "instruments").suits(3)
