import subprocess
import sys
import time

import pytest

from datamodules.packing.parallel import in_parallel


def test_results_come_in_order():
    assert list(in_parallel(divmod, [(n, 3) for n in range(20)])) == [divmod(n, 3) for n in range(20)]


def test_an_error_in_a_worker_is_raised_here():
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(divmod, [(1, 1), (1, 0), (2, 1)]))


def test_a_script_without_a_guard_does_not_start_itself(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from datamodules.packing.parallel import in_parallel\nprint(list(in_parallel(abs, [(-1,), (2,)])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": "."})
    assert (done.stdout, done.returncode) == ("[1, 2]\n", 0), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="processes are listed by /proc")
def test_workers_end_with_a_killed_parent():
    code = """if True:
        import time
        from datamodules.packing.parallel import in_parallel
        results = in_parallel(time.sleep, [(0,), (60,), (60,)])
        next(results)
        print("up", flush=True)
        time.sleep(60)"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    workers = in_session(parent.pid)
    assert len(workers) > 1
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while in_session(parent.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not in_session(parent.pid)


def in_session(session: int) -> list[int]:
    listed = subprocess.run(["ps", "-s", str(session), "-o", "pid=,stat="], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if not line.split()[1].startswith("Z")]
