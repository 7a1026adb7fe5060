"""Stands in for `ostinato fit`, and behaves like it: lock, checkpoints, metrics, signals, summary; starts at once.

Usage: fake_fit.py fit BEHAVIOUR --folder=DIR --steps=N; a step takes 20 ms, a line in steps.txt, and is saved every 5.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

behaviour = sys.argv[2]
options = dict(word[2:].split("=") for word in sys.argv[3:])
folder, last = Path(options["folder"]), int(options["steps"])
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
checkpoint, metrics = folder / "checkpoints" / "last.ckpt", folder / "metrics.csv"
lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(f"ostinato: error: {folder} is being trained by process 1: wait or stop it")
begin = int(checkpoint.read_text()) if checkpoint.exists() else 0
if not metrics.exists():
    metrics.write_text("step,validation/error,speed/samples_per_second\n")
kept = metrics.read_text().splitlines()[: begin + 1]
rewound = metrics.with_suffix(".part")
rewound.write_text("\n".join(kept) + "\n")
rewound.replace(metrics)  # or a kill in between would empty it
with open(folder / "lives.txt", "a") as lives:
    lives.write(f"{begin} {os.environ['OMP_NUM_THREADS']} {os.environ.get('CUDA_VISIBLE_DEVICES')} {os.getpid()}\n")
received = []
signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
for step in range(begin + 1, last + 1):
    time.sleep(0.02)
    with open(metrics, "a") as file:
        file.write(f"{step},{float(options.get('quality', 1)) / step if step % 5 == 0 else ''},50\n")
    if step % 5 == 0 or received:
        part = checkpoint.with_suffix(".part")
        part.write_text(str(step))
        part.replace(checkpoint)
    if received:
        print(f"stopped at step {step}")
        sys.exit(128 + signal.SIGTERM)
    if behaviour == "fails" and step == 12:
        print("Traceback", "the reason", sep="\n")
        sys.exit(1)
    if behaviour == "fails_once" and step == 7 and begin == 0:
        sys.exit(1)
    if behaviour == "dies_once" and step == 7 and begin == 0:
        os.kill(os.getpid(), signal.SIGKILL)
summary = {"state": "finished", "steps": last, "checkpoint_bytes": checkpoint.stat().st_size}
(folder / "summary.json").write_text(json.dumps(summary))
