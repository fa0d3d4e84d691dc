#!/usr/bin/env python3
"""How long TensorBoard takes to load a log directory with its fast loader, and how much memory it needs.

    board_load.py LOGDIR [--out FILE.md]

Loaded means: every run's tags are listed and stay the same, and the newest point of the tag in `--tag` is its last step.
Memory is that of the web server and the data server together, after loading and again after a page's worth of requests:
every scalar series once and fifty histograms.
"""

import argparse
import datetime
import importlib.metadata
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "end_to_end"))
from board import running_board  # noqa: E402

HISTOGRAMS = 50


def children(parent):
    found = [parent]
    for task in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = task.read_text()
        except OSError:
            continue  # ended meanwhile
        if int(text.rsplit(")", 1)[1].split()[1]) == parent:
            found += children(int(task.parent.name))
    return found


def resident(pids):
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def board_pids():
    """The processes that this one started."""
    return children(os.getpid())[1:]


def measure(logdir, tag, last_step):
    start = time.perf_counter()
    with running_board(logdir, load_fast=True) as board:
        up = time.perf_counter()
        before = None
        while True:
            tags = {kind: board.get(f"plugin/{kind}/tags") for kind in ("scalars", "histograms")}
            runs = [run for run, known in tags["scalars"].items() if tag in known]
            newest = [board.points("scalars", run, tag)[-1:] for run in runs]
            done = newest and all(points and points[0][1] >= last_step for points in newest)
            if done and tags == before:
                break
            before = tags
            time.sleep(0.05)
        loaded = time.perf_counter()
        after_loading = resident(board_pids())
        requests = 0
        for kind, most in (("scalars", None), ("histograms", HISTOGRAMS)):
            for run, known in tags[kind].items():
                for name in list(known)[:most]:
                    board.points(kind, run, name)
                    requests += 1
        return {
            "series": sum(len(known) for kind in tags for known in tags[kind].values()),
            "start of TensorBoard, s": up - start,
            "load, s (from the first answer until all is there)": loaded - up,
            "both, s": loaded - start,
            "memory after loading, MB": after_loading / 1e6,
            f"memory after {requests} series were fetched, MB": resident(board_pids()) / 1e6,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logdir")
    parser.add_argument("--tag", default="loss/train", help="a scalar that is written to the end")
    parser.add_argument("--last-step", type=int, default=99_999)
    parser.add_argument("--out", help="also write the table to this file")
    arguments = parser.parse_args()
    size = sum(path.stat().st_size for path in Path(arguments.logdir).rglob("*") if path.is_file())
    lines = [f"- {datetime.date.today()}; TensorBoard {importlib.metadata.version('tensorboard')}, fast loader"]
    lines += [f"- load (1, 5, 15 minutes): {', '.join(f'{load:.1f}' for load in os.getloadavg())}", ""]
    lines += ["| figure | value |", "| --- | --- |", f"| files, MB | {size / 1e6:.1f} |"]
    figures = measure(arguments.logdir, arguments.tag, arguments.last_step)
    lines += [f"| {name} | {value:.1f} |" if isinstance(value, float) else f"| {name} | {value} |" for name, value in figures.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text)


if __name__ == "__main__":
    main()
