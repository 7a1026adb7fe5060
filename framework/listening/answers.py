"""Answers to a listening test: checked against its plan, appended one by one, read back whatever cut the file short."""

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from framework.errors import InvalidValueError, OstinatoError
from framework.listening.plan import LISTENERS, RANGES, ListeningError, Plan, load_plan

ANSWERS = "answers.jsonl"
LISTENER = re.compile(r"[0-9a-f]{32}")
CHANGES = 10
"""Answers a listener may give for each trial of a test, on average: the last of a trial counts."""

LARGEST_IMPORT = 1 << 20
"""Bytes of a file of answers at most."""


class AnswerError(OstinatoError, ValueError):
    """An answer that is not one to this test.

    Args:
        message: What is wrong with it.
        status: The status of the HTTP response.
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Stored:
    """What a file of answers holds.

    Args:
        forms: The form of each listener, in the order in which they came.
        last: The last ratings of each `(listener, trial)`, by stimulus.
        lines: How many answers each listener gave, changes of mind with them.
        damaged: Numbers of the lines that could not be read, from 1.
    """

    forms: dict[str, int] = field(default_factory=dict)
    last: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    def take(self, plan: Plan, record: Any) -> None:
        """Take in a listener or an answer."""
        if isinstance(record, dict) and "form" in record:
            listener, form = checked_listener({k: v for k, v in record.items() if k != "time"})
            self.forms[listener] = form
        else:
            answer = {k: v for k, v in record.items() if k != "time"} if isinstance(record, dict) else record
            listener, trial, ratings = checked_answer(plan, self.forms, answer)
            self.last[listener, trial] = ratings
            self.lines[listener] = self.lines.get(listener, 0) + 1


def checked_listener(value: Any) -> tuple[str, int]:
    """Return listener and form of a listener's record.

    Raises:
        AnswerError: it is none.
    """
    if not isinstance(value, dict) or value.keys() != {"listener", "form"}:
        raise AnswerError("a listener has listener and form, and nothing else")
    listener, form = value["listener"], value["form"]
    if not isinstance(listener, str) or not LISTENER.fullmatch(listener):
        raise AnswerError("a listener's name is 32 hexadecimal digits")
    if type(form) is not int or not 0 <= form < LISTENERS:
        raise AnswerError(f"a form is a number from 0 to {LISTENERS - 1}")
    return listener, form


def checked_answer(plan: Plan, known: dict[str, int], value: Any) -> tuple[str, str, dict[str, int]]:
    """Return listener, trial and ratings of an answer.

    Raises:
        AnswerError: it is none, of no listener or trial known, or not of every stimulus on the test's scale.
    """
    if not isinstance(value, dict) or value.keys() != {"listener", "trial", "ratings"}:
        raise AnswerError("an answer has listener, trial and ratings, and nothing else")
    listener, ratings = value["listener"], value["ratings"]
    if not isinstance(listener, str) or listener not in known:
        raise AnswerError("no such listener", HTTPStatus.NOT_FOUND)
    trial = next((t for t in plan.trials if t.id == value["trial"]), None)
    if trial is None:
        raise AnswerError("no such trial", HTTPStatus.NOT_FOUND)
    if not isinstance(ratings, dict) or ratings.keys() != trial.columns().keys():
        raise AnswerError("ratings are of each stimulus of the trial, and of no other")
    low, high = RANGES[plan.kind]
    if any(type(rating) is not int or not low <= rating <= high for rating in ratings.values()):
        raise AnswerError(f"a rating is a whole number from {low} to {high}")
    if plan.kind == "ab" and sum(ratings.values()) > 1:
        raise AnswerError("one of the two is preferred, or none")
    return listener, trial.id, ratings


def read_answers(plan: Plan, path: Path) -> Stored:
    """Read all answers; a line that a kill cut short, or that is no answer, is passed over and counted."""
    stored = Stored()
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), 1):
        if line:
            try:
                stored.take(plan, parsed(line))
            except ValueError:
                stored.damaged.append(number)
    return stored


def parsed(text: bytes) -> Any:
    """Return the value of JSON that is strictly that: no NaN, no name twice in an object.

    Raises:
        AnswerError: it is not.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"no JSON ({str(error)[:80]})") from None


def _refuse(name: str) -> None:
    raise InvalidValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidValueError("a name comes twice")
    return found


