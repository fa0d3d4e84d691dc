"""Kills a run twice and looks at what TensorBoard shows of it, once it went on from its checkpoints.

    python resume.py PROGRAM LOGDIR

PROGRAM is the example `resume`. Both loaders of TensorBoard are started in turn. Each has to show every step once and in
order, with the values of an undisturbed run, and the layout of Custom Scalars, and nothing of the private record.
"""

import pathlib
import subprocess
import sys
import time

from board import BoardError, running_board

STEPS = 200
CHECKPOINT_EVERY = 20
DECAY = 0.99
WEIGHTS = (1.0, -2.0, 0.5)
KILLED_AFTER = (73, 50)
# The plugin and the tag of the records that this crate writes for its own reader.
PRIVATE = "tch_tensorboard"
SETTLE_SECS = 20


def train(program, logdir):
    """Returns the steps at which the run went on."""
    starts = []
    for steps in [*KILLED_AFTER, None]:
        command = [program, logdir] + ([str(steps)] if steps else [])
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != (1 if steps else 0):
            raise SystemExit(f"resume: {command} ended with {done.returncode}")
        starts.append(int(done.stdout.split()[-1]))
    return starts


def expected_steps(tag, starts, load_fast):
    """All of them; but the first call of a session has no delta. The fast loader, which forgets a tag's points at its first
    new one only, keeps the delta that the killed process wrote for that step."""
    has_none = [] if "delta" not in tag else starts[:1] if load_fast else starts
    return [step for step in range(STEPS) if step not in has_none]


def faults(board, starts, load_fast):
    found = []
    series = {tag: points for (kind, run, tag), points in board.series().items() if kind == "scalars"}
    loss = series.get("loss/train", [])
    if [step for step, _ in loss] != list(range(STEPS)):
        found.append(f"loss/train has steps {[step for step, _ in loss]}")
    for step, value in loss:
        wanted = sum((weight * DECAY ** (step + 1)) ** 2 for weight in WEIGHTS)
        if abs(value - wanted) > 1e-5 * wanted:
            found.append(f"loss/train at step {step} is {value!r}, not {wanted!r}")
    for tag in ("weight_mean/fc.weight", "weight_norm/fc.weight", "weight_delta_std/fc.weight"):
        steps = [step for step, _ in series.get(tag, [])]
        if steps != expected_steps(tag, starts, load_fast):
            found.append(f"{tag} has steps {steps}")
    layouts = board.get("plugin/custom_scalars/layout").get("category", [])
    if not layouts:
        found.append("there is no layout")
    return found + private_faults(board)


def private_faults(board):
    """TensorBoard shows nothing of a plugin that it does not know: no tab, no tag."""
    found = []
    plugins = board.get("plugins_listing")
    if PRIVATE in plugins:
        found.append(f"there is a plugin {PRIVATE}")
    for plugin in ("scalars", "histograms", "distributions", "text", "images", "audio"):
        for run, tags in board.get(f"plugin/{plugin}/tags").items():
            if any(tag.startswith(PRIVATE) for tag in tags):
                found.append(f"{plugin} of {run} have a private record")
    shown = board.get("plugin/timeseries/tags")
    if PRIVATE in str(shown):
        found.append("Time Series has a private record")
    return found


def main():
    program, logdir = sys.argv[1:]
    starts = train(program, logdir)
    if starts != [0, 61, 101]:
        return [f"the run went on at {starts}"]
    for file in pathlib.Path(logdir).glob("*tfevents*"):
        if PRIVATE.encode() not in file.read_bytes():
            return [f"{file} has no private record"]
    for load_fast in (True, False):
        loader = "fast loader" if load_fast else "Python loader"
        with running_board(logdir, load_fast) as board:
            until = time.monotonic() + SETTLE_SECS
            while True:
                try:
                    messages = faults(board, starts, load_fast)
                except (BoardError, OSError) as error:
                    messages = [str(error)]
                if not messages or time.monotonic() > until:
                    break
                time.sleep(0.3)
        if messages:
            return [f"{loader}: {message}" for message in messages]
        print(f"{loader}: {STEPS} steps of a run that was killed {len(KILLED_AFTER)} times, each once", flush=True)
    return []


if __name__ == "__main__":
    failed = main()
    for line in failed:
        print(f"resume: {line}", file=sys.stderr)
    sys.exit(1 if failed else 0)
