"""Compares what the real TensorBoard shows of a log with what numpy computes from the same weights.

    python check.py LOGDIR DUMP

LOGDIR was written by the crate, DUMP by the example beside it (dump.py tells the format). Both loaders of TensorBoard are
started in turn, and every series of weights and weight deltas they show is compared: tags, steps, and values, histograms
row by row. Exit status 0 when all agree, 1 when something does not.
"""

import argparse
import re
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np

from board import BoardError, running_board
from dump import DumpError, bits, read_dump

RATIO_LOG10_FLOOR = -8.0
# The crate keeps this many elements of the initial weights of a larger tensor: its drift is an estimate then.
DRIFT_SAMPLE = 4096
# Lines of single weights for each variable of a small model.
SAMPLED_LINES = 4
MESSAGES_SHOWN = 40


@dataclass(frozen=True)
class Expected:
    """A scalar and how far from it TensorBoard's may lie. `value` None: not defined (a ratio to zero), and so any finite
    value will do, or none."""

    value: float | None
    tolerance: float = 0.0

    def admits(self, value):
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            return False
        if self.value is None:
            return True
        return abs(value - self.value) <= self.tolerance


def near(value, scale=0.0):
    """A statistic accumulated from float32 elements of magnitude `scale` and stored as float32: a sum that cancels keeps the
    rounding errors of its terms."""
    value = float(value)
    return Expected(value, 1e-5 * abs(value) + 2e-6 * float(scale))


def norm(array):
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def moments(prefix, array):
    """The mean and the population standard deviation."""
    wide = array.astype(np.float64)
    scale = np.sqrt(np.mean(wide**2))
    return {f"{prefix}_mean": near(wide.mean(), scale), f"{prefix}_std": near(wide.std(), scale)}


def weight_statistics(weights):
    return {**moments("weight", weights), "weight_norm": near(norm(weights))}


def delta_statistics(weights, previous, initial):
    delta = weights - previous
    changed = np.mean(bits(weights) != bits(previous))
    return {
        **moments("weight_delta", delta),
        "weight_delta_max_abs": near(np.abs(delta).max()),
        "weight_changed_fraction": near(changed),
        "weight_drift": drift(weights, initial),
        **update_ratio(norm(delta), norm(previous)),
    }


def update_ratio(delta_norm, previous_norm):
    if previous_norm == 0.0:
        return {"weight_update_ratio": Expected(None), "weight_update_ratio_log10": Expected(None)}
    ratio = delta_norm / previous_norm
    log10 = max(np.log10(ratio), RATIO_LOG10_FLOOR) if ratio > 0.0 else RATIO_LOG10_FLOOR
    return {"weight_update_ratio": near(ratio), "weight_update_ratio_log10": Expected(float(log10), 1e-4)}


def drift(weights, initial):
    """norm(w - w(0)) / norm(w(0)); for a large tensor both norms are estimated from a sample, with the standard error of a
    mean of squares. Five of them, and a floor for the sample's own skew, are far below what a wrong formula differs by."""
    moved, start = (array.astype(np.float64) for array in (weights - initial, initial))
    if not start.any():
        return Expected(None)
    exact = norm(moved) / norm(start)
    if weights.size <= DRIFT_SAMPLE:
        return near(exact)
    error = np.hypot(relative_norm_error(moved), relative_norm_error(start))
    return Expected(exact, float(exact * (5.0 * error + 0.02)))


def relative_norm_error(array):
    """Standard error of sqrt(mean of squares of a sample), relative to its value; half that of the mean of squares."""
    squares = array.ravel() ** 2
    mean = squares.mean()
    return 0.5 * squares.std() / np.sqrt(DRIFT_SAMPLE) / mean if mean > 0.0 else 0.0


def expected_scalars(dump):
    """{tag: {step: Expected}} of every statistic of every variable."""
    steps = list(dump)
    expected = {}
    for step in steps:
        for name, weights in dump[step].items():
            statistics = weight_statistics(weights)
            if step != steps[0]:
                statistics.update(delta_statistics(weights, dump[step - 1][name], dump[steps[0]][name]))
            for statistic, value in statistics.items():
                expected.setdefault(f"{statistic}/{name}", {})[step] = value
    return expected


def expected_histograms(dump):
    """{tag: {step: array}}: the elements that the rows have to count."""
    expected = {}
    for step, variables in dump.items():
        for name, weights in variables.items():
            expected.setdefault(f"weights/{name}", {})[step] = weights
            if step - 1 in dump:
                expected.setdefault(f"weight_deltas/{name}", {})[step] = weights - dump[step - 1][name]
    return expected


