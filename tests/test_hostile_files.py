"""Files from strangers: whatever a run folder, a release or a packed data set holds, the answer is one line, soon.

Each file is made wrong in many small ways: cut short, values of another type, huge, negative and not finite numbers,
missing entries, other names, deep nesting, aliases. None may hang, and none may end in anything but an `OstinatoError`.
"""

import contextlib
import itertools
import json
import math
import random
import re
import shutil
import signal
import struct
import sys
import traceback
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from datamodules.audio_folder import AudioFolder
from datamodules.packing.pack import pack, verify
from datamodules.report import report
from framework.audio.coded_files import CodedFileError, CodedHeader, read_codes, read_header, write_codes
from framework.cli import main
from framework.errors import OstinatoError
from framework.evaluation.evaluation import load_evaluation
from framework.export.release import release
from framework.generators.hifigan import HiFiGAN
from framework.json_text import check_kinds, parse_json
from framework.listening.plan import load_plan
from framework.music.song_files import load_song
from framework.release import load
from framework.runs import released
from framework.runs.limits import TooLargeError, sized_by
from framework.runs.stored_code import StoredCodeError
from framework.sweeps import wandb_sweep
from framework.sweeps.record import PlannedRun, write_record
from framework.workflow.coding import check_model, known_codes
from framework.yaml_text import parse_yaml

SECONDS = 10
LAUGHS = "a0: &a0 [l, l, l, l, l, l, l, l, l]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
REPLACEMENTS = (
    *(None, True, -1, 0, 10**30, -(10**18), 0.5, 1e308, math.nan, -math.inf, "", "x" * 5000, "os:system", "../../x"),
    *("pipe:touch executed", [], [[]], {}, {"a": {"b": [1]}}, [1, "2", None], "a\nb", "\x00", 10**12),
)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value that is nested in a document, a few of each list."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def changed(document: Any, path: tuple, *replacement: Any) -> Any:
    """Return a copy of a document with another value in a place, or without that place."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if replacement:
        inner[path[-1]] = replacement[0]
    else:
        del inner[path[-1]]
    return copy


def documents(document: Any, count: int) -> Iterator[Any]:
    """Yield wrong versions of a document: without an entry, with other values, of another kind."""
    drawn, known = random.Random(0), list(places(document))
    first = [path for path in known if len(path) == 1]
    yield from (changed(document, path) for path in first)
    yield from (changed(document, path, value) for path in first for value in (None, [], "x"))
    yield from REPLACEMENTS
    for _ in range(count):
        yield changed(document, drawn.choice(known), drawn.choice(REPLACEMENTS))
    for path in drawn.sample(known, min(len(known), count // 2)):
        yield changed(document, path)


def texts(document: Any, as_text: Any, count: int = 12) -> Iterator[bytes]:
    """Yield wrong files of a document: wrong versions of it, cut short, no text, nested, and large."""
    for value in documents(document, count):
        with contextlib.suppress(ValueError, TypeError):
            yield as_text(value).encode(errors="surrogatepass")
    whole = as_text(document).encode()
    yield from (whole[: len(whole) * part // 5] for part in range(5))
    yield from (b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"[" * 900 + b"]" * 900, b"1" * 100_000)
    yield from (LAUGHS.encode(), b"&a [*a]", b"a: " + b"1:" * 100_000 + b"1", b"- 1\n" * 120_000, b"? " * 3000)
    yield from (b"!!python/object/apply:os.system ['touch executed']", b"a: 2020-99-99", b"\xef\xbb\xbf{}", b"NaN")


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def late(*_: Any) -> None:
        raise AssertionError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refused(path: Path, wrong: Iterable[bytes], *uses: Any) -> int:
    """Use wrong files; return how many of the uses refuse one, each in one line."""
    count, faults = 0, {}
    for contents in wrong:
        path.write_bytes(contents)
        for use in uses:
            try:
                with in_time():
                    use()
            except OstinatoError as error:
                count += 1
                if "\n" in str(error):
                    faults[f"several lines: {str(error)[:200]!r}"] = contents[:200]
            except BaseException as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                own = [f for f in traceback.extract_tb(error.__traceback__) if "/site-packages/" not in f.filename][-1]
                at = f"{Path(own.filename).name}:{own.lineno} {place.name}"
                faults[f"{type(error).__name__} at {at}: {str(error)[:200]}"] = contents[:200]
    assert not faults, "\n".join(f"{fault} <- {contents!r}" for fault, contents in faults.items())
    assert not Path("executed").exists()
    return count


def command(*arguments: Any) -> Any:
    """Return a use that runs a command in this process and takes its answer for an error."""

    def use() -> None:
        from framework.cli import run

        run([str(argument) for argument in arguments])

    return use


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder with one sound file of each kind: a run, its evaluation, comparison and test, packed data, a sweep."""
    place = tmp_path_factory.mktemp("sound")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("WANDB_MODE", "disabled")
        patch.setenv("OSTINATO_CACHE", str(place / "cache"))
        (place / "in").mkdir()
        for number in range(4):
            soundfile.write(f"in/{number}.wav", 0.3 * np.sin(np.arange(30_000) * (0.1 + number / 20)), 22050)
        pack(place / "in", place / "packed", validation=0.3, test=0.3)
        assert main(["fit", "griffin_lim", "--data", "in", "--trainer.accelerator", "cpu"]) == 0
        (config,) = place.glob("runs/*/*/config.yaml")
        config.parent.rename("run")
        assert main(["evaluate", "./run", "--metrics", "log_mel_error", "si_sdr"]) == 0
        assert main(["compare", "./run/evaluation/test", "--output", "comparison"]) == 0
        assert main(["listen", "comparison", "--no-server"]) == 0
        run = PlannedRun(
            "a", "griffin_lim", ("--seed=1",), place / "run", "a", "a", 1, {}, 10, 5, 1, "validation/error"
        )
        write_record(place, "question", "why?", [run])
    return place


