"""A sweep of fake runs as a process of its own, to be stopped and killed: fake_sweep.py DIR COUNT JOBS [STEPS]."""

import sys
from pathlib import Path

from framework.sweeps.local import LocalLauncher
from framework.sweeps.record import PlannedRun

PROGRAM = (sys.executable, str(Path(__file__).with_name("fake_fit.py")))


def fake_run(root, name, behaviour="ok", steps=20, quality=1.0):
    folder = Path(root) / name
    arguments = (f"--folder={folder}", f"--steps={steps}", f"--quality={quality}")
    return PlannedRun(name, behaviour, arguments, folder, name, name, 0, {}, steps, 5, 1, "validation/error")


if __name__ == "__main__":
    root, count, jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    launcher = LocalLauncher([fake_run(root, f"run{n}", steps=steps) for n in range(count)], jobs, program=PROGRAM)
    tasks = launcher.run()
    print([task.state for task in tasks])
    sys.exit(128 + launcher.stopped if launcher.stopped else 0)
