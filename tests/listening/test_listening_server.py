"""The server: what is right is stored through a kill, what is wrong or hostile is refused and leaves no trace."""

import contextlib
import http.client
import json
import multiprocessing
import os
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from listening.made_comparisons import comparison

from framework.commands import command
from framework.listening import server as module
from framework.listening.answers import ANSWERS, AnswerError, Answers, import_answers, read_answers
from framework.listening.make import make_test
from framework.listening.plan import LISTENERS, ListeningError, load_plan
from framework.listening.server import BODY, CONNECTIONS, serving


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return comparison(tmp_path_factory.mktemp("server"), clips=["one", "two"])


@pytest.fixture(scope="module")
def folder(made):
    return make_test(made, "mos", None, 0, False)


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder, 0) as server:
        yield server


def request(port, method, path, body=None, headers=None, host="127.0.0.1"):
    """Return status and answer of a request as a browser makes it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    given = {"Host": f"{host}:{port}", **({"Content-Type": "application/json"} if data is not None else {})}
    try:
        connection.request(method, path, data, {k: v for k, v in (given | (headers or {})).items() if v is not None})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def post(server, path, body, **more):
    status, text, _ = request(server.server_address[1], "POST", path, body, **more)
    return status, json.loads(text)


@pytest.fixture(scope="module")
def listener(served):
    status, record = post(served, "/listeners", {})
    assert status == 200
    return record["listener"]


def good(plan, listener, trial=0, value=3):
    one = plan.trials[trial]
    return {"listener": listener, "trial": one.id, "ratings": dict.fromkeys(one.columns(), value)}


def test_pages_are_served_with_rules_for_the_browser_and_nothing_beside_them(served, folder):
    port = served.server_address[1]
    for path in ("/", "/index.html", "/test.js", "/plan.js", f"/sounds/{load_plan(folder).trials[0].id}.js"):
        status, body, headers = request(port, "GET", path)
        assert status == 200
        assert body == (folder / "page" / (path[1:] or "index.html")).read_bytes()
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/plan.json", "/../plan.json", "/..%2fplan.json", "//etc/passwd", "/sounds/../../answers.jsonl",
                 "/sounds", "/%2e%2e/answers.jsonl", f"{folder}/plan.json", "/\\..\\plan.json"):  # fmt: skip
        assert request(port, "GET", path)[0] == 404, path


def test_each_answer_is_on_the_disk_and_the_last_of_a_trial_counts(served, folder, listener):
    plan = load_plan(folder)
    for value in (2, 5, 5, 4):
        assert post(served, "/answers", good(plan, listener, 1, value)) == (200, {"stored": True})
    lines = [json.loads(line) for line in (folder / ANSWERS).read_text().splitlines()]
    given = [next(iter(line["ratings"].values())) for line in lines if line.get("trial") == plan.trials[1].id]
    assert given == [2, 5, 4], "the same again is not stored again"
    stored = read_answers(plan, folder / ANSWERS)
    assert set(stored.last[listener, plan.trials[1].id].values()) == {4}
    assert stored.forms[listener] == 0
    assert not stored.damaged


def hostile(plan, listener):
    """Yield posts that are not to be stored, with the status that they are to have."""
    right = good(plan, listener)
    (stimulus,) = right["ratings"]
    other = next(iter(plan.trials[1].columns()))

    def rated(value):
        return json.dumps(right | {"ratings": {stimulus: "?"}}).replace('"?"', value).encode()

    yield from (
        (rated(v), 400, {}) for v in ("NaN", "Infinity", "1e999", "3.0", "true", "null", '"3"', "[3]", "0", "6")
    )
    yield from ((rated(v), 400, {}) for v in ("-1", "9" * 5000, "{}", f'{{"{stimulus}":3}}'))
    yield right | {"ratings": {other: 3}}, 400, {}
    yield right | {"ratings": {stimulus: 3, other: 3}}, 400, {}
    yield right | {"ratings": {}}, 400, {}
    yield right | {"ratings": [3]}, 400, {}
    yield right | {"more": 1}, 400, {}
    yield {"listener": listener}, 400, {}
    yield right | {"listener": "0" * 32}, 404, {}
    yield right | {"listener": [listener]}, 404, {}
    yield right | {"trial": "../../plan.json"}, 404, {}
    yield right | {"trial": {}}, 404, {}
    yield [right], 400, {}
    yield b"{", 400, {}
    yield b"", 400, {}
    yield b"\xff\xfe{}", 400, {}
    yield b"[" * 8000, 400, {}
    yield rated("3").replace(b'"ratings"', b'"listener": "x", "ratings"'), 400, {}
    yield b" " * (BODY + 1), 413, {}
    yield right, 411, {"Transfer-Encoding": "chunked"}
    yield right, 415, {"Content-Type": "text/plain"}
    yield right, 415, {"Content-Type": "application/x-www-form-urlencoded"}
    yield right, 403, {"Origin": "http://evil.example"}
    yield right, 403, {"Origin": "null"}
    yield right, 403, {"Sec-Fetch-Site": "cross-site"}
    for host in (
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "",
        "[::1",
        "x y",
    ):
        yield right, 421, {"Host": host}


def test_what_is_wrong_or_hostile_is_refused_and_leaves_no_trace(served, folder, listener):
    plan, before = load_plan(folder), (folder / ANSWERS).read_bytes()
    for body, expected, headers in hostile(plan, listener):
        status, answer = post(served, "/answers", body, headers=headers)
        assert (status, list(answer)) == (expected, ["error"]), (body, headers, answer)
    for path, body, expected in (("/answer", {}, 404), ("/../answers", {}, 404), ("/listeners", {"form": 1}, 400)):
        assert post(served, path, body)[0] == expected
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert request(served.server_address[1], method, "/answers")[0] == 501
    assert (folder / ANSWERS).read_bytes() == before
    assert post(served, "/answers", good(plan, listener))[0] == 200, "and it goes on"


def test_lengths_that_lie_and_clients_that_dawdle_are_cut_off(served, folder, monkeypatch):
    before, port = (folder / ANSWERS).read_bytes(), served.server_address[1]
    head = f"POST /answers HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: "

    def status(text, close=False):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(text.encode())
            if close:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(1000).split(b"\r\n")[0].split(b" ")[1:2]

    assert status(head + "99999999999999999999\r\n\r\n") == [b"413"]
    assert status(head + "-1\r\n\r\n") == [b"400"]
    assert status(head + "2\r\nContent-Length: 3\r\n\r\n{}") == [b"411"]
    assert status(head + "50\r\n\r\n{}", close=True) == [b"408"]
    assert status(head.replace("127.0.0.1", "localhost") + "2\r\nHost: localhost\r\n\r\n{}") == [b"421"]
    monkeypatch.setattr(module, "SECONDS", 0.3)
    assert status(head + "50\r\n\r\n{}") == [], "the connection is closed"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET / HT")
        assert connection.recv(100) == b""
    assert time.monotonic() - began < 15
    assert (folder / ANSWERS).read_bytes() == before


def test_listeners_and_changes_of_mind_have_an_end(folder, tmp_path):
    plan = load_plan(folder)
    with Answers(plan, tmp_path / ANSWERS) as answers:
        assert [answers.listen(f"{n:032x}") for n in range(LISTENERS)] == list(range(LISTENERS))
        with pytest.raises(AnswerError) as error:
            answers.listen("f" * 32)
        assert error.value.status == 429
        for turn in range(10 * len(plan.trials)):
            answers.add(good(plan, "0" * 32, 0, 1 + turn % 2))
        with pytest.raises(AnswerError) as error:
            answers.add(good(plan, "0" * 32, 0, 5))
        assert error.value.status == 429
        assert len((tmp_path / ANSWERS).read_bytes()) < 100_000
        with pytest.raises(ListeningError, match="being written by another process"):
            Answers(plan, tmp_path / ANSWERS)


def test_a_line_cut_short_is_passed_over_and_spoils_no_other(folder, tmp_path):
    plan, path = load_plan(folder), tmp_path / ANSWERS
    with Answers(plan, path) as answers:
        answers.listen("a" * 32)
        answers.add(good(plan, "a" * 32, 0))
        answers.add(good(plan, "a" * 32, 1))
    path.write_bytes(path.read_bytes()[:-40])
    with Answers(plan, path) as answers:
        assert (answers.stored.damaged, len(answers.stored.last)) == ([3], 1)
        answers.add(good(plan, "a" * 32, 2))
    stored = read_answers(plan, path)
    assert stored.damaged == [3]
    assert {trial for _, trial in stored.last} == {plan.trials[0].id, plan.trials[2].id}


def test_saved_answers_are_taken_in_whole_or_not_at_all(tmp_path):
    folder = make_test(comparison(tmp_path, clips=["one"]), "mos", None, 0, False)
    plan = load_plan(folder)
    here, file = {plan.id: folder}, tmp_path / "one.json"
    saved = {"test": plan.id, "listener": "c" * 32, "form": 7}
    saved["answers"] = [{k: v for k, v in good(plan, "", n).items() if k != "listener"} for n in range(2)]
    bad = [saved | {"test": "other"}, saved | {"form": LISTENERS}, saved | {"listener": "../x"}, [], saved | {"x": 1}]
    bad += [saved | {"answers": [saved["answers"][0], {"trial": "x", "ratings": {}}]}]
    for value in bad:
        file.write_text(json.dumps(value))
        with pytest.raises(ListeningError, match=r"one\.json contains no answers"):
            list(import_answers(here, [file]))
    assert not (folder / ANSWERS).read_bytes()
    file.write_text(json.dumps(saved))
    assert list(import_answers(here, [file])) == [f"{file}: 2 answers (mos)"]
    stored = (folder / ANSWERS).read_bytes()
    list(import_answers(here, [tmp_path]))
    assert (folder / ANSWERS).read_bytes() == stored, "taken in twice, it counts once"
    assert read_answers(plan, folder / ANSWERS).forms == {"c" * 32: 7}


def test_answers_of_a_server_that_is_killed_are_all_there(made, tmp_path, capfd):
    folder = make_test(made, "ab", None, 0, False)
    arguments = [str(made), "--kind", "ab", "--port", "0"]
    process = multiprocessing.get_context("fork").Process(target=command("listen").main, args=(arguments,))
    process.start()
    port, told, until = 0, "", time.monotonic() + 60
    while not port and time.monotonic() < until:
        told += capfd.readouterr().out
        port = int(told.partition("http://127.0.0.1:")[2].partition("/")[0] or 0)
        time.sleep(0.05)
    plan = load_plan(folder)
    record = json.loads(request(port, "POST", "/listeners", {})[1])
    for trial in plan.trials[:3]:
        answer = {"listener": record["listener"], "trial": trial.id, "ratings": dict.fromkeys(trial.columns(), 0)}
        assert request(port, "POST", "/answers", answer)[0] == 200
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with serving(folder, 0) as again:
        stored = again.answers.stored
        assert {trial for _, trial in stored.last} == {trial.id for trial in plan.trials[:3]}
        assert stored.forms == {record["listener"]: 0}
        assert post(again, "/listeners", {})[1]["form"] == 1


@contextlib.contextmanager
def waiting_clients(port, count):
    """Open connections that ask for nothing yet."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(count)]


