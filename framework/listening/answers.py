"""Answers to a listening test: validated, appended one by one, and readable also if the file is truncated."""

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
"""Maximum number of answers per trial and listener, on average; the last answer to a trial counts."""

LARGEST_IMPORT = 1 << 20
"""Maximum size of an imported file of answers (bytes)."""


class AnswerError(OstinatoError, ValueError):
    """An answer is invalid or belongs to another test.

    Args:
        message: The reason.
        status: Status code of the HTTP response.
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Stored:
    """The content of a file of answers.

    Args:
        forms: Form (order of presentation) of each listener, in the order of registration.
        last: Last ratings of each `(listener, trial)`, by stimulus.
        lines: Number of answers of each listener, including changed ones.
        damaged: Numbers of the lines that could not be read, starting at 1.
    """

    forms: dict[str, int] = field(default_factory=dict)
    last: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    damaged: list[int] = field(default_factory=list)

    def take(self, plan: Plan, record: Any) -> None:
        """Add a record: a listener or an answer."""
        if isinstance(record, dict) and "form" in record:
            listener, form = checked_listener({k: v for k, v in record.items() if k != "time"})
            self.forms[listener] = form
        else:
            answer = {k: v for k, v in record.items() if k != "time"} if isinstance(record, dict) else record
            listener, trial, ratings = checked_answer(plan, self.forms, answer)
            self.last[listener, trial] = ratings
            self.lines[listener] = self.lines.get(listener, 0) + 1


def checked_listener(value: Any) -> tuple[str, int]:
    """Validate the record of a listener; return the listener and the form.

    Raises:
        AnswerError: the record is invalid.
    """
    if not isinstance(value, dict) or value.keys() != {"listener", "form"}:
        raise AnswerError("a listener's record has exactly the fields listener and form")
    listener, form = value["listener"], value["form"]
    if not isinstance(listener, str) or not LISTENER.fullmatch(listener):
        raise AnswerError("a listener's name is 32 hexadecimal digits")
    if type(form) is not int or not 0 <= form < LISTENERS:
        raise AnswerError(f"a form is a number from 0 to {LISTENERS - 1}")
    return listener, form


def checked_answer(plan: Plan, known: dict[str, int], value: Any) -> tuple[str, str, dict[str, int]]:
    """Validate an answer; return its listener, trial and ratings.

    Raises:
        AnswerError: the record is invalid, its listener or trial is unknown, or a rating is missing or out of range.
    """
    if not isinstance(value, dict) or value.keys() != {"listener", "trial", "ratings"}:
        raise AnswerError("an answer has exactly the fields listener, trial and ratings")
    listener, ratings = value["listener"], value["ratings"]
    if not isinstance(listener, str) or listener not in known:
        raise AnswerError("no such listener", HTTPStatus.NOT_FOUND)
    trial = next((t for t in plan.trials if t.id == value["trial"]), None)
    if trial is None:
        raise AnswerError("no such trial", HTTPStatus.NOT_FOUND)
    if not isinstance(ratings, dict) or ratings.keys() != trial.columns().keys():
        raise AnswerError("an answer must rate all stimuli of the trial, and no others")
    low, high = RANGES[plan.kind]
    if any(type(rating) is not int or not low <= rating <= high for rating in ratings.values()):
        raise AnswerError(f"a rating is a whole number from {low} to {high}")
    if plan.kind == "ab" and sum(ratings.values()) > 1:
        raise AnswerError("at most one of the two stimuli can be preferred")
    return listener, trial.id, ratings


def read_answers(plan: Plan, path: Path) -> Stored:
    """Read all answers; truncated and invalid lines are skipped and recorded."""
    stored = Stored()
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else (), 1):
        if line:
            try:
                stored.take(plan, parsed(line))
            except ValueError:
                stored.damaged.append(number)
    return stored


def parsed(text: bytes) -> Any:
    """Parse strict JSON: no NaN, no duplicate names in an object.

    Raises:
        AnswerError: the text is not strict JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"not valid JSON ({str(error)[:80]})") from None