class Comparison:
    """Collects what does not agree."""

    def __init__(self, series, dump):
        self.series = series
        self.dump = dump
        self.messages = []
        self.points = 0
        self.seen = set()
        self.run = None

    def complain(self, message):
        self.messages.append(message)

    def compare(self):
        runs = {run for kind, run, tag in self.series if kind == "histograms" and tag.startswith("weights/")}
        if len(runs) != 1:
            self.complain(
                f"weights/... histograms are in {len(runs)} runs ({', '.join(sorted(runs)) or 'none'}), not in one"
            )
            return self
        self.run = runs.pop()
        for tag, points in expected_scalars(self.dump).items():
            self.compare_scalars(tag, points)
        for tag, arrays in expected_histograms(self.dump).items():
            self.compare_histograms(tag, arrays)
        for name in next(iter(self.dump.values())):
            self.compare_samples(name)
        self.compare_model()
        self.refuse_unknown()
        return self

    def points_of(self, kind, tag, required, allowed=()):
        """The points of a series by step, after its steps were checked."""
        self.seen.add((kind, tag))
        points = self.series.get((kind, self.run, tag))
        if points is None:
            if required:
                self.complain(f"{kind} {tag}: missing")
            return {}
        steps = [step for step, _ in points]
        if steps != sorted(set(steps)):
            self.complain(f"{kind} {tag}: steps {steps} repeat or go back")
        missing = sorted(set(required) - set(steps))
        extra = sorted(set(steps) - set(required) - set(allowed))
        if missing or extra:
            self.complain(f"{kind} {tag}: steps missing: {missing or 'none'}, not expected: {extra or 'none'}")
        self.points += len(points)
        return dict(points)

    def compare_scalars(self, tag, expected):
        required = [step for step, entry in expected.items() if entry.value is not None]
        for step, value in self.points_of("scalars", tag, required, allowed=expected).items():
            entry = expected.get(step)
            if entry is not None and not entry.admits(value):
                self.complain(
                    f"scalars {tag} step {step}: TensorBoard shows {value!r}, numpy has {entry.value!r} ± {entry.tolerance:.1g}"
                )

    def compare_histograms(self, tag, arrays):
        for step, rows in self.points_of("histograms", tag, arrays).items():
            if step in arrays:
                for message in histogram_faults(rows, arrays[step]):
                    self.complain(f"histograms {tag} step {step}: {message}")

    def compare_samples(self, name):
        """Single weights and their changes are exact, and both show the same elements."""
        steps = list(self.dump)
        weights = self.sampled("weight_samples", name)
        deltas = self.sampled("weight_delta_samples", name)
        lines = min(SAMPLED_LINES, self.dump[steps[0]][name].size)
        if len(weights) != lines or weights != deltas:
            self.complain(
                f"scalars of {name}: {lines} sampled elements expected; weights show {weights}, deltas {deltas}"
            )
        for index in weights:
            series = {step: self.element(name, step, index) for step in steps}
            self.compare_scalars(
                f"weight_samples/{name}/{index}", {step: Expected(float(value)) for step, value in series.items()}
            )
        for index in deltas:
            changes = {
                step: self.element(name, step, index) - self.element(name, step - 1, index) for step in steps[1:]
            }
            self.compare_scalars(
                f"weight_delta_samples/{name}/{index}",
                {step: Expected(float(value)) for step, value in changes.items()},
            )

    def sampled(self, statistic, name):
        """The flat indices shown, in order; one that lies outside the variable is a fault of its own."""
        pattern = re.compile(re.escape(f"{statistic}/{name}/") + r"(\d+)$")
        found = [pattern.match(tag) for kind, run, tag in self.series if kind == "scalars" and run == self.run]
        indices = sorted(int(match.group(1)) for match in found if match)
        size = next(iter(self.dump.values()))[name].size
        for index in indices:
            if index >= size:
                self.seen.add(("scalars", f"{statistic}/{name}/{index}"))
                self.complain(f"scalars {statistic}/{name}/{index}: the variable has {size} elements")
        return [index for index in indices if index < size]

    def element(self, name, step, index):
        return self.dump[step][name].ravel()[index]

    def compare_model(self):
        """The extremes over all variables, and the changed share of all elements, at steps at which each is defined."""
        expected = {}
        steps = list(self.dump)
        for step in steps[1:]:
            now, before, first = self.dump[step], self.dump[step - 1], self.dump[steps[0]]
            each = [delta_statistics(now[name], before[name], first[name]) for name in now]
            log10 = [statistics["weight_update_ratio_log10"].value for statistics in each]
            defined = None not in log10
            expected.setdefault("model/update_ratio_log10_min", {})[step] = Expected(
                min(log10) if defined else None, 1e-4
            )
            expected.setdefault("model/update_ratio_log10_max", {})[step] = Expected(
                max(log10) if defined else None, 1e-4
            )
            shares = [statistics["weight_changed_fraction"].value for statistics in each]
            sizes = [array.size for array in now.values()]
            expected.setdefault("model/changed_fraction", {})[step] = near(np.average(shares, weights=sizes))
            expected.setdefault("model/changed_fraction_min", {})[step] = near(min(shares))
        for tag, points in expected.items():
            self.compare_scalars(tag, points)

    def refuse_unknown(self):
        for kind, run, tag in self.series:
            ours = tag.startswith("weight") and not tag.startswith("weight_gradient")
            if ours and (run != self.run or (kind, tag) not in self.seen):
                self.complain(f"{kind} {tag} of run {run}: not expected")


