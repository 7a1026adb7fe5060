"""Remote shards: the same batches as from local ones, and every way of failing noticed."""

import contextlib
import hashlib
import http.server
import json
import os
import tarfile
import threading
import time
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.shards import remote
from datamodules.shards.remote import DownloadError, RemoteCache
from datamodules.shards.writer import ShardWriter, write_manifest
from datamodules.streaming.bad_clips import TooManyBadClipsError
from datamodules.streaming.loader import Batches, Scaling, finished
from framework.writing import is_alive

RATE = 22050


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def packed(folder, clips=24, value=0.5):
    for split, count in (("train", clips), ("validation", 3)):
        with ShardWriter(folder, split, shard_bytes=30_000) as writer:
            for number in range(count):
                audio = value * np.sin(np.arange(4000 + number) * 0.1 * (number + 1))
                writer.write(f"{split}{number}", audio, RATE)
    write_manifest(folder)
    return folder


@contextlib.contextmanager
def serving(folder, behave=None):
    """Serve a folder; `behave(path, nth request for it)` may return a status, or how many bytes to send."""
    requests: dict[str, int] = {}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self):
            requests[self.path] = requests.get(self.path, 0) + 1
            answer = behave(self.path, requests[self.path]) if behave else None
            if answer is None:
                return super().do_GET()
            status, sent = answer
            data = (folder / self.path[1:]).read_bytes()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:sent])
            self.close_connection = True
            return None

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


def batches(path, **options):
    data = AudioFolder(path=path, batch_size=4, segment=2048, **options)
    data.prepare_data()
    found = []
    for batch in data.train_dataloader():
        data.advance(batch)
        found.append(batch)
    data.teardown("fit")
    return data, found


def equal(first, second):
    return all(a["key"] == b["key"] and torch.equal(a["audio"], b["audio"]) for a, b in zip(first, second, strict=True))


def test_a_packed_folder_behind_a_server_is_the_same_data(tmp_path):
    packed(tmp_path / "data")
    local, wanted = batches(str(tmp_path / "data"), window=5)
    with serving(tmp_path / "data") as (url, requests):
        data, found = batches(url, window=5)
        assert equal(found, wanted)
        assert data.fingerprint() == local.fingerprint()
        assert [b["key"] for b in data.val_dataloader()] == [b["key"] for b in local.val_dataloader()]
    shards = {path: count for path, count in requests.items() if path.endswith(".tar")}
    assert set(shards.values()) == {1}
    _, again = batches(f"file:{tmp_path / 'data'}", window=5)
    assert equal(again, wanted)


def test_shards_named_one_by_one_by_url_pipe_or_path(tmp_path):
    folder = packed(tmp_path / "data")
    names = sorted(path.name for path in (folder / "train").glob("*.tar"))
    pattern = f"{{{','.join(name[:-4] for name in names)}}}.tar"
    with serving(folder) as (url, _):
        paths = [f"{url}/train/{pattern}", f"pipe:cat {folder}/train/{pattern}", f"{folder}/train/{pattern}"]
        found = [batches(path) for path in paths]
        assert all(equal(b, found[0][1]) for _, b in found[1:])
        assert len({data.fingerprint() for data, _ in found}) == 1
    data = found[0][0]
    assert data.shards("validation") == [data._listed[-1]]
    assert set(data.shards("train")).isdisjoint(data.shards("validation"))


def test_passing_trouble_is_overcome(tmp_path):
    folder = packed(tmp_path / "data")
    _, wanted = batches(str(folder))

    def behave(path, request):
        if path.endswith(".tar") and request < 3:
            return (503, 0) if request == 1 else (200, 5000)  # unavailable, then a dropped connection
        return None

    with serving(folder, behave) as (url, requests):
        data, found = batches(url)
    assert equal(found, wanted)
    assert not data.bad_clips.found
    assert max(requests.values()) == 3