def _refuse(name: str) -> None:
    raise InvalidValueError(f"{name} is not a number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidValueError("a name occurs twice")
    return found


class Answers:
    """Appends answers to the file of a test; an answer is on the disk when `add` returns.

    Args:
        plan: The test.
        path: File of the answers, one per line. Only one process at a time may write it.

    Raises:
        ListeningError: another process is writing the file.
    """

    def __init__(self, plan: Plan, path: Path) -> None:
        self.plan, self.path = plan, path
        self._guard = threading.Lock()
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise ListeningError(f"{path} is being written by another process; end that process first") from None
        self.stored = read_answers(plan, path)
        self._file = opened(path)
        self._whole = True

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        self._lock.release()

    def listen(self, listener: str, form: int | None = None) -> int:
        """Register a listener; return the form, which is the next free one by default.

        Raises:
            AnswerError: the test has the maximum number of listeners, or this listener has another form.
        """
        with self._guard:
            forms = self.stored.forms
            if listener in forms and form in (None, forms[listener]):
                return forms[listener]
            if len(forms) >= LISTENERS:
                raise AnswerError(f"the test has the maximum of {LISTENERS} listeners", HTTPStatus.TOO_MANY_REQUESTS)
            if listener in forms:
                raise AnswerError("this listener has another form", HTTPStatus.CONFLICT)
            record = {"listener": listener, "form": len(forms) if form is None else form}
            _, given = checked_listener(record)
            self._append(record)
            return given

    def add(self, value: Any) -> None:
        """Store an answer, which replaces an earlier one of the same listener and trial; equal answers are stored once.

        Raises:
            AnswerError: the answer is invalid, or the listener has changed answers too often.
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
        # Terminate a line that a full disk has truncated, so that the next line is valid.
        data = (b"" if self._whole else b"\n") + line.encode() + b"\n"
        self._whole = False
        self._whole = self._file.write(data) == len(data)
        if not self._whole:
            raise OSError(f"{self.path}: the disk is full")
        os.fsync(self._file.fileno())
        self.stored.take(self.plan, record)


def opened(path: Path) -> BinaryIO:
    """Open a file for unbuffered appending, and terminate a last line that was truncated by a kill.

    The folder is synchronised too, because the file may be new.
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
    """Import files that pages have saved, or all `*.json` files of folders; yield a line about each.

    Args:
        tests: Folder of each test by the test's opaque name.
        paths: Files or folders.

    Raises:
        ListeningError: a file is invalid or belongs to another test; the files before it have been stored.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise ListeningError(f"no files of answers (*.json) in {', '.join(map(str, paths))}")
    for file in files:
        try:
            kind, count = import_file(tests, file)
        except OSError as error:
            raise ListeningError(f"{file} cannot be read ({error.strerror}): check the path") from None
        except AnswerError as error:
            raise ListeningError(f"{file} contains no answers to a test of this comparison: {error}") from None
        yield f"{file}: {count} answers ({kind})"


def import_file(tests: dict[str, Path], file: Path) -> tuple[str, int]:
    """Import a file that a page has saved, completely or not at all; return its kind of test and number of answers.

    Raises:
        AnswerError: the file is invalid or belongs to another test.
    """
    if file.stat().st_size > LARGEST_IMPORT:
        raise AnswerError(f"more than {LARGEST_IMPORT:,} bytes")
    value = parsed(file.read_bytes())
    if not isinstance(value, dict) or value.keys() != {"test", "listener", "form", "answers"}:
        raise AnswerError("it must have exactly the fields test, listener, form and answers")
    folder = next((folder for test, folder in tests.items() if test == value["test"]), None)
    if folder is None:
        raise AnswerError(
            f"it belongs to test {str(value['test'])[:20]}; this comparison has {', '.join(tests) or 'none'}"
        )
    listener, form = checked_listener({name: value[name] for name in ("listener", "form")})
    if not isinstance(value["answers"], list):
        raise AnswerError("answers must be a list")
    with Answers(load_plan(folder), folder / ANSWERS) as answers:
        records = [{"listener": listener, **a} if isinstance(a, dict) else a for a in value["answers"]]
        for record in records:
            checked_answer(answers.plan, {listener: form}, record)
        answers.listen(listener, form)
        for record in records:
            answers.add(record)
        return answers.plan.kind, len(records)