@pytest.fixture
def place(sound, tmp_path, monkeypatch):
    for entry in sound.iterdir():
        if entry.name != "cache":
            (shutil.copytree if entry.is_dir() else shutil.copyfile)(entry, tmp_path / entry.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OSTINATO_CACHE", str(sound / "cache"))
    return tmp_path


def test_the_files_themselves_are_fine(place):
    for use in (
        command("evaluate", "./run", "--metrics", "si_sdr"),
        command("compare", "./run/evaluation/test"),
        command("status", "question", "--runs", "."),
        lambda: load_plan(place / "comparison" / "listening" / "mushra"),
        lambda: AudioFolder(path="packed").prepare_data(),
    ):
        use()


def test_configurations_of_runs(place, monkeypatch):
    path = place / "run" / "config.yaml"
    document = json.loads(json.dumps(yaml.safe_load(path.read_text())))
    monkeypatch.setattr("framework.workflow.evaluations.measure", lambda *_: (_ for _ in ()).throw(EvaluatedError()))
    use = command("evaluate", "./run", "--metrics", "si_sdr")
    assert refused(path, list(texts(document, yaml.safe_dump))[::2], use) > 30


class EvaluatedError(OstinatoError):
    """Raised where the evaluation would begin."""


def test_summaries(place):
    path = place / "run" / "summary.json"
    use = command("status", "question", "--runs", ".")
    refused(path, texts(json.loads(path.read_text()), json.dumps), use)


def test_evaluations(place):
    path = place / "run" / "evaluation" / "test" / "values.json"
    compare = command("compare", "./run/evaluation/test", "--output", "new", "--overwrite")
    texts_ = list(texts(json.loads(path.read_text()), json.dumps))
    assert refused(path, texts_, lambda: load_evaluation(path.parent), compare) > 60


def test_records_of_sweeps(place):
    path = place / "sweeps" / "question.json"
    uses = command("status", "question", "--runs", "."), command("status", "--runs", ".")
    assert refused(path, texts(json.loads(path.read_text()), json.dumps), *uses) > 30


def test_comparisons_and_plans_of_listening_tests(place):
    path = place / "comparison" / "comparison.json"
    listen = command("listen", "comparison", "--no-server")
    whole = path.read_bytes()
    assert refused(path, texts(json.loads(whole), json.dumps), listen) > 30
    path.write_bytes(whole)
    (plan,) = place.glob("comparison/listening/*/plan.json")
    results = command("listen", "comparison", "--results")
    refused(plan, texts(json.loads(plan.read_text()), json.dumps), results, listen)


def test_manifests(place):
    path = place / "packed" / "dataset.json"

    def use():
        data = AudioFolder(path="packed", segment=4096, batch_size=1)
        data.prepare_data()
        next(iter(data.train_dataloader()))

    refused(
        path,
        texts(json.loads(path.read_text()), json.dumps),
        use,
        lambda: verify(place / "packed"),
        lambda: report(str(place / "packed"), 1),
    )


def test_sweeps_of_wandb_and_settings(place):
    document = {"program": "x", "method": "random", "run_cap": 3, "command": ["ostinato", "fit", "griffin_lim"]}
    document |= {"parameters": {"seed": {"values": [1]}, "model.iterations": {"min": 1, "max": 5}}}
    path = place / "sweep.yaml"
    assert refused(path, texts(document, yaml.safe_dump), lambda: wandb_sweep.read(path)) > 30
    settings = {"model": {"iterations": 3}, "data": {"batch_size": 2}, "trainer": {"max_steps": 3}, "seed": 3}
    use = command("show", "griffin_lim", "--config", "sweep.yaml")
    assert refused(path, texts(settings, yaml.safe_dump), use) > 30


def test_songs(place):
    from song_examples import chorale

    from framework.music.song_files import save_song

    path = place / "song.json"
    save_song(path, chorale("A"))
    refused(path, texts(json.loads(path.read_text()), json.dumps), lambda: load_song(path))


def test_releases(place):
    torch.manual_seed(0)
    path = place / "small.safetensors"
    release(HiFiGAN(channels=8, upsample_rates=(16, 16), upsample_kernels=(32, 32)), path, {"step": 1})
    assert load(path).sample_rate == 22050
    tensors, _ = released.read_release(path)
    with safe_open(path, "pt") as file:
        document = json.loads(file.metadata()[released.KEY])

    def with_header(text: bytes) -> bytes:
        save_file(tensors, place / "x", {released.KEY: text.decode(errors="surrogateescape")})
        return (place / "x").read_bytes()

    hyperparameters = document["hyperparameters"]
    for name, value in itertools.product(hyperparameters, REPLACEMENTS[:8]):
        other = {**document, "hyperparameters": hyperparameters | {name: value}}
        refused(path, [with_header(json.dumps(other).encode())], lambda: load(path))
    wrong = [with_header(text) for text in texts(document, json.dumps) if b"\0" not in text and b"\xff" not in text]
    use = command(
        "synthesize", "griffin_lim", "--ckpt_path", "small.safetensors", "--input", "in/0.wav", "--output", "o"
    )
    assert refused(path, wrong, lambda: load(path), use) > 80
    whole = with_header(json.dumps(document).encode())
    length = int.from_bytes(whole[:8], "little")
    for size in (0, 2**63, 2**40, length + 1, length - 1):
        refused(path, [struct.pack("<Q", size) + whole[8:]], lambda: load(path))
    assert refused(path, [whole[: len(whole) * part // 20] for part in range(20)], lambda: load(path)) == 20


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "os:system"}, "is no system"),
        ({"system": "framework.writing:os.remove"}, "is no system"),
        ({"system": "torch.nn:Linear"}, "is no system"),
        ({"system": "antigravity:x"}, "names code of the package 'antigravity'.* OSTINATO_ALLOW_PACKAGES=antigravity"),
        ({"system": "../x:y"}, "names '../x' as a module"),
        ({"system": "hifigan"}, "which is not module:name"),
        ({"hyperparameters": {"channels": 1 << 20}}, r"cannot be built|describes a network of more than"),
        ({"hyperparameters": {"channels": "8"}}, "cannot be built"),
        ({"front_end": {}}, "of its mel was None"),
        ({"packages": None}, "packages of its header is missing"),
    ],
)
def test_releases_name_what_is_wrong(place, changes, said):
    path = place / "small.safetensors"
    release(HiFiGAN(channels=8, upsample_rates=(16, 16), upsample_kernels=(32, 32)), path, {"step": 1})
    tensors, header = released.read_release(path)
    save_file(tensors, path, {released.KEY: json.dumps(header | changes)})
    with pytest.raises(OstinatoError, match=said) as error, in_time():
        load(path)
    assert "small.safetensors" in str(error.value)
    assert "antigravity" not in sys.modules


