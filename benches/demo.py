#!/usr/bin/env python3
"""Training time of the demo with everything logged at each step, with and without its gradients, against the same training
without logging.

    demo.py PROGRAM [--pairs 5] [--epochs 20]

PROGRAM is the `cnn` example built by cargo. Runs alternate, so that both see the same machine.
"""

import argparse
import os
import re
import statistics
import subprocess
import tempfile

RATE = re.compile(r"(\d+) steps in [\d.]+ s \((\d+) a second\)")
LOGGED = ["--scalars", "every-call", "--histograms", "every-call"]


def seconds(program, arguments, directory):
    command = [program, "--no-progress", "--logdir", os.path.join(directory, "run"), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    steps, rate = RATE.search(said).groups()
    return int(steps) / int(rate)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    print("| libtorch threads | logged | s: min / median / max | medians / without | median of the pairs / without |")
    print("| --- | --- | --- | --- | --- |")
    kinds = {"nothing": ["--no-log"], "weights": [*LOGGED, "--no-gradients"], "weights, gradients": LOGGED}
    for threads in dict.fromkeys([os.cpu_count() or 1, 1]):
        common = ["--threads", str(threads), "--epochs", str(arguments.epochs)]
        times = {kind: [] for kind in kinds}
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(arguments.pairs):
                for kind, options in kinds.items():
                    times[kind].append(seconds(arguments.program, [*common, *options], directory))
        without = times["nothing"]
        for kind, taken in times.items():
            shown = " / ".join(f"{time:.2f}" for time in (min(taken), statistics.median(taken), max(taken)))
            medians = statistics.median(taken) / statistics.median(without)
            pairs = statistics.median(logged / plain for logged, plain in zip(taken, without))
            print(f"| {threads} | {kind} | {shown} | {medians:.3f} | {pairs:.3f} |")
    print(f"\nload (1, 5, 15 minutes) at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