def test_a_lost_shard_is_counted_and_too_many_end_the_run(tmp_path):
    folder = packed(tmp_path / "data")

    def behave(path, request):
        return (404, 0) if path == "/train/000001.tar" else None

    with serving(folder, behave) as (url, _):
        data, found = batches(url, bad_share=0.5)
        _, found_again = batches(url, bad_share=0.5)
        with pytest.raises(TooManyBadClipsError, match=r"000001\.tar.*404"):
            batches(url)
    lost = data.bad_clips.counts["lost with its shard"]
    assert 0 < lost < 8
    assert equal(found, found_again)
    assert len(found) == 6
    assert all(batch["audio"].abs().amax(-1).min() > 0.9 for batch in found)
    with serving(folder, behave) as (url, _), pytest.raises(ValueError, match=r"000001\.tar.*404"):
        batches(f"{url}/train/{{000000..000002}}.tar")
    with serving(folder) as (url, _), pytest.raises(DownloadError, match=r"dataset\.json"):
        batches(f"{url}/elsewhere")


def test_half_a_shard_is_never_taken_for_a_whole_one(tmp_path):
    folder = packed(tmp_path / "data")
    shard = folder / "train" / "000000.tar"
    cache = RemoteCache(attempts=2)
    for command in (f"head -c 9216 {shard}", f"cat {shard}; exit 3", "true", f"head -c 9216 {shard}; kill -9 $$"):
        with pytest.raises(DownloadError, match="pipe:"):
            cache.open(f"pipe:{command}")
    with pytest.raises(DownloadError, match="another hash"):
        cache.open(f"pipe:cat {shard}", "0" * 64)
    with pytest.raises(DownloadError, match="nosuch"):
        cache.open("nosuch://host/000.tar")
    assert not list(cache.folder.glob("*.tar"))
    assert not list(cache.folder.glob("*.part"))


def test_the_cache_keeps_names_apart_and_its_size(tmp_path):
    first, second = packed(tmp_path / "a"), packed(tmp_path / "b", value=0.25)
    size = (first / "train" / "000000.tar").stat().st_size
    with serving(tmp_path) as (url, requests):
        cache = RemoteCache(gigabytes=2.5 * size / 1e9)
        for folder in (first, second, first):
            descriptor, path = cache.open(f"{url}/{folder.name}/train/000000.tar")
            assert path.read_bytes() == (folder / "train" / "000000.tar").read_bytes()
            os.close(descriptor)
            threading.Event().wait(0.05)  # the file system's clock is coarse
        assert len(list(cache.folder.glob("*.tar"))) == 2
        os.close(cache.open(f"{url}/a/train/000001.tar")[0])
        assert len(list(cache.folder.glob("*.tar"))) == 2
        assert requests == {"/a/train/000000.tar": 1, "/b/train/000000.tar": 1, "/a/train/000001.tar": 1}
        os.close(cache.open(f"{url}/a/train/000000.tar")[0])
    assert requests["/a/train/000000.tar"] == 1, "the least recently used one went"
    data = AudioFolder(path=str(first), cache_gigabytes=1e-9)
    assert data.shards("train")
    with serving(first) as (url, _), pytest.raises(ValueError, match="cache_gigabytes"):
        batches(url, cache_gigabytes=1e-9)


def _open(url, sha256):
    os.close(RemoteCache().open(url, sha256)[0])