def test_packages_are_allowed_by_name(place, monkeypatch):
    (place / "mine_alone").mkdir()
    (place / "mine_alone" / "systems.py").write_text(
        "from framework.generators.hifigan import HiFiGAN\n\n\nclass Mine(HiFiGAN):\n    channels = 8\n"
    )
    monkeypatch.syspath_prepend(str(place))
    path = place / "mine.safetensors"
    values = {"channels": 8, "upsample_rates": (16, 16), "upsample_kernels": (32, 32)}
    release(HiFiGAN(**values), path, {"step": 1})
    tensors, header = released.read_release(path)
    save_file(tensors, path, {released.KEY: json.dumps(header | {"system": "mine_alone.systems:Mine"})})
    with pytest.raises(StoredCodeError, match="set OSTINATO_ALLOW_PACKAGES=mine_alone, or import it first"):
        load(path)
    assert "mine_alone" not in sys.modules
    monkeypatch.setenv("OSTINATO_ALLOW_PACKAGES", "other, mine_alone")
    assert "Mine" in [cls.__name__ for cls in type(load(path).system).__mro__]


def test_sizes_are_checked_before_a_network_is_built():
    sizes, said = [1000], r"a\.safetensors describes a network of more than [\d,]+ weights, and holds 1,000"
    with sized_by(sizes, "a.safetensors", 10_000):
        torch.nn.Linear(100, 100)
    for make in (lambda: torch.nn.Linear(1 << 15, 1 << 13), lambda: [torch.nn.Linear(1, 1) for _ in range(1 << 20)]):
        with pytest.raises(TooLargeError, match=said), sized_by(sizes, "a.safetensors"):
            make()


