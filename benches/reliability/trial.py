#!/usr/bin/env python3
"""The same faults for this crate, tensorboard-rs and torch.utils.tensorboard.

    trial.py PROGRAM [--kills N] [--out FILE.md]

PROGRAM is benches/reliability built by cargo. Each writer runs in a process of its own that logs
the scalar `loss`, whose value is its step, and obeys one line after the other; between the lines
this program makes the fault. What is left is read by TensorBoard's own Python reader, file by file
up to the first damage, as TensorBoard does.
"""

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS, RS, TORCH = "tch-tensorboard", "tensorboard-rs", "torch.utils.tensorboard"
WRITERS = (OURS, RS, TORCH)
LIMIT = 100_000  # bytes that a file may have while the disk is "full"


def serve_torch(directory):
    """The Python side: the same commands as benches/reliability/main.rs."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(directory)
    print("ok", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words == ["exit"]:
            break
        try:
            if words[0] == "log":
                for step in range(int(words[1]), int(words[2])):
                    writer.add_scalar("loss", step, step)
            elif words[0] == "flush":
                writer.flush()
            elif words[0] == "close":
                writer.close()
            print("ok", flush=True)
        except Exception as error:  # what ends a training loop
            print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


class Writer:
    def __init__(self, name, program, directory, restore_signals=False):
        command = {
            OURS: [program, "ours", directory],
            RS: [program, "tensorboard-rs", directory],
            TORCH: [sys.executable, __file__, "serve-torch", directory],
        }[name]
        # A limit on the size of files sends SIGXFSZ, which Python ignores. Unless it is restored,
        # every process does, so that writing fails instead.
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            restore_signals=restore_signals,
        )
        self.answers = [self.answer()]

    def answer(self):
        return self.process.stdout.readline().strip() or "died"

    def say(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return "died"
        self.answers.append(self.answer())
        return self.answers[-1]

    def limit(self, size):
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def end(self):
        """How it ended, and what it said on standard error."""
        try:
            self.process.stdin.write("exit\n")
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended by itself
        self.process.stdin = None
        try:
            said = self.process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            return "hung", ""
        code = self.process.returncode
        if "panicked at" in said:
            return "panicked", said
        if code:
            return (f"signal {-code}" if code < 0 else f"exit status {code}"), said
        return "ended well", said


def read(directory):
    """The steps that TensorBoard can read, in its order."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps = []
    for path in sorted(Path(directory).glob("*tfevents*")):
        try:
            for event in EventFileLoader(str(path)).Load():
                steps.extend(event.step for value in event.summary.value if value.tag == "loss")
        except Exception:  # damage: TensorBoard reads no further either
            pass
    return steps


def errors(writer):
    return sum(answer != "ok" for answer in writer.answers)


def row(writer, steps, logged, ended):
    readable = len(set(steps) & set(range(logged)))
    return f"{readable} of {logged}", f"{errors(writer)} of {len(writer.answers)}", ended


def full_disk(name, program, directory):
    """The disk is full from 100 kB on, while 200 000 scalars are logged, and stays so."""
    writer = Writer(name, program, directory)
    writer.say("log 0 100")
    writer.say("flush")
    writer.limit(LIMIT)
    for begin in range(100, 200_000, 19_990):
        writer.say(f"log {begin} {min(begin + 19_990, 200_000)}")
    writer.say("flush")
    writer.say("close")
    ended, _ = writer.end()
    return row(writer, read(directory), 200_000, ended)


def space_returns(name, program, directory):
    """As before, but there is space again after 20 000 scalars, and 1000 more are logged."""
    writer = Writer(name, program, directory)
    writer.say("log 0 100")
    writer.say("flush")
    writer.limit(LIMIT)
    writer.say("log 100 20000")
    writer.say("flush")
    writer.limit(resource.RLIM_INFINITY)
    writer.say("log 20000 21000")
    writer.say("flush")
    writer.say("close")
    ended, _ = writer.end()
    return row(writer, read(directory), 21_000, ended)