def test_several_processes_download_once(tmp_path):
    packed(tmp_path / "data")
    with serving(tmp_path / "data") as (url, requests):
        context = get_context("fork")
        processes = [context.Process(target=_open, args=(f"{url}/train/000000.tar", "")) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
    assert requests == {"/train/000000.tar": 1}


def test_a_silent_server_does_not_hang_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", 0.2)
    folder = packed(tmp_path / "data")
    blocked = threading.Event()

    def behave(path, request):
        blocked.wait(10)

    with serving(folder, behave) as (url, _):
        with pytest.raises(DownloadError, match="timed out"):
            RemoteCache(attempts=2).open(f"{url}/train/000000.tar")
        blocked.set()


def test_a_slow_server_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT", 1.0)
    folder = packed(tmp_path / "data")
    shard = folder / "train" / "000000.tar"
    data = shard.read_bytes()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for part in range(0, len(data), len(data) // 8 + 1):
                threading.Event().wait(0.2)
                self.wfile.write(data[part : part + len(data) // 8 + 1])

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    descriptor, path = RemoteCache(attempts=1).open(f"http://127.0.0.1:{server.server_port}/000000.tar")
    server.shutdown()
    server.server_close()
    os.close(descriptor)
    assert path.read_bytes() == data, "a second and a half in all, but never a second without a byte"


def test_a_damaged_copy_is_downloaded_again(tmp_path):
    folder = packed(tmp_path / "data")
    shard = folder / "train" / "000000.tar"
    sha256 = hashlib.sha256(shard.read_bytes()).hexdigest()
    with serving(folder) as (url, requests):
        url = f"{url}/train/000000.tar"
        for known in (sha256, ""):
            os.close(RemoteCache().open(url, known)[0])
            copy = RemoteCache()._path(url, known)
            damaged = bytearray(copy.read_bytes())
            damaged[3000] ^= 1
            copy.write_bytes(damaged)
            descriptor, path = RemoteCache().open(url, known)
            assert os.pread(descriptor, 1 << 30, 0) == path.read_bytes() == shard.read_bytes()
            os.close(descriptor)
    assert requests == {"/train/000000.tar": 4}


def test_a_copy_that_is_overwritten_during_a_run_is_downloaded_again(tmp_path):
    folder = packed(tmp_path / "data")
    _, wanted = batches(str(folder))
    with serving(folder) as (url, requests):
        data = AudioFolder(path=url, batch_size=4, segment=2048)
        found = []
        for number, batch in enumerate(Batches(*_parts(data))[0, step] for step in range(6)):
            found.append(batch)
            if number == 1:
                for copy in RemoteCache().folder.glob("*.tar"):
                    with open(copy, "r+b") as file:
                        file.write(b"\xff" * copy.stat().st_size)
    assert all(torch.equal(a["audio"], finished(b)["audio"]) for a, b in zip(wanted, found, strict=True))
    assert max(count for path, count in requests.items() if "train/" in path) == 2


def _parts(data):
    return data.reader("train"), data.plan, data.segment, Scaling(data.peak, data.gain), data._labels, 0, 1


def test_a_shard_that_is_overwritten_in_place_during_a_run_is_noticed(tmp_path):
    for kind in ("packed", "listed"):
        folder = packed(tmp_path / kind)
        pattern = f"{folder}/train/*.tar::{folder}/validation/000000.tar"
        data = AudioFolder(path=str(folder) if kind == "packed" else pattern, batch_size=4, segment=2048, window=1)
        made = Batches(*_parts(data))
        first = made[0, 0]
        if kind == "packed":
            for shard in (folder / "train").glob("*.tar"):
                shard.write_bytes(shard.read_bytes())
            assert torch.equal(made[0, 0]["audio"], first["audio"]), "the same contents are not another shard"
        changed = bytearray((folder / "train" / "000001.tar").read_bytes())
        changed[2000:2100] = bytes(100)
        (folder / "train" / "000001.tar").write_bytes(changed)
        with tarfile.open(folder / "train" / "000001.tar") as tar:
            inside = {name.partition(".")[0] for name in tar.getnames()}
        again = [made[0, step] for step in range(6)]
        bad = {name: error for batch in again for name, error in batch["bad"].items()}
        assert bad.keys() == inside
        assert all("was overwritten while it was in use" in detail for _, detail in bad.values())
        assert not inside & {key for batch in again for key in batch["key"]}


def test_a_remote_shard_that_changes_during_a_run_is_noticed(tmp_path):
    folder = packed(tmp_path / "data")
    shard = folder / "train" / "000000.tar"
    with serving(folder) as (url, _):
        cache = RemoteCache()
        os.close(cache.open(f"{url}/train/000000.tar")[0])
        cache.discard(f"{url}/train/000000.tar")
        shard.write_bytes((folder / "train" / "000001.tar").read_bytes())
        with pytest.raises(DownloadError, match="changed since the run began"):
            cache.open(f"{url}/train/000000.tar")


def test_sizes_and_times_are_bounded(tmp_path, monkeypatch):
    folder = packed(tmp_path / "data")
    shard = folder / "train" / "000000.tar"
    size = shard.stat().st_size
    with serving(folder) as (url, requests):
        os.close(RemoteCache().open(f"{url}/train/000000.tar", size=size)[0])
        with pytest.raises(DownloadError, match=f"{size:,} bytes, more than the 1,000 bytes that the manifest states"):
            RemoteCache().open(f"{url}/train/000000.tar", "0" * 64, size=1_000)
        assert requests == {"/train/000000.tar": 2}, "asked once: it is no trouble that passes"
    endless = f"pipe:cat {shard}; cat /dev/zero"
    with pytest.raises(DownloadError, match="more than the 100,000 bytes"):
        RemoteCache().open(endless, size=100_000)
    monkeypatch.setattr(remote, "_LARGEST", 1 << 22)
    with pytest.raises(DownloadError, match="more than the 4,194,304 bytes that are allowed"):
        RemoteCache(gigabytes=0).open(endless)
    with pytest.raises(DownloadError, match=f"{size:,} bytes arrived instead of the {size + 1:,} bytes"):
        RemoteCache(attempts=1).open(f"pipe:cat {shard}", size=size + 1)
    monkeypatch.setattr(remote, "PIPE_TIMEOUT", 0.2)
    with pytest.raises(DownloadError, match="written nothing"):
        RemoteCache(attempts=1).open("pipe:sleep 60")
    monkeypatch.setattr(remote, "TIMEOUT", 0.2)
    with pytest.raises(DownloadError, match="bytes arrived in"):
        RemoteCache(attempts=1).open(
            "pipe:while true; do echo x; done | while read x; do echo x; /bin/sleep 0.01; done"
        )
    assert not [path for path in RemoteCache().folder.iterdir() if path.suffix == ".part"]


def test_trouble_with_the_manifest_is_overcome_as_with_shards(tmp_path):
    folder = packed(tmp_path / "data")
    _, wanted = batches(str(folder))

    def behave(path, request):
        return ((503, 0) if request == 1 else (200, 300)) if path.endswith(".json") and request < 3 else None

    with serving(folder, behave) as (url, requests):
        assert equal(batches(url)[1], wanted)
        assert requests["/dataset.json"] == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "/etc/000000.tar"}, "a name outside of the folder"),
        ({"name": "train/../../000000.tar"}, "a name outside of the folder"),
        ({"name": "..\\000000.tar"}, "a name outside of the folder"),
        ({"name": "pipe:touch hacked;.tar"}, "a name outside of the folder"),
        ({"name": "http://host/a.tar"}, "a name outside of the folder"),
        ({"name": "train/passwords"}, "no name of a tar file"),
        ({"name": 3}, "no name of a tar file"),
        ({"clips": "12"}, "impossible numbers"),
        ({"clips": -1}, "impossible numbers"),
        ({"clips": 10**9}, "more clips than fit"),
        ({"clips": 10**12, "bytes": 10**15}, "clips"),
        ({"bytes": 1e300}, "impossible numbers"),
        ({"sha256": "x"}, "no SHA-256"),
        ({"longest": float("nan")}, "an impossible length"),
    ],
)
def test_a_manifest_is_held_against_its_schema(tmp_path, changed, message):
    folder = packed(tmp_path / "data", clips=2)
    whole = json.loads((folder / "dataset.json").read_text())
    whole["shards"]["train"][0] |= changed
    (folder / "dataset.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=rf"dataset\.json: .*{message}.*: pack the folder again"):
        batches(str(folder))


@pytest.mark.parametrize("text", ["[]", "3", "null", "{}", '{"shards": []}', '{"shards": {"train": 3}, "hash": ""}'])
def test_what_is_no_manifest_is_one_line(tmp_path, text):
    folder = packed(tmp_path / "data", clips=2)
    (folder / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=r"dataset\.json: its? .*: pack the folder again") as error:
        batches(str(folder))
    assert "\n" not in str(error.value)


def test_a_download_that_is_not_needed_any_more_is_given_up(tmp_path):
    shard = packed(tmp_path / "data") / "train" / "000000.tar"
    asked = []
    with pytest.raises(DownloadError, match="not needed"):
        RemoteCache().open(f"pipe:cat {shard}; sleep 60", abandoned=lambda: asked.append(1) is None)
    assert len(asked) == 1


def test_nothing_is_left_of_a_download_whose_process_was_killed(tmp_path):
    shard = packed(tmp_path / "data") / "train" / "000000.tar"
    waits = f"echo $$ > {tmp_path}/pid; cat {shard}; sleep 60; true"
    process = get_context("fork").Process(target=_open, args=(f"pipe:{waits}", ""))
    process.start()
    folder = RemoteCache().folder
    wait_for(lambda: any(part.stat().st_size for part in folder.glob(".*.part")))
    child = int((tmp_path / "pid").read_text())
    process.kill()
    process.join(30)
    wait_for(lambda: not is_alive(child))
    os.close(RemoteCache().open(f"pipe:cat {shard}")[0])
    assert not list(folder.glob(".*.part"))


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("nothing has happened for 20 s")
