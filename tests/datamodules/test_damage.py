"""Training on damaged shards: what cannot be used is replaced and counted by its kind, and a resume forgets none."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import encode_audio, to_pcm

RATE, CLIPS = 22_050, 24


def tone(number: int) -> np.ndarray:
    return 0.6 * np.sin(0.02 * (number + 3) * np.arange(6_000))


def clip(number: int, form: str) -> list[tuple[str, bytes]]:
    facts = json.dumps({"sample_rate": RATE, "samples": 6_000, "peak": 0.6}).encode()
    return [(f"c{number}.{form}", encode_audio(to_pcm(tone(number)), RATE, form)), (f"c{number}.json", facts)]


def write(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def offsets(path):
    """Header and payload of the sound of the clip in the middle, and of its json."""
    with tarfile.open(path) as tar:
        sound, told = (m for m in tar.getmembers() if m.name.startswith(f"c{CLIPS // 2}."))
    return sound.offset, sound.offset_data, told.offset, told.offset_data


def cut(place):
    return lambda data, places: data[: place(*places)]


def flip(place):
    def damage(data, places):
        changed = bytearray(data)
        changed[place(*places)] ^= 16
        return bytes(changed)

    return damage


SHARD = {
    "cut inside a header": cut(lambda header, payload, told, text: header + 100),
    "cut behind a header": cut(lambda header, payload, told, text: payload),
    "cut inside the sound": cut(lambda header, payload, told, text: payload + 3_001),
    "cut between members": cut(lambda header, payload, told, text: told),
    "cut inside the json's header": cut(lambda header, payload, told, text: told + 511),
    "cut inside the json": cut(lambda header, payload, told, text: text + 5),
    "cut between clips": cut(lambda header, payload, told, text: header),
    "a flipped bit in a name": flip(lambda header, payload, told, text: header + 1),
    "a flipped bit in a size": flip(lambda header, payload, told, text: told + 128),
    "a flipped bit in a checksum": flip(lambda header, payload, told, text: header + 149),
}


def nan() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(6_000, np.nan, np.float32), RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


MIDDLE = f"c{CLIPS // 2}"
CLIP = {  # what is in the place of the middle clip, and what it counts as
    "no sound beside the json": ([(f"{MIDDLE}.json", b"{}")], "no audio"),
    "a sound without a byte": ([(f"{MIDDLE}.wav", b"")], "empty"),
    "the key of another clip": (clip(3, "wav"), "repeated key"),
    "another extension": ([(f"{MIDDLE}.m4a", clip(0, "wav")[0][1]), (f"{MIDDLE}.json", b"{}")], "no audio"),
    "samples that are no numbers": ([(f"{MIDDLE}.wav", nan()), clip(CLIPS // 2, "wav")[1]], "not finite"),
    "a json of another clip": ([clip(CLIPS // 2, "wav")[0], (f"{MIDDLE}.json", b'{"samples": 7}')], "wrong length"),
}


def data(tmp_path, **values) -> AudioFolder:
    path = f"{tmp_path}/shards/train.tar::{tmp_path}/shards/validation.tar"
    return AudioFolder(path=path, **({"segment": 2_000, "batch_size": 4, "bad_share": 0.9} | values))


def epoch(module):
    batches = [batch for batch in module.train_dataloader() if module.advance(batch) is None]
    module.teardown("fit")
    return batches


def check(tmp_path, kind):
    """Train for two epochs with and without a stop, workers and all."""
    module = data(tmp_path)
    batches = epoch(module) + epoch(module)
    assert batches
    for batch in batches:
        assert torch.isfinite(batch["audio"]).all()
        assert batch["audio"].abs().amax(-1).min() > 0.3, "no batch has silence in it"
        for key, start, audio in zip(batch["key"], batch["start"].tolist(), batch["audio"][:, 0], strict=True):
            wanted = tone(int(key[1:]))[start:][:2_000] * 0.95 / 0.6
            assert np.abs(audio.numpy() - wanted).max() < 1e-3, "and every clip is what its name says"
    assert module.bad_clips.counts == {kind: 1}
    again = data(tmp_path, workers=2)
    first = epoch(again)
    resumed = data(tmp_path)
    resumed.load_state_dict(again.state_dict())
    assert resumed.bad_clips.counts == again.bad_clips.counts
    second = epoch(resumed)
    assert [batch["key"] for batch in first + second] == [batch["key"] for batch in batches]
    assert resumed.bad_clips.counts == module.bad_clips.counts


@pytest.mark.parametrize("form", ["wav", "flac"])
@pytest.mark.parametrize("damage", SHARD.values(), ids=SHARD)
def test_what_is_sound_in_a_damaged_shard_is_trained_on(tmp_path, damage, form):
    write(tmp_path / "shards" / "validation.tar", clip(99, form))
    path = tmp_path / "shards" / "train.tar"
    write(path, [file for number in range(CLIPS) for file in clip(number, form)])
    path.write_bytes(damage(path.read_bytes(), offsets(path)))
    check(tmp_path, "lost with its shard")
    keys = {key for batch in epoch(data(tmp_path, batch_size=1)) for key in batch["key"]}
    # The clip before the damage may be incomplete: it is not trusted either, where the damage may be in it.
    assert {f"c{number}" for number in range(CLIPS // 2 - 1)} <= keys <= {f"c{n}" for n in range(CLIPS // 2 + 1)}


@pytest.mark.parametrize(("files", "kind"), CLIP.values(), ids=CLIP)
def test_a_damaged_clip_is_replaced_and_counted_by_its_kind(tmp_path, files, kind):
    write(tmp_path / "shards" / "validation.tar", clip(99, "wav"))
    sound = [clip(number, "wav") for number in range(CLIPS)]
    sound[CLIPS // 2] = files
    write(tmp_path / "shards" / "train.tar", [file for members in sound for file in members])
    check(tmp_path, kind)


def test_a_flipped_bit_in_compressed_sound_is_noticed(tmp_path):
    write(tmp_path / "shards" / "validation.tar", clip(99, "flac"))
    path = tmp_path / "shards" / "train.tar"
    write(path, [file for number in range(CLIPS) for file in clip(number, "flac")])
    places = offsets(path)
    path.write_bytes(flip(lambda header, payload, told, text: (payload + told) // 2)(path.read_bytes(), places))
    check(tmp_path, "undecodable")


def test_too_many_bad_clips_end_a_resumed_run_as_they_would_have_ended_the_first(tmp_path):
    write(tmp_path / "shards" / "validation.tar", clip(99, "wav"))
    sound = [clip(number, "wav") for number in range(CLIPS)]
    for number in (5, 9):
        sound[number] = [(f"c{number}.json", b"{}")]
    write(tmp_path / "shards" / "train.tar", [file for members in sound for file in members])
    state = data(tmp_path).state_dict() | {"bad_clips": {"c1": "undecodable", "c2": "undecodable"}}
    module = data(tmp_path, bad_share=3.5 / CLIPS)
    module.load_state_dict(state)
    with pytest.raises(ValueError, match=f"4 of {CLIPS} clips cannot be used"):
        module.train_dataloader()
    assert data(tmp_path, bad_share=3.5 / CLIPS).train_dataloader()
