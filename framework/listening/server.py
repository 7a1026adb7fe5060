"""HTTP server of a listening test on the loopback interface: its pages, and two addresses that accept answers.

Requests are never converted to file paths, and only answers that fit the plan are stored.
"""

import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from framework.listening.answers import ANSWERS, AnswerError, Answers, parsed
from framework.listening.plan import ListeningError, load_plan

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
BODY = 8192
"""Maximum size of the body of a request (bytes)."""

SECONDS = 20.0
"""Maximum duration of a request and its response (s); slower clients are disconnected."""

CONNECTIONS = 32
"""Maximum number of requests that are handled concurrently; further ones wait."""

WAITING = 512
"""Number of connections that the operating system queues; the pages retry if the queue is full."""

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript; charset=utf-8"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ListeningServer(ThreadingHTTPServer):
    """HTTP server of one test.

    Args:
        page: Folder of the pages; the files that exist now are served.
        answers: Store of the answers.
        port: Port number; 0 for any free port.

    Raises:
        ListeningError: the port is taken.
    """

    daemon_threads = True
    request_queue_size = WAITING

    def __init__(self, page: Path, answers: Answers, port: int) -> None:
        self.answers = answers
        paths = {f"/{file.relative_to(page).as_posix()}": file for file in page.rglob("*") if file.suffix in TYPES}
        self.pages = paths | {"/": page / "index.html"}
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._ends = threading.Event()
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            raise ListeningError(f"port {port} is not available ({error}); name another one, or 0 for any") from None

    @property
    def url(self) -> str:
        """Address of the test."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a request in a thread, when fewer than the maximum are running; each takes at most `SECONDS`."""
        while not self._places.acquire(timeout=0.1):
            if self._ends.is_set():
                self.shutdown_request(request)
                return
        super().process_request(request, client_address)

    def shutdown(self) -> None:
        """Stop the server, also if requests are waiting."""
        self._ends.set()
        super().shutdown()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a request, and disconnect a client that takes too long."""
        clock = threading.Timer(SECONDS, cut, [request])
        clock.daemon = True
        clock.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            clock.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: clients may disconnect at any time."""


def cut(connection: socket.socket) -> None:
    """Close a connection, also during a read or a write."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    """Handler of one request; the connection is closed afterwards."""

    server: ListeningServer
    server_version = "ostinato"
    sys_version = ""
    timeout = 10.0

    def do_GET(self) -> None:
        """Serve a page."""
        self.answer(self.page)

    def do_POST(self) -> None:
        """Register a listener, or store an answer."""
        self.answer(self.take)

    def answer(self, method: Any) -> None:
        """Send the response that a method returns, or its error."""
        try:
            self.check_host()
            status, kind, body = method()
        except AnswerError as error:
            status, kind, body = error.status, "application/json", json.dumps({"error": str(error)}).encode()
        except TimeoutError:
            return
        except OSError as error:
            status, kind = HTTPStatus.INSUFFICIENT_STORAGE, "application/json"
            body = json.dumps({"error": f"the answer could not be stored ({error.strerror or error})"}).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def check_host(self) -> None:
        """Refuse requests with a foreign Host header (DNS rebinding) and requests from other sites' pages.

        Any port is accepted, because the port of a tunnel differs from the server's.
        """
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or not self.is_ours(hosts[0]):
            raise AnswerError(
                "this server accepts requests for 127.0.0.1 and localhost only", HTTPStatus.MISDIRECTED_REQUEST
            )
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{hosts[0]}":
            raise AnswerError("not from a page of this test", HTTPStatus.FORBIDDEN)
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise AnswerError("not from a page of this test", HTTPStatus.FORBIDDEN)

    @staticmethod
    def is_ours(host: str) -> bool:
        """Return whether a Host header names the loopback interface."""
        try:
            parts = urlsplit(f"//{host}")
            return parts.hostname in HOSTS and parts.netloc == host and (parts.port or 80) > 0 and "@" not in host
        except ValueError:
            return False

    def page(self) -> tuple[HTTPStatus, str, bytes]:
        """Return a page of the test."""
        file = self.server.pages.get(self.path.partition("?")[0])
        if file is None:
            raise AnswerError("no such page", HTTPStatus.NOT_FOUND)
        return HTTPStatus.OK, TYPES[file.suffix], file.read_bytes()

    def take(self) -> tuple[HTTPStatus, str, bytes]:
        """Store the posted record; respond when it is on the disk."""
        if self.path not in ("/listeners", "/answers"):
            raise AnswerError("no such address", HTTPStatus.NOT_FOUND)
        value, answers = parsed(self.body()), self.server.answers
        if self.path == "/answers":
            answers.add(value)
            return HTTPStatus.OK, "application/json", b'{"stored": true}'
        if value != {}:
            raise AnswerError("a listener is registered by {}")
        listener = secrets.token_hex(16)
        record = {"listener": listener, "form": answers.listen(listener)}
        return HTTPStatus.OK, "application/json", json.dumps(record).encode()

    def body(self) -> bytes:
        """Return the body of a POST request of content type JSON, which other sites may not send unasked."""
        if self.headers.get_content_type() != "application/json":
            raise AnswerError("not application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or "Transfer-Encoding" in self.headers:
            raise AnswerError("a body has one length", HTTPStatus.LENGTH_REQUIRED)
        if not (lengths[0].isascii() and lengths[0].isdigit()):
            raise AnswerError("a length is a number")
        if len(lengths[0]) > 9 or int(lengths[0]) > BODY:
            raise AnswerError(f"more than {BODY} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        data = self.rfile.read(int(lengths[0]))
        if len(data) < int(lengths[0]):
            raise AnswerError("the body was cut short", HTTPStatus.REQUEST_TIMEOUT)
        return data

    def log_message(self, format: str, *arguments: Any) -> None:
        """Do nothing: the answers are in their file."""


@contextmanager
def serving(folder: Path, port: int) -> Iterator[ListeningServer]:
    """Context manager that serves a test in a separate thread.

    Raises:
        ListeningError: there is no test, another process serves it, or the port is in use.
    """
    with Answers(load_plan(folder), folder / ANSWERS) as answers:
        server = ListeningServer(folder / "page", answers, port)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()


def wait() -> None:
    """Wait for Ctrl-C."""
    while True:
        time.sleep(3600)
