#!/usr/bin/env python3
"""Compares the caller's time of log_image with that of torch's add_image, in turn in one run.

    images.py PROGRAM [--rounds N]

PROGRAM is benches/pictures built by cargo. Each round logs one image of 224 x 224 x 3 floats with either.
"""

import argparse
import statistics
import subprocess
import tempfile
import time

import torch
from torch.utils.tensorboard import SummaryWriter

WARM_UP = 5  # rounds that do not count


def digits(value):
    return f"{value:.3g}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [arguments.program, "serve", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        writer = SummaryWriter(f"{directory}/torch")
        for step in range(WARM_UP + arguments.rounds):
            process.stdin.write("image\n")
            process.stdin.flush()
            ours.append(int(process.stdout.readline()) / 1e3)
            image = torch.arange(3 * 224 * 224, dtype=torch.float32).mul_(0.618).add_(step * 0.37).frac_().reshape(3, 224, 224)
            start = time.perf_counter()
            writer.add_image("image", image, step)
            theirs.append((time.perf_counter() - start) * 1e6)
            writer.flush()
        writer.close()
        process.stdin.close()
        if process.wait() != 0:
            raise SystemExit(f"the Rust side ended with {process.returncode}")
    ours, theirs = ours[WARM_UP:], theirs[WARM_UP:]
    print("| | caller's time of an image of 224 x 224 x 3 floats, µs: min / median / max | medians: against ours |")
    print("| --- | --- | --- |")
    for name, times in (("log_image", ours), (f"torch {torch.__version__}, add_image", theirs)):
        median = statistics.median(times)
        figures = " / ".join(map(digits, (min(times), median, max(times))))
        print(f"| {name} | {figures} | {digits(median / statistics.median(ours))} x |")


if __name__ == "__main__":
    main()
