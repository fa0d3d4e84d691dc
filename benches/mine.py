#!/usr/bin/env python3
"""What logging costs a program of your own: its time with and without, in turn.

    mine.py [--pairs 15] -- COMMAND [ARGUMENT ...]

The command trains and logs with this crate, and logs nothing where the environment has TCH_TENSORBOARD=off: `let logger =
(std::env::var("TCH_TENSORBOARD").as_deref() != Ok("off")).then(|| Logger::create(run)).transpose()?`. It is run once to warm up,
then as often as asked with and without, the order within a pair changing from pair to pair. Prints minimum, median and maximum of
the time on the clock and of the CPU time of the process, and the median of the ratios of the pairs with the interval that holds the
true median at 95 % (order statistics of the binomial distribution, no assumption about how times are distributed). CPU time hardly
depends on what else the machine does; time on the clock does.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time


def run(command, logs):
    """Seconds on the clock and of all threads of the program."""
    environment = {key: value for key, value in os.environ.items() if key != "TCH_TENSORBOARD"}
    if not logs:
        environment["TCH_TENSORBOARD"] = "off"
    since = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench-mine: error: {command[0]} ended with {process.returncode}; run it by itself to see why")
    return time.monotonic() - since, usage.ru_utime + usage.ru_stime


def interval(ratios):
    """The order statistics between which the median lies with a probability of at least 95 %; the extremes of fewer than six."""
    ordered, count = sorted(ratios), len(ratios)
    left_out, tail = 0, 0.0
    while left_out < count // 2:
        tail += math.comb(count, left_out) / 2**count
        if 2 * tail > 0.05:
            break
        left_out += 1
    place = max(left_out - 1, 0)
    return ordered[place], ordered[-1 - place]


def spread(values):
    return " / ".join(f"{value:.2f}" for value in (min(values), statistics.median(values), max(values)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command or arguments.pairs < 1:
        parser.error('name a command: make bench-mine BENCH_ARGS="-- target/release/train --epochs 3"')
    run(command, True)
    taken = {True: [], False: []}
    for pair in range(arguments.pairs):
        for logs in (True, False) if pair % 2 else (False, True):
            taken[logs].append(run(command, logs))
    print(f"{' '.join(command)}: {arguments.pairs} pairs\n")
    print("| | without, s: min / median / max | with logging, s | median ratio of the pairs | 95 % interval |")
    print("| --- | --- | --- | --- | --- |")
    for place, name in enumerate(("on the clock", "CPU time")):
        without, logged = ([each[place] for each in taken[logs]] for logs in (False, True))
        ratios = [one / other for one, other in zip(logged, without)]
        low, high = interval(ratios)
        print(f"| {name} | {spread(without)} | {spread(logged)} | {statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} |")
    print(f"\nload (1, 5, 15 minutes) at the end: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    sys.exit(main())
