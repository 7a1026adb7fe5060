"""Remote shards: the same batches as from local ones, and every way of failing noticed."""

import contextlib
import http.server
import os
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
