"""Proves that the checker passes a right log and catches wrong ones.

The log is synthetic: statistics from Python's own math and statistics modules, written with TensorBoard's own protos.
"""

import contextlib
import copy
import io
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

import check
from board import running_board
from dump import DumpError, read_dump

FOLDER = Path(__file__).resolve().parent
STEPS = 5
# A small tensor, one large enough for a sampled drift, and a bias that starts from zero, as tch's convolutions do.
SHAPES = {"conv1.weight": (8, 1, 3, 3), "fc1.weight": (60, 100), "conv1.bias": (8,)}


def make_dump():
    random = np.random.default_rng(7)
    dump = {0: {name: random.normal(0.02, 0.1, shape).astype(np.float32) for name, shape in SHAPES.items()}}
    dump[0]["conv1.bias"][:] = 0
    for step in range(1, STEPS):
        dump[step] = {name: array.copy() for name, array in dump[step - 1].items()}
        for array in dump[step].values():
            array += random.normal(0, 1e-3, array.shape).astype(np.float32)
        # Elements that stay are exact zeros among the deltas.
        dump[step]["fc1.weight"][:7] = dump[step - 1]["fc1.weight"][:7]
    return dump


def write_dump(folder, dump):
    folder.mkdir()
    for step, arrays in dump.items():
        header, data = {}, b""
        for name, array in arrays.items():
            block = array.astype("<f4").tobytes()
            header[name] = {
                "dtype": "F32",
                "shape": list(array.shape),
                "data_offsets": [len(data), len(data) + len(block)],
            }
            data += block
        text = json.dumps(header).encode()
        (folder / f"step_{step:06}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def rows_of(array):
    """Point masses for a small array; else a point mass at zero, if it is there, between rows of equal width."""
    values = sorted(float(value) for value in array.ravel())
    if len(values) <= 64:
        return [[value, value, float(values.count(value))] for value in sorted(set(values))]
    zeros = values.count(0.0)
    cuts = sorted({*np.linspace(values[0], values[-1], 12).tolist(), *([0.0] if zeros else [])})
    rows = []
    for low, high in zip(cuts, cuts[1:]):
        if low == 0.0 and zeros:
            rows.append([0.0, 0.0, float(zeros)])
        last = high == cuts[-1]
        count = sum(low <= value < high or (last and value == high) for value in values if not (zeros and value == 0.0))
        rows.append([low, high, float(count)])
    return rows


def norm_of(array):
    return math.sqrt(math.fsum(float(value) ** 2 for value in array.ravel()))


def moments_of(values):
    return math.fsum(values) / len(values), statistics.pstdev(values)


def drift_of(weights, initial):
    # What a sample would estimate: a little off for the large tensor.
    off = 1.01 if weights.size > check.DRIFT_SAMPLE else 1.0
    return off * norm_of(weights - initial) / norm_of(initial)


def statistics_of(dump, name, step):
    """The scalars of one variable at one step."""
    weights, initial = dump[step][name], dump[0][name]
    mean, std = moments_of(weights.ravel().tolist())
    found = {"weight_mean": mean, "weight_std": std, "weight_norm": norm_of(weights)}
    found.update(weight_mean_minus_std=mean - std, weight_mean_plus_std=mean + std)
    if norm_of(initial):
        found["weight_drift"] = drift_of(weights, initial)
    if step == 0:
        return found
    before = dump[step - 1][name]
    delta = weights - before
    changes = delta.ravel().tolist()
    found["weight_delta_mean"], found["weight_delta_std"] = moments_of(changes)
    found["weight_delta_max_abs"] = max(abs(change) for change in changes)
    found["weight_changed_fraction"] = sum(change != 0.0 for change in changes) / len(changes)
    if norm_of(before):
        found["weight_update_ratio"] = norm_of(delta) / norm_of(before)
        found["weight_update_ratio_log10"] = max(-8.0, math.log10(found["weight_update_ratio"]))
    return found


def make_series(dump, run="."):
    """What TensorBoard shows of a right log, in the shape of Board.series."""
    series = {}

    def add(kind, tag, step, value):
        stored = float(np.float32(value)) if kind == "scalars" else value
        series.setdefault((kind, run, tag), []).append((step, stored))

    for step, variables in dump.items():
        add("scalars", "loss/train", step, 1.0 / (step + 1))
        for name, weights in variables.items():
            delta = weights - dump[step - 1][name] if step else None
            add("histograms", f"weights/{name}", step, rows_of(weights))
            for index in (0, 3, 5, 7):
                add("scalars", f"weight_samples/{name}/{index}", step, weights.ravel()[index])
                if step:
                    add("scalars", f"weight_delta_samples/{name}/{index}", step, delta.ravel()[index])
            if step:
                add("histograms", f"weight_deltas/{name}", step, rows_of(delta))
            for statistic, value in statistics_of(dump, name, step).items():
                add("scalars", f"{statistic}/{name}", step, value)
        add_model(add, dump, step)
    return series


def add_model(add, dump, step):
    joined = {at: {"all": np.concatenate([array.ravel() for array in dump[at].values()])} for at in dump}
    model = statistics_of(joined, "all", step)
    add("scalars", "model/weight_norm", step, model["weight_norm"])
    add("scalars", "model/weight_std", step, model["weight_std"])
    add("scalars", "model/drift", step, model["weight_drift"])
    if step == 0:
        return
    for statistic in ("update_ratio_log10", "changed_fraction", "delta_max_abs"):
        add("scalars", f"model/{statistic}", step, model[f"weight_{statistic}"])
    each = [statistics_of(dump, name, step) for name in dump[step]]
    add("scalars", "model/changed_fraction_min", step, min(found["weight_changed_fraction"] for found in each))
    log10 = sorted(found["weight_update_ratio_log10"] for found in each if "weight_update_ratio_log10" in found)
    for name, tenths in (("min", 0), ("p10", 1), ("median", 5), ("p90", 9), ("max", 10)):
        whole, rest = divmod(tenths * (len(log10) - 1), 10)
        above = log10[min(whole + 1, len(log10) - 1)]
        add("scalars", f"model/update_ratio_log10_{name}", step, log10[whole] + (above - log10[whole]) * rest / 10)


def write_log(folder, series):
    """One event for each point, in the order of the steps."""
    writer = EventFileWriter(str(folder))
    points = sorted((step, kind, tag, value) for (kind, _, tag), values in series.items() for step, value in values)
    for step, kind, tag, value in points:
        if kind == "scalars":
            metadata = scalar_metadata.create_summary_metadata(display_name="", description="")
            tensor = tensor_util.make_tensor_proto(value, dtype=np.float32)
        else:
            metadata = histogram_metadata.create_summary_metadata(display_name="", description="")
            tensor = tensor_util.make_tensor_proto(value, dtype=np.float64)
        metadata.data_class = summary_pb2.DATA_CLASS_SCALAR if kind == "scalars" else summary_pb2.DATA_CLASS_TENSOR
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
        writer.add_event(event_pb2.Event(wall_time=1.7e9 + step, step=step, summary=summary))
    writer.close()


DUMP = make_dump()
SERIES = make_series(DUMP)


class Formulas(unittest.TestCase):
    """The checker's own formulas on numbers worked out by hand."""

    def test_statistics(self):
        before = np.array([3.0, -4.0], dtype=np.float32)
        now = np.array([3.0, -4.5], dtype=np.float32)
        found = {**check.weight_statistics(before, now), **check.delta_statistics(now, before)}
        wanted = {
            "weight_mean": -0.5,
            "weight_std": 3.5,
            "weight_norm": 5.0,
            "weight_delta_mean": -0.25,
            "weight_delta_std": 0.25,
            "weight_delta_max_abs": 0.5,
            "weight_changed_fraction": 0.5,
            "weight_drift": 0.5 / math.hypot(3.0, 4.5),
            "weight_mean_minus_std": -4.0,
            "weight_mean_plus_std": 3.0,
            "weight_update_ratio": 0.1,
            "weight_update_ratio_log10": -1.0,
        }
        self.assertEqual(found.keys(), wanted.keys())
        for statistic, value in wanted.items():
            self.assertAlmostEqual(found[statistic].value, value, places=12, msg=statistic)

    def test_a_sign_of_zero_is_a_change_of_bits(self):
        found = check.delta_statistics(np.array([-0.0, 1.0], np.float32), np.array([0.0, 1.0], np.float32))
        self.assertEqual(found["weight_changed_fraction"].value, 0.5)
        self.assertEqual(found["weight_update_ratio_log10"].value, -8.0)

    def test_a_ratio_to_zero_is_not_defined(self):
        zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
        found = check.delta_statistics(one, zero)
        self.assertIsNone(found["weight_update_ratio"].value)
        self.assertIsNone(found["weight_update_ratio_log10"].value)
        self.assertIsNone(check.drift([(one, zero)]).value)

    def test_a_sampled_drift_has_little_room(self):
        entry = check.drift([(DUMP[2]["fc1.weight"], DUMP[0]["fc1.weight"])])
        self.assertLess(entry.tolerance, 0.15 * entry.value)

    def test_the_model_is_all_variables(self):
        now = {
            "a": np.array([1.0, 2.0], np.float32),
            "b": np.array([0.0], np.float32),
            "c": np.array([4.0], np.float32),
        }
        before = {
            "a": np.array([1.0, 1.0], np.float32),
            "b": np.array([0.0], np.float32),
            "c": np.array([3.0], np.float32),
        }
        found = {**check.model_statistics(now, before), **check.model_delta_statistics(now, before)}
        self.assertAlmostEqual(found["weight_norm"].value, math.sqrt(21.0))
        self.assertAlmostEqual(found["drift"].value, math.sqrt(2.0 / 11.0))
        self.assertAlmostEqual(found["update_ratio_log10"].value, math.log10(math.sqrt(2.0 / 11.0)))
        self.assertEqual((found["changed_fraction"].value, found["changed_fraction_min"].value), (0.5, 0.0))
        # b has no ratio, so it is none of the two that spread.
        self.assertAlmostEqual(found["update_ratio_log10_min"].value, math.log10(1.0 / 3.0))
        self.assertAlmostEqual(found["update_ratio_log10_max"].value, math.log10(math.sqrt(0.5)))
        self.assertAlmostEqual(found["update_ratio_log10_median"].value, math.log10(math.sqrt(0.5) / 3.0) / 2.0)


class Histograms(unittest.TestCase):
    array = np.array([-1.0, 0.0, 0.0, 0.5, 1.0, 2.0], dtype=np.float32)

    def faults(self, *rows):
        return " ".join(check.histogram_faults(rows, self.array))

    def test_right_rows(self):
        self.assertEqual(self.faults((-1, 2, 6)), "")
        self.assertEqual(self.faults((-1, 0, 1), (0, 2, 5)), "")
        self.assertEqual(self.faults((-1, 0, 1), (0, 0, 2), (0, 2, 3)), "")
        self.assertEqual(self.faults((-1, 0, 1), (0, 0, 2), (0, 2, 2), (2, 2, 1)), "")
        self.assertEqual(self.faults((-1, -1, 1), (0, 0, 2), (0.5, 0.5, 1), (1, 2, 2)), "")

    def test_wrong_rows(self):
        self.assertIn("counts 2, numpy 1", self.faults((-1, 0, 2), (0, 2, 4)))
        self.assertIn("count 5 elements of 6", self.faults((-1, 0, 1), (0, 2, 4)))
        self.assertIn("counts 5, numpy 3", self.faults((-1, 0, 1), (0, 0, 0), (0, 2, 5)))
        self.assertIn("overlap", self.faults((-1, 0.5, 3), (0, 2, 3)))
        self.assertIn("sorted", self.faults((0, 2, 5), (-1, 0, 1)))
        self.assertIn("span", self.faults((-2, 0, 1), (0, 2, 5)))
        self.assertIn("span", self.faults((-1, 0, 1), (0, 3, 5)))
        self.assertIn("not finite", self.faults(("NaN", 0, 1), (0, 2, 5)))
        self.assertIn("no rows", self.faults())


class Errors(unittest.TestCase):
    """Each deliberate error in a right log is caught and named."""

    def messages(self, change=None):
        series = copy.deepcopy(SERIES)
        if change:
            change(series)
        return check.Comparison(series, DUMP).compare().messages

    def assert_caught(self, wanted, change):
        messages = self.messages(change)
        self.assertTrue(any(wanted in message for message in messages), f"{wanted!r} not in {messages}")
        self.assertLessEqual(len(messages), 2, messages)

    def test_a_right_log_passes(self):
        self.assertEqual(self.messages(), [])

    def test_every_missing_series(self):
        for key in SERIES:
            if key[2] != "loss/train":
                with self.subTest(key):
                    messages = self.messages(lambda series: series.pop(key))
                    # A missing line of a single weight is reported with its variable.
                    variable = key[2].split("/")[1]
                    self.assertTrue(
                        any(key[2] in message or f"of {variable}:" in message for message in messages), messages
                    )

    def test_every_shifted_step(self):
        for key, points in SERIES.items():
            if key[2] != "loss/train":
                with self.subTest(key):
                    shifted = [(step + 1, value) for step, value in points]
                    messages = self.messages(lambda series: series.update({key: shifted}))
                    self.assertTrue(any(key[2] in message for message in messages), messages)

    def test_every_scalar_that_is_off(self):
        for key, points in SERIES.items():
            if key[0] == "scalars" and key[2] != "loss/train":
                with self.subTest(key):
                    off = points[:-1] + [(points[-1][0], points[-1][1] + 0.3 * abs(points[-1][1]) + 1e-3)]
                    self.assert_caught(key[2], lambda series: series.update({key: off}))

    def test_every_count_that_is_off_by_one(self):
        for key in SERIES:
            if key[0] == "histograms":
                with self.subTest(key):

                    def change(series):
                        series[key][-1][1][1][2] += 1.0

                    self.assertIn(f"histograms {key[2]} step {STEPS - 1}: row 1", "\n".join(self.messages(change)))

    def test_a_missing_and_a_repeated_point(self):
        key = ("scalars", ".", "weight_norm/fc1.weight")
        self.assert_caught("steps missing: [2]", lambda series: series[key].pop(2))
        self.assert_caught("repeat or go back", lambda series: series[key].append(series[key][-1]))

    def test_a_delta_at_the_first_step(self):
        key = ("scalars", ".", "weight_delta_mean/fc1.weight")
        self.assert_caught("not expected: [0]", lambda series: series[key].insert(0, (0, 0.0)))

    def test_the_sample_standard_deviation_instead_of_the_populations(self):
        key = ("scalars", ".", "weight_std/conv1.weight")
        wrong = [(step, statistics.stdev(DUMP[step]["conv1.weight"].ravel().tolist())) for step in range(STEPS)]
        messages = self.messages(lambda series: series.update({key: wrong}))
        self.assertEqual(len(messages), STEPS, messages)

    def test_a_single_weight_off_by_one_ulp(self):
        key = ("scalars", ".", "weight_samples/fc1.weight/3")

        def change(series):
            step, value = series[key][1]
            series[key][1] = (step, float(np.nextafter(np.float32(value), np.float32(9))))

        self.assert_caught("weight_samples/fc1.weight/3 step 1", change)

    def test_a_single_weight_that_is_not_there(self):
        def change(series):
            for statistic in ("weight_samples", "weight_delta_samples"):
                series["scalars", ".", f"{statistic}/conv1.bias/8"] = series.pop(
                    ("scalars", ".", f"{statistic}/conv1.bias/7")
                )

        self.assertIn("the variable has 8 elements", "\n".join(self.messages(change)))

    def test_a_tag_nobody_expects(self):
        extra = ("scalars", ".", "weight_nonfinite/fc1.weight")
        self.assert_caught("not expected", lambda series: series.update({extra: [(0, 1.0)]}))

    def test_a_ratio_to_zero_that_is_written(self):
        drift = ("scalars", ".", "weight_drift/conv1.bias")
        self.assert_caught("not expected: [1]", lambda series: series.update({drift: [(1, 0.0)]}))
        ratio = ("scalars", ".", "weight_update_ratio/conv1.bias")
        self.assert_caught("not expected: [1]", lambda series: series[ratio].insert(0, (1, 1.0)))

    def test_not_finite(self):
        key = ("scalars", ".", "weight_mean/fc1.weight")
        self.assert_caught("weight_mean/fc1.weight step 0", lambda series: series[key].__setitem__(0, (0, "NaN")))

    def test_weights_in_two_runs(self):
        other = ("histograms", "other", "weights/fc1.weight")
        self.assert_caught("in 2 runs", lambda series: series.update({other: []}))


class Dumps(unittest.TestCase):
    def refused(self, dump, wanted):
        with tempfile.TemporaryDirectory() as folder:
            write_dump(Path(folder) / "dump", dump)
            with self.assertRaisesRegex(DumpError, wanted):
                read_dump(Path(folder) / "dump")

    def test_round_trip(self):
        with tempfile.TemporaryDirectory() as folder:
            write_dump(Path(folder) / "dump", DUMP)
            read = read_dump(Path(folder) / "dump")
        self.assertEqual(list(read), list(DUMP))
        for step in DUMP:
            for name in DUMP[step]:
                np.testing.assert_array_equal(read[step][name], DUMP[step][name])

    def test_dumps_of_no_use(self):
        self.refused({0: DUMP[0]}, "deltas need two")
        self.refused({0: DUMP[0], 2: DUMP[1]}, "gaps")
        self.refused({0: DUMP[0], 1: DUMP[0]}, "nothing moved at step 1")
        self.refused({0: DUMP[0], 1: {"fc1.weight": DUMP[1]["fc1.weight"]}}, "other variables")
        self.refused({0: DUMP[0], 1: {**DUMP[1], "conv1.bias": np.full(8, np.inf, np.float32)}}, "not finite")

    def test_half_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            write_dump(Path(folder) / "dump", DUMP)
            path = Path(folder) / "dump" / "step_000001.safetensors"
            path.write_bytes(path.read_bytes()[:-4])
            with self.assertRaisesRegex(DumpError, "step_000001"):
                read_dump(Path(folder) / "dump")


def answers(address):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=5):
            return True
    except OSError:
        return False


