#!/usr/bin/env python3
"""Training time of the demo with everything logged at each step, with and without its gradients, against the same training
without logging.

    demo.py PROGRAM [--pairs 5] [--epochs 20]

PROGRAM is the `cnn` example built by cargo. Runs alternate, so that both see the same machine. On Linux the scheduler's own
counts (/proc/.../schedstat, looked at every 100 ms) tell where the time goes: what the writer computes, and how long the
threads of training were ready to run and had no core.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

RATE = re.compile(r"(\d+) steps in [\d.]+ s \((\d+) a second\)")
LOGGED = ["--scalars", "every-call", "--histograms", "every-call"]


WRITER = "tch-tensorboard"


def schedule(process):
    """Seconds that the writer has computed, and that the other threads have waited for a core; zeros where nobody counts."""
    computed = waited = 0.0
    for task in Path(f"/proc/{process}/task").glob("*"):
        try:
            name = (task / "comm").read_text().strip()
            ran, queued, _ = map(int, (task / "schedstat").read_text().split())
        except (OSError, ValueError):
            continue
        if name == WRITER:
            computed += ran / 1e9
        else:
            waited += queued / 1e9
    return computed, waited


def run(program, arguments, directory):
    """Seconds of training, and what `schedule` said last."""
    command = [program, "--no-progress", "--logdir", os.path.join(directory, "run"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        counts = (0.0, 0.0)
        while process.poll() is None:
            now = schedule(process.pid)
            # The writer is gone when the program ends.
            counts = tuple(max(pair) for pair in zip(counts, now))
            time.sleep(0.1)
        said = process.stdout.read()
    if process.returncode != 0:
        raise SystemExit(f"{program} ended with {process.returncode}")
    steps, rate = RATE.search(said).groups()
    return int(steps) / int(rate), *counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    print(
        "| libtorch threads | logged | s: min / median / max | medians / without | median of the pairs / without "
        "| writer computes, s | training waits for a core, s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    kinds = {"nothing": ["--no-log"], "weights": [*LOGGED, "--no-gradients"], "weights, gradients": LOGGED}
    for threads in dict.fromkeys([os.cpu_count() or 1, 1]):
        common = ["--threads", str(threads), "--epochs", str(arguments.epochs)]
        runs = {kind: [] for kind in kinds}
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(arguments.pairs):
                for kind, options in kinds.items():
                    runs[kind].append(run(arguments.program, [*common, *options], directory))
        without = [taken for taken, _, _ in runs["nothing"]]
        for kind, all_runs in runs.items():
            taken, computed, waited = zip(*all_runs)
            shown = " / ".join(f"{time:.2f}" for time in (min(taken), statistics.median(taken), max(taken)))
            medians = statistics.median(taken) / statistics.median(without)
            pairs = statistics.median(logged / plain for logged, plain in zip(taken, without))
            counts = " | ".join(f"{statistics.median(count):.2f}" for count in (computed, waited))
            print(f"| {threads} | {kind} | {shown} | {medians:.3f} | {pairs:.3f} | {counts} |")
    print(f"\nload (1, 5, 15 minutes) at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
