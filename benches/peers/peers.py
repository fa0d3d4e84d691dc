#!/usr/bin/env python3
"""Compares the price of logging: this crate, torch.utils.tensorboard, tensorboardX and tensorboard-rs.

    peers.py PROGRAM [--models resnet18 gpt2-small] [--rounds N] [--out FILE.md]

PROGRAM is benches/peers built by cargo. It writes the model's weights and the change of one step to a safetensors file;
both sides load them and make the same steps, so all log the same numbers. One round is one step of training and one call
of each logger in turn, while the others stand still. All write the same for each tensor: histograms of weights and of
deltas, and mean, std, norm, delta mean, delta std, delta max abs. Timed is what the training loop waits for: the calls,
with the difference to the step before and the copy of the weights that the caller of the peers has to make himself. Not
timed, in favour of the peers: flushing after each step.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import safetensors.torch
import tensorboardX
import torch
from torch.utils.tensorboard import SummaryWriter as TorchWriter

WARM_UP = 4  # rounds that do not count
TURN = 16  # As benches/logger/model.rs.
OURS, TORCH, TENSORBOARDX, TENSORBOARD_RS = "tch-tensorboard", "torch.utils.tensorboard", "tensorboardX", "tensorboard-rs"
SERVED = {OURS: "ours", TENSORBOARD_RS: "tensorboard-rs"}
COPIES = ["memcpy", "copy_"]


class Server:
    """The Rust side, one line for one command."""

    def __init__(self, program, model, directory):
        self.process = subprocess.Popen(
            [program, "serve", model, directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"the Rust side ended with {self.process.wait()} at {command!r}")
        answer = json.loads(answer)
        return answer["nanos"] / 1e6, answer["bytes"]

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit(f"the Rust side ended with {self.process.returncode}")


class PythonLogger:
    """torch.utils.tensorboard or tensorboardX, called as their documentation shows."""

    def __init__(self, writer, directory, weights):
        self.writer, self.directory = writer, directory
        self.previous = {name: weight.clone() for name, weight in weights.items()}

    def bytes(self):
        return sum(path.stat().st_size for path in Path(self.directory).iterdir())

    def log(self, weights, step):
        before, writer = self.bytes(), self.writer
        start = time.perf_counter()
        for name, weight in weights.items():
            delta = weight - self.previous[name]
            writer.add_histogram(f"weights/{name}", weight, step)
            writer.add_histogram(f"weight_deltas/{name}", delta, step)
            writer.add_scalar(f"weight_mean/{name}", weight.mean().item(), step)
            writer.add_scalar(f"weight_std/{name}", weight.std(correction=0).item(), step)
            writer.add_scalar(f"weight_norm/{name}", weight.norm().item(), step)
            writer.add_scalar(f"weight_delta_mean/{name}", delta.mean().item(), step)
            writer.add_scalar(f"weight_delta_std/{name}", delta.std(correction=0).item(), step)
            writer.add_scalar(f"weight_delta_max_abs/{name}", delta.abs().max().item(), step)
            self.previous[name].copy_(weight)
        millis = (time.perf_counter() - start) * 1e3
        writer.flush()
        return millis, self.bytes() - before


def compare(program, model, rounds):
    """{name: ([milliseconds], [bytes])} over all rounds but the first ones, which have no delta or fill buffers."""
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        tensors = os.path.join(directory, "tensors.safetensors")
        subprocess.run([program, "prepare", model, tensors], check=True)
        loaded = safetensors.torch.load_file(tensors)
        os.remove(tensors)
        weights = {name[2:]: tensor for name, tensor in loaded.items() if name.startswith("w/")}
        changes = {name[2:]: tensor for name, tensor in loaded.items() if name.startswith("d/")}
        elements = sum(weight.numel() for weight in weights.values())
        server = Server(program, model, directory)
        writers = {TORCH: TorchWriter, TENSORBOARDX: tensorboardX.SummaryWriter}
        peers = {}
        for name, writer in writers.items():
            place = os.path.join(directory, name)
            peers[name] = PythonLogger(writer(place), place, weights)
        for step in range(WARM_UP + rounds):
            server.ask("step")
            for name, weight in weights.items():
                weight.add_(changes[name], alpha=-1 if step // TURN % 2 else 1)
            for name in [*COPIES, OURS, TORCH, TENSORBOARDX, TENSORBOARD_RS]:
                figures = peers[name].log(weights, step) if name in peers else server.ask(SERVED.get(name, name))
                if step >= WARM_UP:
                    for kept, figure in zip(results.setdefault(name, ([], [])), figures):
                        kept.append(figure)
            print(f"{model}: round {step + 1} of {WARM_UP + rounds}", file=sys.stderr)
        for peer in peers.values():
            peer.writer.close()
        server.close()
    return len(weights), elements, results


def digits(value):
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def table(model, tensors, elements, rounds, results):
    ours = statistics.median(results[OURS][0])
    ours_bytes = statistics.median(results[OURS][1])
    copy = min(statistics.median(results[name][0]) for name in COPIES)
    yield f"### {model}: {elements / 1e6:.1f} M parameters in {tensors} tensors, {rounds} steps"
    yield ""
    yield "| | caller's time a step, ms: min / median / max | in copies | against ours | bytes a step | ours / theirs |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, (millis, sizes) in results.items():
        median, size = statistics.median(millis), statistics.median(sizes)
        figures = " / ".join(map(digits, (min(millis), median, max(millis))))
        shares = [f"{size:.0f}", digits(ours_bytes / size)] if size else ["", ""]
        label = {"memcpy": "one copy, memcpy", "copy_": "one copy, libtorch's copy_"}.get(name, name)
        yield f"| {label} | {figures} | {digits(median / copy)} | {digits(median / ours)} x | {shares[0]} | {shares[1]} |"
    yield ""


def cpu_name():
    try:
        info = Path("/proc/cpuinfo").read_text()
        field = lambda name: re.search(rf"^{name}\s*: (.*)$", info, re.MULTILINE).group(1)
        return f"{field('model name')} (family {field('cpu family')}, model {field('model')})"
    except (OSError, AttributeError):
        return platform.processor() or "unknown"


def versions(root):
    lock = (root / "Cargo.lock").read_text()
    locked = lambda name: re.search(rf'name = "{name}"\nversion = "([^"]*)"', lock).group(1)
    python = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "tensorboard", "tensorboardX"))
    rust = ", ".join(f"{name} {locked(name)}" for name in ("tch-tensorboard", "tch", "tensorboard-rs"))
    return f"{rust}; {python}; Python {platform.python_version()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--models", nargs="+", default=["resnet18", "gpt2-small"])
    parser.add_argument("--rounds", type=int, help="steps that count (default: 10 for resnet18, 4 for gpt2-small)")
    parser.add_argument("--out", help="also write the table to this file (default: benches/results/<date>-peers.md)")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent.parent
    lines = ["# Logging every weight at every step: this crate and its peers", ""]
    lines += [f"Made by `make bench-peers` on {datetime.date.today()}.", ""]
    lines += [f"- CPU: {cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} libtorch threads; {platform.system()} {platform.machine()}"]
    lines += [f"- Versions: {versions(root)}"]
    lines += [f"- Load (1, 5, 15 minutes) at the start: {', '.join(f'{load:.1f}' for load in os.getloadavg())}", ""]
    for model in arguments.models:
        rounds = arguments.rounds or (4 if model == "gpt2-small" else 10)
        tensors, elements, results = compare(arguments.program, model, rounds)
        lines += table(model, tensors, elements, rounds, results)
    lines += [
        "Same work: weight and delta histograms and six scalars (mean, std, norm, delta mean, delta std, delta max abs) for",
        "each tensor at each step. tensorboard-rs takes finished bucket counts only: libtorch makes them here, over the",
        "default limits of `torch.utils.tensorboard`. The file of this crate also holds the statistics of the whole model",
        "and of roles. Flushing is not part of the caller's time of any of them.",
    ]
    text = "\n".join(lines) + "\n"
    out = Path(arguments.out) if arguments.out else root / "benches" / "results" / f"{datetime.date.today()}-peers.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text)
    print(text)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
