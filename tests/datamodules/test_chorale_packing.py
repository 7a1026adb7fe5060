import io
import json
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datamodules import chorale_packing
from datamodules.chorale_clips import Recipe
from datamodules.chorale_packing import pack_once, packed_name
from datamodules.chorales import VOICES
from datamodules.shards import SPLITS, read_manifest

RECIPE = Recipe(16_000, ("piano", "choir"), 6.0)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / packed_name(3, RECIPE)
    pack_once(folder, 3, RECIPE)
    return folder


def members(folder: Path, split: str) -> dict[str, dict[str, bytes]]:
    clips: dict[str, dict[str, bytes]] = {}
    for shard in sorted((folder / split).glob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                key, _, name = member.name.partition(".")
                clips.setdefault(key, {})[name] = file.read()
    return clips


def test_three_pieces_fill_three_splits(packed):
    manifest = read_manifest(packed)
    assert all(manifest["clips"][split] > 0 for split in SPLITS)
    pieces = [{json.loads(clip["json"])["piece"] for clip in members(packed, split).values()} for split in SPLITS]
    assert [len(in_split) for in_split in pieces] == [1, 1, 1]
    assert len(set.union(*pieces)) == 3


def test_a_packed_clip_is_whole(packed):
    for split in SPLITS:
        for clip in members(packed, split).values():
            facts = json.loads(clip["json"])
            mix, rate = soundfile.read(io.BytesIO(clip["wav"]), dtype="int16")
            stems = [soundfile.read(io.BytesIO(clip[f"{voice}.flac"]), dtype="int16")[0] for voice in VOICES]
            assert (np.sum(stems, axis=0, dtype=int) == mix).all()
            assert (rate, len(mix)) == (16_000, facts["samples"])
            assert facts["split"] == split
            f0 = np.load(io.BytesIO(clip["f0.npy"]))
            assert f0.shape == (4, int(np.ceil(facts["seconds"] * facts["frame_rate"])))
            assert np.load(io.BytesIO(clip["notes.npy"])).shape[1] == 4


def test_packing_again_gives_the_same_bytes(packed, tmp_path):
    pack_once(tmp_path / "again", 3, RECIPE)
    files = sorted(file.relative_to(packed) for file in packed.rglob("*") if file.is_file())
    assert len(files) == 7
    assert files == sorted(f.relative_to(tmp_path / "again") for f in (tmp_path / "again").rglob("*") if f.is_file())
    assert all((packed / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def pretend_to_pack(partial: Path, pieces: int, recipe: Recipe) -> None:
    (partial / "dataset.json").write_text(json.dumps({"pieces": pieces}))


def test_a_killed_packing_is_not_taken_for_whole(tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    code = f"""if True:
        from pathlib import Path
        from datamodules.chorale_packing import Recipe, pack_once
        pack_once(Path({str(folder)!r}), 200, {RECIPE!r})"""
    packing = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while packing.poll() is None and not list(tmp_path.glob("killed.partial-*/train")):
        time.sleep(0.05)
    packing.kill()
    packing.wait()
    assert not folder.exists()
    assert list(tmp_path.glob("killed.partial-*"))
    monkeypatch.setattr(chorale_packing, "_pack", pretend_to_pack)
    pack_once(folder, 3, RECIPE)
    assert read_manifest(folder)["pieces"] == 3
    assert not list(tmp_path.glob("killed.partial-*"))


def test_of_several_at_once_one_packs(tmp_path, monkeypatch):
    packings = []

    def slow(partial: Path, pieces: int, recipe: Recipe) -> None:
        packings.append(partial)
        time.sleep(0.3)
        pretend_to_pack(partial, pieces, recipe)

    monkeypatch.setattr(chorale_packing, "_pack", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: pack_once(tmp_path / "data", 3, RECIPE), range(4)))
    assert len(packings) == 1
    assert (tmp_path / "data" / "dataset.json").exists()


def test_a_failed_packing_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="364 chorales, 365 were asked for"):
        pack_once(tmp_path / "data", 365, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["data.lock"]


def test_the_name_depends_on_the_recipe():
    names = {
        packed_name(3, RECIPE),
        packed_name(4, RECIPE),
        packed_name(3, Recipe(22_050, RECIPE.instruments, 6.0)),
        packed_name(3, Recipe(16_000, ("piano",), 6.0)),
        packed_name(3, Recipe(16_000, RECIPE.instruments, 7.0)),
    }
    assert len(names) == 5
    assert packed_name(3, RECIPE) in names