def histogram_faults(rows, array):
    """What is wrong with rows (left, right, count) as the histogram of `array`: a row counts [left, right), the last one its
    right edge too, and a row of no width the elements equal to it, which then no row beside it counts."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    values = np.sort(array.astype(np.float64).ravel())
    if len(table) == 0 or not np.isfinite(table).all():
        return ["no rows, or edges or counts that are not finite"]
    left, right, counts = table.T
    if (right < left).any() or (left[1:] < right[:-1]).any():
        return ["rows are not sorted, or overlap"]
    faults = []
    if counts.sum() != values.size:
        faults.append(f"rows count {counts.sum():.17g} elements of {values.size}")
    if left[0] != values[0] or right[-1] != values[-1]:
        faults.append(f"rows span [{left[0]!r}, {right[-1]!r}], the elements [{values[0]!r}, {values[-1]!r}]")
    points = set(left[left == right])
    for index, (low, high, count) in enumerate(table):
        is_last = index == len(table) - 1
        begin = np.searchsorted(values, low, side="right" if low < high and low in points else "left")
        end = np.searchsorted(values, high, side="right" if low == high or is_last else "left")
        if count != end - begin:
            faults.append(f"row {index} [{low!r}, {high!r}] counts {count:.17g}, numpy {end - begin}")
    return faults


def settled_comparison(board, dump, settle_secs):
    """Asks until all agrees, or until TensorBoard has shown the same for so long that it has loaded all there is."""
    before, since = None, time.monotonic()
    while True:
        series = board.series()
        comparison = Comparison(series, dump).compare()
        if not comparison.messages:
            return comparison
        if series != before:
            before, since = series, time.monotonic()
        elif time.monotonic() - since >= settle_secs:
            return comparison
        time.sleep(0.3)


def check(logdir, dump_folder, settle_secs):
    """What does not agree, as lines."""
    dump = read_dump(dump_folder)
    shown = {}
    for load_fast in (True, False):
        loader = "fast loader" if load_fast else "Python loader"
        with running_board(logdir, load_fast) as board:
            comparison = settled_comparison(board, dump, settle_secs)
        if comparison.messages:
            return [f"{loader}: {message}" for message in comparison.messages]
        print(f"{loader}: {len(comparison.seen)} series with {comparison.points} points agree with numpy", flush=True)
        shown[load_fast] = comparison.series
    differing = [
        key for key in shown[True].keys() | shown[False].keys() if shown[True].get(key) != shown[False].get(key)
    ]
    return [f"{kind} {tag} of run {run}: the two loaders show it differently" for kind, run, tag in sorted(differing)]


def stop(signum, _frame):
    if signum == signal.SIGALRM:
        sys.exit("check: timed out: TensorBoard did not answer or never settled; --timeout gives it longer")
    sys.exit(128 + signum)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logdir", help="a run directory the crate wrote, or one above it")
    parser.add_argument("dump", help="the folder of step_<number>.safetensors files")
    parser.add_argument(
        "--timeout", type=int, default=300, metavar="SECS", help="give up after this long (%(default)s)"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=20.0,
        metavar="SECS",
        help="disagreement stands after this long without change (%(default)s)",
    )
    options = parser.parse_args(arguments)
    # Ending by an exception stops TensorBoard on the way out.
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(name, stop)
    signal.alarm(options.timeout)
    try:
        messages = check(options.logdir, options.dump, options.settle)
    except (DumpError, BoardError, OSError) as error:
        messages = [str(error)]
    finally:
        signal.alarm(0)
    for message in messages[:MESSAGES_SHOWN]:
        print(f"check: {message}", file=sys.stderr)
    if len(messages) > MESSAGES_SHOWN:
        print(f"check: and {len(messages) - MESSAGES_SHOWN} more", file=sys.stderr)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
