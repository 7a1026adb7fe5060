"""Embeddings that networks inside packages give: read without their frameworks, equal to them, and named."""

import math
import struct
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
import torch
from torch import nn

from framework.errors import InvalidValueError
from framework.evaluation.metrics import embeddings
from framework.evaluation.metrics.embeddings import EMBEDDINGS, MissingPackageError, package_folder
from framework.evaluation.metrics.musicnn import MusicNN, checkpoint_folder, musicnn_mel, windows_of
from framework.evaluation.metrics.shelf import UnknownMetricError, metrics_named
from framework.evaluation.metrics.tensor_bundle import MAGIC, read_bundle


def installed(package):
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def varint(number):
    found = b""
    while number > 127:
        found, number = found + bytes([number & 127 | 128]), number >> 7
    return found + bytes([number])


def block(entries):
    """Return a block of a table whose keys share their beginnings, with its trailer."""
    found, before = b"", b""
    for key, value in entries:
        shared = next(
            (n for n, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        found += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return found + struct.pack("<II", 0, 1), b"\0" + bytes(4)


def write_bundle(folder, variables):
    """Write variables as TensorFlow does, sorted by name."""
    data, entries = b"", [(b"", b"\x08\x01")]
    for name, values in sorted(variables.items()):
        shape = b"".join(b"\x12" + varint(len(d)) + d for d in (b"\x08" + varint(size) for size in values.shape))
        entry = b"\x08\x01\x12" + varint(len(shape)) + shape + b"\x20" + varint(len(data)) + b"\x28"
        entries.append((name.encode(), entry + varint(values.nbytes) + b"\x35abcd"))
        data += values.tobytes()
    body, trailer = block(entries)
    root, root_trailer = block([(b"z", varint(0) + varint(len(body)))])
    table = body + trailer + root + root_trailer
    footer = varint(0) + varint(0) + varint(len(body) + 5) + varint(len(root))
    (folder / ".index").write_bytes(table + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC))
    (folder / ".data-00000-of-00001").write_bytes(data)


@pytest.fixture(scope="module")
def variables():
    """Return random variables with the shapes of musicnn."""
    random, found = np.random.default_rng(0), {}
    kernels = [(7, 38, 1, 204), (7, 67, 1, 204), *((k, 1, 1, 51) for k in (128, 64, 32)), (7, 561, 1, 64)]
    kernels += [(7, 64, 1, 64)] * 2
    for number, shape in enumerate(kernels):
        name = f"conv2d_{number}" if number else "conv2d"
        found[f"{name}/kernel"] = random.normal(0, 1 / math.sqrt(np.prod(shape[:3])), shape)
        found[f"{name}/bias"] = random.normal(0, 0.1, shape[-1])
    found |= {"dense/kernel": random.normal(0, 0.03, (1506, 200)), "dense/bias": random.normal(0, 0.1, 200)}
    for number, size in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200)):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        for part in ("beta", "gamma", "moving_mean", "moving_variance"):
            found[f"{name}/{part}"] = random.uniform(0.5, 1.5, size)
    return {name: values.astype(np.float32) for name, values in found.items()}


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, variables):
    write_bundle(tmp_path, variables)
    read = read_bundle(tmp_path)
    assert read.keys() == variables.keys()
    assert all(np.array_equal(read[name], values) for name, values in variables.items())
    index = (tmp_path / ".index").read_bytes()
    for broken in (index[:-1], index[: len(index) // 2], b""):
        (tmp_path / ".index").write_bytes(broken)
        with pytest.raises(InvalidValueError, match="is no checkpoint of TensorFlow"):
            read_bundle(tmp_path)


def by_numpy(v, mel):
    """Return the embedding of a spectrogram `(frames, 96)` by sums alone, as musicnn's own code describes it."""

    def normalised(x, number):
        layer = f"batch_normalization_{number}" if number else "batch_normalization"
        mean, variance = v[f"{layer}/moving_mean"], v[f"{layer}/moving_variance"]
        return (x - mean) / np.sqrt(variance + 1e-3) * v[f"{layer}/gamma"] + v[f"{layer}/beta"]

    def convolved(x, number, before, after):
        name = f"conv2d_{number}" if number else "conv2d"
        kernel = v[f"{name}/kernel"][:, :, 0]  # (frames, bands, channels)
        x = np.pad(x, ((before, after), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2])  # (frames, places, ...)
        found = np.einsum("tpkb,kbc->tpc", windows, kernel, optimize=True) + v[f"{name}/bias"]
        return normalised(np.maximum(found, 0), number + 1).max(1)

    x = normalised(mel.astype(float)[..., None], 0)[..., 0]
    front = [convolved(x, 0, 3, 3), convolved(x, 1, 3, 3)]
    front += [convolved(x, number, size // 2 - 1, size // 2) for number, size in ((2, 128), (3, 64), (4, 32))]
    front = np.concatenate(front, 1)
    layers = [front, convolved(front, 5, 3, 3)]
    for number in (6, 7):
        layers.append(layers[-1] + convolved(layers[-1], number, 3, 3))
    features = np.concatenate(layers, 1)
    pooled = normalised(np.stack([features.max(0), features.mean(0)], 1).ravel(), 9)
    return normalised(np.maximum(pooled @ v["dense/kernel"] + v["dense/bias"], 0), 10)


def test_the_network_is_that_by_sums_alone(variables):
    mel = np.random.default_rng(1).uniform(0, 3, (2, 40, 96)).astype(np.float32)
    with torch.inference_mode():
        found = MusicNN(variables)(torch.from_numpy(mel))
    for one, expected in zip(found, mel, strict=True):
        assert one.numpy() == pytest.approx(by_numpy(variables, expected), rel=1e-3, abs=1e-3)


@pytest.mark.skipif(not installed("musicnn"), reason="no musicnn is installed (pip install --no-deps musicnn)")
def test_the_network_of_the_package_gives_what_its_own_graph_gives():
    b, t, f = np.meshgrid(np.arange(2), np.arange(187), np.arange(96), indexing="ij")
    mel = torch.from_numpy((1 + np.cos(0.05 * t * (b + 1) + 0.3 * f)).astype(np.float32))
    with torch.inference_mode():
        found = MusicNN(read_bundle(checkpoint_folder(package_folder("musicnn"))))(mel)
    # The layer before the tags, by TensorFlow 2.21 from the package's own MTT_musicnn/.meta.
    graph = [
        [-0.07995161, 2.70772219, -0.3015012, -0.36628193, 1.03013945],
        [-0.07995161, 2.57034016, -0.3015012, -0.36628193, 0.73247296],
    ]
    assert found[:, ::40].numpy() == pytest.approx(np.array(graph), abs=1e-4)
    assert found.sum().item() == pytest.approx(148.94562, abs=1e-2)


def test_the_spectrogram_is_that_of_librosa():
    librosa = pytest.importorskip("librosa")
    audio = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    power = librosa.feature.melspectrogram(y=audio, sr=16000, n_fft=512, hop_length=256, n_mels=96).T
    assert musicnn_mel(torch.from_numpy(audio)).numpy() == pytest.approx(np.log10(10000 * power + 1), abs=2e-4)


def test_windows_overlap_by_half_and_short_clips_are_one():
    frames = torch.arange(10.0)[:, None]
    assert [w[:, 0].tolist() for w in windows_of(frames, 4)] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert windows_of(frames, 99).shape == (1, 10, 1)


def test_names_are_known_and_missing_packages_are_one_line(monkeypatch):
    with pytest.raises(UnknownMetricError, match="no embedding 'musicn': did you mean musicnn"):
        metrics_named(embedder="musicn")

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(embeddings, "distribution", absent)
    for name, words in (
        ("musicnn", "pip install --no-deps musicnn"),
        ("basic_pitch", "pip install --no-deps basic-pitch"),
    ):
        with pytest.raises(MissingPackageError, match=words):
            metrics_named(embedder=name)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_each_installed_embedding_has_windows_and_does_not_depend_on_the_sample_rate(name):
    try:
        EMBEDDINGS[name].check()
        (distance, *_) = metrics_named(["frechet_distance"], name)
    except MissingPackageError as error:
        pytest.skip(str(error))
    assert distance.title == f"Frechet distance ({EMBEDDINGS[name].title})"
    time = torch.arange(44100 * 6) / 44100
    audio = (0.3 * torch.sin(2 * math.pi * 440 * time) + 0.1 * torch.sin(2 * math.pi * 660 * time))[None, None]
    high, low = EMBEDDINGS[name].embed(audio, 44100), EMBEDDINGS[name].embed(audio[..., ::2], 22050)
    assert high.shape == low.shape
    assert len(high) > 1
    assert nn.functional.cosine_similarity(high.double(), low.double()).min() > 0.99