class Answers:
    """The answers of a test, being added to; each is on the disk when `add` returns.

    Args:
        plan: The test.
        path: File of the answers, a line each. One process at a time adds to it.

    Raises:
        ListeningError: another process adds to it.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self._guard = threading.Lock()
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ListeningError(f"{path} is being added to by another process: end that one first") from None
        self.stored = read_answers(plan, path)
        self._file = opened(path)
        self._whole = True

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        self._lock.release()

    def listen(self, listener: str, form: int | None = None) -> int:
        """Register a listener; return the form, the next one if none is given.

        Raises:
            AnswerError: the test has all the listeners that it can have, or this one has another form.
        """
        with self._guard:
            forms = self.stored.forms
            if listener in forms and form in (None, forms[listener]):
                return forms[listener]
            if len(forms) >= LISTENERS:
                raise AnswerError(f"the test has all its {LISTENERS} listeners", HTTPStatus.TOO_MANY_REQUESTS)
            if listener in forms:
                raise AnswerError("this listener has another form", HTTPStatus.CONFLICT)
            record = {"listener": listener, "form": len(forms) if form is None else form}
            _, given = checked_listener(record)
            self._append(record)
            return given

    def add(self, value: Any) -> None:
        """Store an answer in place of an earlier one of the same listener and trial; the very same is not repeated.

        Raises:
            AnswerError: it is no answer to this test, or one change too many.
        """
        with self._guard:
            listener, trial, ratings = checked_answer(self.plan, self.stored.forms, value)
            if self.stored.last.get((listener, trial)) == ratings:
                return
            if self.stored.lines.get(listener, 0) >= CHANGES * len(self.plan.trials):
                raise AnswerError("too many changes by one listener", HTTPStatus.TOO_MANY_REQUESTS)
            self._append({"listener": listener, "trial": trial, "ratings": ratings})

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        # A line that a full disk cut short is ended, so as not to spoil the next.
        data = (b"" if self._whole else b"\n") + line.encode() + b"\n"
        self._whole = False
        self._whole = self._file.write(data) == len(data)
        if not self._whole:
            raise OSError(f"{self.path}: the disk is full")
        os.fsync(self._file.fileno())
        self.stored.take(self.plan, record)


def opened(path: Path) -> BinaryIO:
    """Open a file to be added to, without a buffer; what a kill left of a last line is ended, so as to spoil no other.

    The folder is written through too, in which the file may be new.
    """
    file = open(path, "a+b", buffering=0)  # noqa: SIM115 - closed by whom it is given to
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def import_answers(tests: dict[str, Path], paths: list[Path]) -> Iterator[str]:
    """Take in files that pages saved, or every `*.json` of folders; yield a line on each.

    Args:
        tests: Folder of each test by its opaque name.
        paths: The files or folders.

    Raises:
        ListeningError: a file is none, or of another test; those before it are stored.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise ListeningError(f"{', '.join(map(str, paths))}: there is no file of answers (*.json) there")
    for file in files:
        try:
            kind, count = import_file(tests, file)
        except OSError as error:
            raise ListeningError(f"{file} cannot be read ({error.strerror}): check the path") from None
        except AnswerError as error:
            raise ListeningError(f"{file} holds no answers to a test of this comparison: {error}") from None
        yield f"{file}: {count} answers ({kind})"


def import_file(tests: dict[str, Path], file: Path) -> tuple[str, int]:
    """Take in a file that a page saved, all of it or nothing; return its kind of test and the number of answers.

    Raises:
        AnswerError: it is none, or of another test.
    """
    if file.stat().st_size > LARGEST_IMPORT:
        raise AnswerError(f"more than {LARGEST_IMPORT:,} bytes")
    value = parsed(file.read_bytes())
    if not isinstance(value, dict) or value.keys() != {"test", "listener", "form", "answers"}:
        raise AnswerError("it does not have test, listener, form and answers alone")
    folder = next((folder for test, folder in tests.items() if test == value["test"]), None)
    if folder is None:
        raise AnswerError(f"it is of test {str(value['test'])[:20]}, here are {', '.join(tests) or 'none'}")
    listener, form = checked_listener({name: value[name] for name in ("listener", "form")})
    if not isinstance(value["answers"], list):
        raise AnswerError("answers are a list")
    with Answers(load_plan(folder), folder / ANSWERS) as answers:
        records = [{"listener": listener, **a} if isinstance(a, dict) else a for a in value["answers"]]
        for record in records:
            checked_answer(answers.plan, {listener: form}, record)
        answers.listen(listener, form)
        for record in records:
            answers.add(record)
        return answers.plan.kind, len(records)