def removed_file(name, program, directory):
    """The event file is removed after 1000 of 2000 scalars."""
    writer = Writer(name, program, directory)
    writer.say("log 0 1000")
    writer.say("flush")
    for path in Path(directory).glob("*tfevents*"):
        path.unlink()
    writer.say("log 1000 2000")
    writer.say("flush")
    writer.say("close")
    ended, _ = writer.end()
    return row(writer, [step - 1000 for step in read(directory)], 1000, ended)


def renamed_file(name, program, directory):
    """The event file gets a name that no reader lists after 1000 of 2000 scalars, as NFS renames
    one that is removed."""
    writer = Writer(name, program, directory)
    writer.say("log 0 1000")
    writer.say("flush")
    for path in Path(directory).glob("*tfevents*"):
        path.rename(path.with_name(".nfs0000000000000001"))
    writer.say("log 1000 2000")
    writer.say("flush")
    writer.say("close")
    ended, _ = writer.end()
    return row(writer, [step - 1000 for step in read(directory)], 1000, ended)


def size_limit(name, program, directory):
    """`ulimit -f` at 100 kB, with the signal's default action, while 20 000 scalars are logged."""
    writer = Writer(name, program, directory, restore_signals=True)
    writer.say("log 0 100")
    writer.say("flush")
    writer.limit(LIMIT)
    writer.say("log 100 20000")
    writer.say("flush")
    writer.say("close")
    ended, _ = writer.end()
    return row(writer, read(directory), 20_000, ended)


def two_at_once(name, program, directory):
    """Two writers are told the same directory in the same second and log 1000 scalars each."""
    writers = [Writer(name, program, directory) for _ in range(2)]
    for begin in range(0, 1000, 100):
        for writer in writers:
            writer.say(f"log {begin} {begin + 100}")
            writer.say("flush")
    endings = set()
    for writer in writers:
        writer.say("close")
        endings.add(writer.end()[0])
    folders = [path for path in Path(directory).parent.iterdir() if path.is_dir()]
    counts = [len(read(folder)) for folder in folders]
    mixed = "apart" if len(folders) == 2 else "in one directory"
    calls = sum(len(writer.answers) for writer in writers)
    failed = f"{sum(map(errors, writers))} of {calls}"
    return f"{sum(counts)} of 2000, {mixed}", failed, ", ".join(endings)


def killed(name, program, directory, kills):
    """Killed at a random moment while logging; what a flush had acknowledged must be readable."""
    lost = flushed = 0
    for number in range(kills):
        place = os.path.join(directory, str(number))
        writer = Writer(name, program, place)
        count = random.Random(number).randrange(1, 20)
        for begin in range(count):
            writer.say(f"log {begin * 50} {begin * 50 + 50}")
            if writer.say("flush") == "ok":
                acknowledged = begin * 50 + 50
        writer.process.stdin.write(f"log {count * 50} 1000000\n")
        writer.process.stdin.flush()
        time.sleep(random.Random(number).random() / 50)
        writer.process.kill()
        writer.process.communicate()
        lost += len(set(range(acknowledged)) - set(read(place)))
        flushed += acknowledged
    return f"{flushed - lost} of {flushed} flushed", "", f"killed {kills} times"


FAULTS = (full_disk, space_returns, removed_file, renamed_file, size_limit, two_at_once, killed)


def main():
    if sys.argv[1:2] == ["serve-torch"]:
        return serve_torch(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--out")
    options = parser.parse_args()
    columns = ("fault", "writer", "scalars that TensorBoard can read")
    columns += ("calls that returned an error", "the process")
    lines = [f"| {' | '.join(columns)} |", "| --- | --- | --- | --- | --- |"]
    for fault in FAULTS:
        for name in WRITERS:
            with tempfile.TemporaryDirectory() as scratch:
                more = [options.kills] if fault is killed else []
                cells = fault(name, options.program, os.path.join(scratch, "run"), *more)
            label = fault.__name__.replace("_", " ")
            lines.append(f"| {label} | {name} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    if options.out:
        Path(options.out).write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