class RealTensorBoard(unittest.TestCase):
    """The whole program, against the TensorBoard that is installed."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        write_dump(self.folder / "dump", DUMP)

    def check(self, series):
        write_log(self.folder / "runs", series)
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            status = check.main(
                [str(self.folder / "runs"), str(self.folder / "dump"), "--settle", "8", "--timeout", "120"]
            )
        return status, said.getvalue(), complained.getvalue()

    def test_a_right_log(self):
        status, said, complained = self.check(SERIES)
        self.assertEqual((status, complained), (0, ""))
        self.assertIn("fast loader", said)
        self.assertIn("Python loader", said)

    def test_a_wrong_log(self):
        series = copy.deepcopy(SERIES)
        series["histograms", ".", "weights/fc1.weight"][2][1][4][2] += 1.0
        shifted = ("scalars", ".", "weight_norm/conv1.weight")
        series[shifted] = [(step + 1, value) for step, value in series[shifted]]
        del series["scalars", ".", "weight_drift/fc1.weight"]
        status, _, complained = self.check(series)
        self.assertEqual(status, 1)
        self.assertIn("histograms weights/fc1.weight step 2: row 4", complained)
        self.assertIn(f"scalars weight_norm/conv1.weight: steps missing: [0], not expected: [{STEPS}]", complained)
        self.assertIn("scalars weight_drift/fc1.weight: missing", complained)

    def test_no_server_is_left(self):
        write_log(self.folder / "runs", SERIES)
        with self.assertRaises(ZeroDivisionError):
            with running_board(self.folder / "runs", load_fast=True) as board:
                self.assertTrue(answers(board.address))
                1 / 0
        self.assertFalse(answers(board.address))

    def test_no_server_outlives_a_checker_that_is_killed(self):
        write_log(self.folder / "runs", SERIES)
        program = "import sys, time; from board import running_board\n"
        program += "with running_board(sys.argv[1], True) as board: print(board.address, flush=True); time.sleep(600)"
        command = [sys.executable, "-c", program, str(self.folder / "runs")]
        with subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True) as process:
            address = process.stdout.readline().strip()
            self.assertTrue(answers(address))
            os.kill(process.pid, signal.SIGKILL)
        give_up = time.monotonic() + 60
        while answers(address):
            self.assertLess(time.monotonic(), give_up, "TensorBoard goes on without its checker")
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
