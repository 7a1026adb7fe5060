"""Ctrl-C ends real processes within two seconds, whatever they do."""

import os
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import sys
from framework import cli

from framework.commands import status

def main(self, arguments):
    {body}

status.Status.main = main
sys.argv = ["ostinato", "status"]
if __name__ == "__main__":
    sys.exit(cli.main())
"""
IN_C = "import hashlib; print('begun', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
"""Minutes in a function that looks at no signal."""
BODIES = {
    "waits": "import time; print('begun', flush=True); time.sleep(100)",
    "computes in C": IN_C,
    "swallows the exception": """
    import time
    print('begun', flush=True)
    while True:
        try:
            time.sleep(100)
        except KeyboardInterrupt:
            pass
""",
    "makes another exception of it": """
    import time
    print('begun', flush=True)
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        raise ImportError("numpy.core.multiarray failed to import") from None
""",
    "exits in its own way, as Lightning does": """
    import time
    print('begun', flush=True)
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        sys.exit(1)
""",
    "has a thread that does not end": """
    import threading, time
    threading.Thread(target=time.sleep, args=(100,)).start()
    print('begun', flush=True)
    time.sleep(100)
""",
    "waits on its way out": """
    import atexit, time
    atexit.register(time.sleep, 100)
    print('begun', flush=True)
    time.sleep(100)
""",
    "has children that have children": """
    import subprocess, time
    subprocess.Popen(["sh", "-c", "sleep 100 & sleep 100"], start_new_session=True)
    time.sleep(0.3)
    print('begun', flush=True)
    time.sleep(100)
""",
    "has children and computes in C": f"""
    import subprocess, time
    subprocess.Popen(["sleep", "100"])
    {IN_C}
""",
    "has a pool of processes": """
    import time
    from datamodules.packing.parallel import in_parallel
    print('begun', flush=True)
    list(in_parallel(time.sleep, [(100,)] * 3))
""",
}


def start(body, **options):
    program = PROGRAM.format(body=body.strip())
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    assert process.stdout.readline() == "begun\n"
    return process


def processes_of(marker):
    """Return the processes that have a variable in their environment, which children inherit."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if marker.encode() in file.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_one_interrupt_ends_the_command_and_its_children(body, request):
    marker = f"OSTINATO_TEST={os.getpid()}_{abs(hash(body))}"
    name, _, value = marker.partition("=")
    process = start(body, env=os.environ | {name: value})
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    seconds = time.monotonic() - began
    assert (process.returncode, errors) == (130, "ostinato: interrupted\n")
    assert seconds < 2 + 3 * busy(), f"{seconds:.1f} s"
    deadline = time.monotonic() + 5
    while processes_of(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(marker) == []


def busy():
    """Return by how much more than its processors this machine is asked for."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1) - 1, 0)


GRACEFUL = f"""
    import signal, time
    from framework.interrupts import stops_in_good_order

    @stops_in_good_order(1)
    def receive(number, frame):
        print("stopping", flush=True)

    signal.signal(signal.SIGINT, receive)
    {{wait}}
    {IN_C.replace("print('begun', flush=True); ", "")}
"""


def test_a_command_that_stops_in_good_order_is_ended_by_the_second_interrupt():
    process = start(GRACEFUL.format(wait="print('begun', flush=True); time.sleep(100) if False else time.sleep(1)"))
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    time.sleep(1.5)
    assert process.poll() is None, "the first is answered by the command alone"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "ostinato: interrupted\n")


def test_where_interrupts_are_ignored_they_stay_so():
    process = start(
        "print('begun', flush=True); import time; time.sleep(1)",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


def test_python_code_that_calls_the_command_line_gets_its_signals_back():
    from framework.cli import main

    before = signal.getsignal(signal.SIGINT)
    assert main(["--help"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.0])
def test_imports_are_interrupted(seconds, tmp_path):
    """By the processor time of the process, so that it is importing on a busy machine too."""
    process = subprocess.Popen(
        [sys.executable, "-m", "framework.cli", "show", "hifigan_v3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OSTINATO_CACHE": str(tmp_path)},
    )  # fmt: skip
    while process.poll() is None and processor_time(process.pid) < seconds:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    first, *_, last = errors.splitlines()
    assert (first, last) == ("loading PyTorch ...", "ostinato: interrupted")
    assert "Traceback" not in errors
    assert output == ""


def processor_time(number):
    with open(f"/proc/{number}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
