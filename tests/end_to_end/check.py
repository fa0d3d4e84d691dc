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
    """A scalar and how far from it TensorBoard's may lie. `value` None: not defined (a ratio to zero), and not written."""

    value: float | None
    tolerance: float = 0.0

    def admits(self, value):
        # Text is a number that is not finite.
        return isinstance(value, (int, float)) and abs(value - self.value) <= self.tolerance


def near(value, scale=0.0):
    """A statistic accumulated from float32 elements of magnitude `scale` and stored as float32: a sum that cancels keeps the
    rounding errors of its terms."""
    value = float(value)
    return Expected(value, 1e-5 * abs(value) + 2e-6 * float(scale))


def norm(array):
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def magnitude(array):
    return np.sqrt(np.mean(array.astype(np.float64) ** 2))


def moments(prefix, array):
    """The mean and the population standard deviation."""
    wide, scale = array.astype(np.float64), magnitude(array)
    return {f"{prefix}_mean": near(wide.mean(), scale), f"{prefix}_std": near(wide.std(), scale)}


def weight_statistics(weights, initial):
    found = {
        **moments("weight", weights),
        "weight_norm": near(norm(weights)),
        "weight_drift": drift([(weights, initial)]),
    }
    mean, std = (found[f"weight_{which}"].value for which in ("mean", "std"))
    found["weight_mean_minus_std"] = near(mean - std, magnitude(weights))
    found["weight_mean_plus_std"] = near(mean + std, magnitude(weights))
    return found


def delta_statistics(weights, previous):
    delta = weights - previous
    ratio = update_ratio(norm(delta), norm(previous))
    return {
        **moments("weight_delta", delta),
        "weight_delta_max_abs": near(np.abs(delta).max()),
        "weight_changed_fraction": near(np.mean(bits(weights) != bits(previous))),
        "weight_update_ratio": Expected(None) if ratio is None else near(ratio),
        "weight_update_ratio_log10": floored_log10(ratio),
    }


def update_ratio(delta_norm, previous_norm):
    return delta_norm / previous_norm if previous_norm > 0.0 else None


def floored_log10(ratio):
    if ratio is None:
        return Expected(None)
    return Expected(max(float(np.log10(ratio)), RATIO_LOG10_FLOOR) if ratio > 0.0 else RATIO_LOG10_FLOOR, 1e-4)


def drift(pairs):
    """norm(w - w(0)) / norm(w(0)) over all (w, w(0)) of `pairs`. Of a large tensor both norms are estimated from a sample:
    then five standard errors, and a floor for the sample's own skew, are far below what a wrong formula differs by."""
    moved = [squares(weights - initial) for weights, initial in pairs]
    start = [squares(initial) for _, initial in pairs]
    (moved_sum, moved_error), (start_sum, start_error) = total(moved), total(start)
    if start_sum == 0.0:
        return Expected(None)
    exact = np.sqrt(moved_sum / start_sum)
    if moved_sum == 0.0 or all(weights.size <= DRIFT_SAMPLE for weights, _ in pairs):
        return near(exact)
    # Half of it, since the norms are square roots of the sums.
    error = 0.5 * np.hypot(moved_error / moved_sum, start_error / start_sum)
    return Expected(float(exact), float(exact * (5.0 * error + 0.02)))


def squares(array):
    return array.astype(np.float64).ravel() ** 2


def total(arrays):
    """The sum over all arrays, and the standard error of its estimate where an array is sampled."""
    sampled = [array for array in arrays if array.size > DRIFT_SAMPLE]
    errors = [array.size * array.std() / np.sqrt(DRIFT_SAMPLE) for array in sampled]
    return sum(array.sum() for array in arrays), float(np.linalg.norm(errors))


def model_statistics(now, initial):
    """All variables as if they were one."""
    weights = np.concatenate([now[name].ravel() for name in now])
    return {
        "weight_norm": near(norm(weights)),
        "weight_std": near(weights.astype(np.float64).std(), magnitude(weights)),
        "drift": drift([(now[name], initial[name]) for name in now]),
    }


def model_delta_statistics(now, previous):
    """All variables as if they were one, and how the variables spread: one that stands still is lost in a sum."""
    weights, before = (np.concatenate([arrays[name].ravel() for name in now]) for arrays in (now, previous))
    each = [delta_statistics(now[name], previous[name]) for name in now]
    found = delta_statistics(weights, before)
    found = {key: found[f"weight_{key}"] for key in ("update_ratio_log10", "changed_fraction", "delta_max_abs")}
    found["changed_fraction_min"] = min((one["weight_changed_fraction"] for one in each), key=lambda one: one.value)
    ratios = [one["weight_update_ratio_log10"].value for one in each]
    ratios = [ratio for ratio in ratios if ratio is not None]
    for name, share in (("min", 0.0), ("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("max", 1.0)):
        found[f"update_ratio_log10_{name}"] = Expected(float(np.quantile(ratios, share)), 1e-4)
    return found


def expected_scalars(dump):
    """{tag: {step: Expected}} of every statistic of every variable, and of the model."""
    expected = {}
    initial = next(iter(dump.values()))
    for step, now in dump.items():
        tags = {f"model/{statistic}": value for statistic, value in model_statistics(now, initial).items()}
        for name in now:
            tags.update(tagged(weight_statistics(now[name], initial[name]), name))
        if step - 1 in dump:
            before = dump[step - 1]
            changes = model_delta_statistics(now, before)
            tags.update({f"model/{statistic}": value for statistic, value in changes.items()})
            for name in now:
                tags.update(tagged(delta_statistics(now[name], before[name]), name))
        for tag, value in tags.items():
            expected.setdefault(tag, {})[step] = value
    return expected


def tagged(statistics, name):
    return {f"{statistic}/{name}": value for statistic, value in statistics.items()}


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
        self.refuse_unknown()
        return self

    def points_of(self, kind, tag, wanted):
        """The points of a series by step, after its steps were checked."""
        self.seen.add((kind, tag))
        points = self.series.get((kind, self.run, tag))
        if points is None:
            if wanted:
                self.complain(f"{kind} {tag}: missing")
            return {}
        steps = [step for step, _ in points]
        if steps != sorted(set(steps)):
            self.complain(f"{kind} {tag}: steps {steps} repeat or go back")
        missing = sorted(set(wanted) - set(steps))
        extra = sorted(set(steps) - set(wanted))
        if missing or extra:
            self.complain(f"{kind} {tag}: steps missing: {missing or 'none'}, not expected: {extra or 'none'}")
        self.points += len(points)
        return dict(points)

    def compare_scalars(self, tag, expected):
        defined = {step: entry for step, entry in expected.items() if entry.value is not None}
        for step, value in self.points_of("scalars", tag, defined).items():
            entry = defined.get(step)
            if entry is not None and not entry.admits(value):
                wanted = f"{entry.value!r} ± {entry.tolerance:.1g}"
                self.complain(f"scalars {tag} step {step}: TensorBoard shows {value!r}, numpy has {wanted}")

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
