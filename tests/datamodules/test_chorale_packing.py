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

from datamodules.bach.clips import Recipe
from datamodules.bach.packing import pack_chorales, packed_name
from datamodules.packing.once import make_once
from datamodules.shards.writer import SPLITS, read_manifest
from framework.music.notes import VOICES

RECIPE = Recipe(16_000, ("piano", "choir"), 6.0)


def pack(folder: Path, pieces: int = 3) -> None:
    make_once(folder, lambda partial: pack_chorales(partial, pieces, RECIPE))


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / packed_name(RECIPE, pieces=3)
    pack(folder)
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
    pack(tmp_path / "again")
    files = sorted(file.relative_to(packed) for file in packed.rglob("*") if file.is_file())
    assert len(files) == 7
    assert files == sorted(f.relative_to(tmp_path / "again") for f in (tmp_path / "again").rglob("*") if f.is_file())
    assert all((packed / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def pretend_to_pack(partial: Path) -> None:
    (partial / "dataset.json").write_text(json.dumps({"pieces": 3}))


def test_a_killed_packing_is_not_taken_for_whole(tmp_path):
    folder = tmp_path / "killed"
    code = f"""if True:
        from pathlib import Path
        from datamodules.bach.packing import pack_chorales
        from datamodules.packing.once import make_once
        from datamodules.bach.clips import Recipe
        make_once(Path({str(folder)!r}), lambda partial: pack_chorales(partial, 200, {RECIPE!r}))"""
    packing = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while packing.poll() is None and not list(tmp_path.glob(".killed.*.part/train")):
        time.sleep(0.05)
    packing.kill()
    packing.wait()
    assert not folder.exists()
    assert list(tmp_path.glob(".killed.*.part"))
    make_once(folder, pretend_to_pack)
    assert read_manifest(folder)["pieces"] == 3
    assert not list(tmp_path.glob(".killed.*.part"))


def test_of_several_at_once_one_packs(tmp_path):
    packings = []

    def slow(partial: Path) -> None:
        packings.append(partial)
        time.sleep(0.3)
        pretend_to_pack(partial)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make_once(tmp_path / "data", slow), range(4)))
    assert len(packings) == 1
    assert (tmp_path / "data" / "dataset.json").exists()


def test_a_failed_packing_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="364 chorales, 365 were asked for"):
        pack(tmp_path / "data", 365)
    assert [path.name for path in tmp_path.iterdir()] == ["data.lock"]


def test_the_name_depends_on_the_recipe():
    names = {
        packed_name(RECIPE, pieces=3),
        packed_name(RECIPE, pieces=4),
        packed_name(Recipe(22_050, RECIPE.instruments, 6.0), pieces=3),
        packed_name(Recipe(16_000, ("piano",), 6.0), pieces=3),
        packed_name(Recipe(16_000, RECIPE.instruments, 7.0), pieces=3),
    }
    assert len(names) == 5
    assert packed_name(RECIPE, pieces=3) in names
