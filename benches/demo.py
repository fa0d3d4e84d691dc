#!/usr/bin/env python3
"""Training time of the demo with everything logged at each step, with and without its gradients, against the same training
without logging.

    demo.py PROGRAM [--pairs 5] [--epochs 20] [--before OTHER]
    demo.py PROGRAM --beside 50 100 200 400

PROGRAM is the `cnn` example built by cargo. Runs alternate, so that both see the same machine. On Linux the scheduler's own
counts (/proc/.../schedstat, looked at every 100 ms) tell where the time goes: what the writer computes, and how long the
threads of training were ready to run and had no core. With --before the same example of another build logs in turn with it.

With --beside nothing is logged: another process computes for so many microseconds, sleeps 2 ms, and so on, which shows what
a core is worth to the training.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RATE = re.compile(r"(\d+) steps in [\d.]+ s \((\d+) a second\)")
LOGGED = ["--scalars", "every-call", "--histograms", "every-call"]

# Of the writer's policy where there is one.
BUSY = """
import os, sys, time
if hasattr(os, "SCHED_BATCH"):
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
while True:
    until = time.thread_time() + int(sys.argv[1]) / 1e6
    while time.thread_time() < until:
        pass
    time.sleep(0.002)
"""

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


def run_beside(program, arguments, micros):
    """Seconds of training while another process computes, and the share of a core that it took."""
    with tempfile.TemporaryDirectory() as directory:
        if not micros:
            return run(program, arguments, directory)[0], 0.0
        with subprocess.Popen([sys.executable, "-c", BUSY, str(micros)]) as busy:
            time.sleep(0.2)
            since, before = time.time(), seconds_of(busy.pid)
            try:
                taken = run(program, arguments, directory)[0]
                share = (seconds_of(busy.pid) - before) / (time.time() - since)
            finally:
                busy.kill()
        return taken, share


def beside(program, common, all_micros, count):
    """What other processes cost the training, runs in turn."""
    print("| computes, µs | of a core | s: min / median / max | medians / without | median of the pairs / without |")
    print("| --- | --- | --- | --- | --- |")
    runs = {micros: [] for micros in [0, *all_micros]}
    for _ in range(count):
        for micros, taken in runs.items():
            taken.append(run_beside(program, [*common, "--no-log"], micros))
    without = [taken for taken, _ in runs[0]]
    for micros, all_runs in runs.items():
        taken, shares = zip(*all_runs)
        medians, pairs = against(taken, without)
        print(f"| {micros} | {100 * statistics.median(shares):.1f} % | {spread(taken)} | {medians:.3f} | {pairs:.3f} |")


def seconds_of(process):
    """Seconds that the first thread of a process has computed."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def spread(taken):
    return " / ".join(f"{time:.2f}" for time in (min(taken), statistics.median(taken), max(taken)))


def against(taken, without):
    """The ratio of the medians, and the median of the ratios of runs beside each other."""
    pairs = statistics.median(logged / plain for logged, plain in zip(taken, without))
    return statistics.median(taken) / statistics.median(without), pairs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--before", metavar="OTHER")
    parser.add_argument("--beside", type=int, nargs="+", metavar="MICROS")
    arguments = parser.parse_args()
    if arguments.beside:
        common = ["--threads", str(os.cpu_count() or 1), "--epochs", str(arguments.epochs)]
        beside(arguments.program, common, arguments.beside, arguments.pairs)
        return
    print(
        "| libtorch threads | logged | s: min / median / max | medians / without | median of the pairs / without "
        "| writer computes, s | training waits for a core, s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    program, weights = arguments.program, [*LOGGED, "--no-gradients"]
    kinds = {"nothing": (program, ["--no-log"])}
    if arguments.before:
        kinds["weights, before"] = (arguments.before, weights)
    kinds |= {"weights": (program, weights), "weights, gradients": (program, LOGGED)}
    for threads in dict.fromkeys([os.cpu_count() or 1, 1]):
        common = ["--threads", str(threads), "--epochs", str(arguments.epochs)]
        runs = {kind: [] for kind in kinds}
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(arguments.pairs):
                for kind, (program, options) in kinds.items():
                    runs[kind].append(run(program, [*common, *options], directory))
        without = [taken for taken, _, _ in runs["nothing"]]
        for kind, all_runs in runs.items():
            taken, computed, waited = zip(*all_runs)
            medians, pairs = against(taken, without)
            counts = " | ".join(f"{statistics.median(count):.2f}" for count in (computed, waited))
            print(f"| {threads} | {kind} | {spread(taken)} | {medians:.3f} | {pairs:.3f} | {counts} |")
    print(f"\nload (1, 5, 15 minutes) at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
