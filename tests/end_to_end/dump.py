"""The weights that the example wrote beside its log: one safetensors file for each logged step."""

import json
import re
from pathlib import Path

import numpy as np

STEP_FILE = re.compile(r"step_(\d+)\.safetensors$")
# The format caps its header at 100 MB; more is not a header.
HEADER_LIMIT = 100_000_000


class DumpError(Exception):
    """The dump cannot be read or is of no use for the check."""


def read_safetensors(path):
    """{name: float32 array} of one file: u64 header length, a JSON header with dtype, shape and offsets, raw data."""
    data = Path(path).read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > HEADER_LIMIT or 8 + length > len(data):
        raise DumpError(f"{path}: no safetensors header")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            raise DumpError(f"{path}: {name} is {entry['dtype']}, and the check reads F32 only")
        begin, end = entry["data_offsets"]
        block = data[8 + length + begin : 8 + length + end]
        elements = int(np.prod(entry["shape"], dtype=np.int64))
        if len(block) != 4 * elements:
            raise DumpError(f"{path}: {name} has {len(block)} bytes for {elements} elements")
        arrays[name] = np.frombuffer(block, dtype="<f4").reshape(entry["shape"])
    return arrays


def read_dump(folder):
    """{step: {name: array}} in ascending steps, checked to be a history that deltas can be taken of."""
    files = {}
    for path in Path(folder).iterdir():
        found = STEP_FILE.match(path.name)
        if found:
            files[int(found.group(1))] = path
    steps = sorted(files)
    if len(steps) < 2:
        raise DumpError(f"{folder}: {len(steps)} files named step_<number>.safetensors, and deltas need two")
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise DumpError(f"{folder}: steps {steps} have gaps, and a delta is of one step")
    dump = {step: read_safetensors(files[step]) for step in steps}
    first = dump[steps[0]]
    for step in steps:
        check_step(folder, step, dump[step], first)
        if step != steps[0] and all(
            np.array_equal(bits(dump[step][name]), bits(dump[step - 1][name])) for name in first
        ):
            raise DumpError(f"{folder}: nothing moved at step {step}, and idle steps are not logged")
    return dump


def check_step(folder, step, arrays, first):
    shapes = {name: array.shape for name, array in arrays.items()}
    if not arrays or shapes != {name: array.shape for name, array in first.items()}:
        raise DumpError(f"{folder}: step {step} holds other variables than the first step, or none")
    for name, array in arrays.items():
        if array.size == 0 or not np.isfinite(array).all():
            raise DumpError(f"{folder}: step {step}: {name} is empty or not finite, which this check does not cover")


def bits(array):
    return array.view(np.uint32)