def test_more_listeners_than_are_answered_at_once_wait(made, tmp_path):
    folder = make_test(shutil.copytree(made, tmp_path / "more"), "ab", None, 0, False)
    plan, count = load_plan(folder), 3 * CONNECTIONS
    with serving(folder, 0) as server:
        port = server.server_address[1]
        ask = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        with waiting_clients(port, count) as clients:
            clients[-1].sendall(ask)
            clients[-1].settimeout(0.5)
            with pytest.raises(TimeoutError):
                clients[-1].recv(1)
            clients[-1].settimeout(20)
            # In an order that is not that of their connections.
            for client in clients[-2::-1]:
                client.sendall(ask)
            for client in clients:
                with client.makefile("rb") as answer:
                    assert answer.readline().split()[1] == b"200"
        with ThreadPoolExecutor(count) as pool:
            records = list(pool.map(lambda _: post(server, "/listeners", {}), range(count)))
        assert [status for status, _ in records] == [200] * count
        names = {record["listener"] for _, record in records}
        assert names <= read_answers(plan, folder / ANSWERS).forms.keys()
        assert len(names) == count


def test_a_server_ends_while_listeners_wait(made, tmp_path):
    folder = make_test(shutil.copytree(made, tmp_path / "more"), "ab", None, 0, False)
    with serving(folder, 0) as server:
        began = time.monotonic()
        with waiting_clients(server.server_address[1], 2 * CONNECTIONS):
            time.sleep(0.3)
            server.shutdown()
            assert time.monotonic() - began < 5