def test_files_of_codes(place):
    header = CodedHeader("f00d", "Tiny", 22050, 4410, 10, 2, 3)
    path = place / "a.ost"
    write_codes(path, header, [np.zeros((441, 2), np.int64)])
    whole, document = path.read_bytes(), {**asdict(header), "bitrate": 13.2}

    def with_header(text: bytes) -> bytes:
        start = struct.pack("<4sBH", b"OSTI", 1, len(text))
        (length,) = struct.unpack_from("<H", whole, 5)
        return start + text + struct.pack("<I", zlib.crc32(text)) + whole[11 + length :]

    def use():
        list(read_codes(path))

    path.write_bytes(with_header(json.dumps(document).encode()))
    use()
    wrong = [with_header(text) for text in texts(document, json.dumps) if len(text) < 1 << 16]
    assert refused(path, wrong, use) > 60
    assert refused(path, [whole[:length] for length in range(0, len(whole), 7)], use, lambda: read_header(path)) > 100
    for name, value in {"samples": 10**11, "books": 1000, "bits": 31, "samples_per_frame": 1}.items():
        path.write_bytes(with_header(json.dumps(document | {name: value}).encode()))
        with pytest.raises(CodedFileError, match=r"cut short at 0\.0 s"):
            read_header(path)


@pytest.mark.parametrize(
    "change", [{"sample_rate": 44100}, {"samples_per_frame": 20}, {"bits": 4}, {"books": 3}], ids=str
)
def test_headers_of_codes_are_held_against_the_codec(change):
    quantiser = SimpleNamespace(bits=3, size=8, layers=[None, None])
    network = SimpleNamespace(samples_per_frame=10, quantiser=quantiser)
    codec: Any = SimpleNamespace(fingerprint=lambda: "f", network=network, preset=SimpleNamespace(sample_rate=22050))
    header = CodedHeader("f", "Tiny", 22050, 4410, 10, 2, 3)
    check_model("a.ost", header, codec)
    check_model("a.ost", replace(header, books=1), codec)
    with pytest.raises(CodedFileError, match=r"a.ost states .* its codec has 22050 Hz, 10 samples and at most 2 codes"):
        check_model("a.ost", replace(header, **change), codec)


def test_codes_that_the_codec_has_not_are_refused(place):
    write_codes("a.ost", CodedHeader("f", "Tiny", 22050, 4410, 10, 2, 3), [np.full((441, 2), 7)])
    codec: Any = SimpleNamespace(network=SimpleNamespace(quantiser=SimpleNamespace(size=7)))
    with pytest.raises(CodedFileError, match=r"a\.ost has the code 7, its codec 7 codes"):
        list(known_codes(codec, "a.ost"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "more than 100,000 values, with those of aliases"),
        ("a: &a [*a]", "the alias *a is inside what it names"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        ("a: " + "1:" * 100_000 + "1", "a number of 200,001 digits"),
        ("# " + "x" * (1 << 20), "characters of YAML, more than"),
        ("a: *b", "undefined alias"),
        ("!!python/object/apply:os.system ['ls']", "line 1: could not determine a constructor"),
    ],
    ids=range(7),
)
def test_yaml_is_bounded(text, said):
    with pytest.raises(ValueError, match=re.escape(said)), in_time():
        parse_yaml(text)


def test_yaml_reads_what_it_wrote():
    shared = {"a": [1, 2.5, None, True, "1e-5"]}
    value = {"first": shared, "second": [shared, shared], "rate": 1e-5, "text": "a: b"}
    assert "*id001" in yaml.safe_dump(value)
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_json_is_bounded(depth):
    for text in (b"[" * depth + b"]" * depth, '{"a":' * depth + "1" + "}" * depth):
        with pytest.raises(ValueError, match="nested too deeply"), in_time():
            parse_json(text)
    assert parse_json(b"[" * 60 + b"]" * 60)


@pytest.mark.parametrize(
    ("value", "kinds", "said"),
    [
        ({"a": 1}, {"a": str}, "a is 1"),
        ({"a": {}}, {"a": {"b": int}}, "a.b is missing"),
        ({"a": [1, True]}, {"a": [int]}, "a[1] is True"),
        ({"a": {"b": math.nan}}, {"a": {str: float}}, "a.b is nan"),
        ([None, "x"], [(float, None)], "it[1] is 'x'"),
        (10**30, int, "it is 1000"),
        ([], {str: int}, "it is []"),
    ],
    ids=str,
)
def test_kinds(value, kinds, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        check_kinds(value, kinds)


def test_kinds_that_fit():
    kinds = {"a": [(float, None)], "b?": str, "c": {str: Any}}
    check_kinds({"a": [1, 2.5, None], "c": {"x": [1]}, "d": 3}, kinds)
    check_kinds({"a": [], "b": "x", "c": {}}, kinds)
