"""W&B failing in the ways it does: a server that refuses, and its own service killed in the middle."""

import http.server
import os
import subprocess
import sys
import threading

import pytest

from framework.tracking.wandb_log import flatten

FAILING = """
import os, signal, sys, time
from pathlib import Path
from framework.tracking.wandb_log import wandb_logger

log = wandb_logger(sys.argv[1], "a1b2c3", "family", "name", {})
log.log_metrics({"loss": 1.0}, 1)
log.log_metrics({"loss": 0.5}, 2)
time.sleep(1)
for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
    if "wandb" in Path(f"/proc/{child}/cmdline").read_text():
        os.kill(int(child), signal.SIGKILL)
time.sleep(0.5)
for step in range(3, 100):
    log.log_metrics({"loss": 0.1}, step)
log.finish()
"""


class Refusing(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *args):
        pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the service in /proc")
def test_neither_a_refusing_server_nor_a_killed_service_stops_a_run(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k.lower() != "http_proxy"}
    url = f"http://127.0.0.1:{server.server_port}"
    process = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path)],
        env=clean | {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0" * 40, "HOME": str(tmp_path / "home")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    server.shutdown()
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    offline, stopped = (line for line in process.stdout.splitlines() if line.startswith("W&B"))
    assert "offline (CommError" in offline
    assert "stopped (Connection" in stopped


def test_configuration_is_flattened_to_plain_values():
    config = {"model": {"rates": (8, (2, 2)), "data": dict}, "seed": 1, "clip": None}
    expected = {"model.rates": [8, [2, 2]], "model.data": "dict", "seed": 1, "clip": None}
    assert flatten(config) == expected
