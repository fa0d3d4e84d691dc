"""Compares `tch-tensorboard diff --json` with numpy, on checkpoints of every type that PyTorch saves.

    python tests/end_to_end/checkpoints.py PROGRAM FOLDER

PROGRAM: the built program; FOLDER: where checkpoints may be written. Every column of every tensor is computed
again, in double precision: norms, shares and cosines agree within 1e-6, counts exactly.
"""

import json
import math
import pathlib
import subprocess
import sys

import numpy
import torch

TOLERANCE = 1e-6
FLOATS = ["float64", "float32", "float16", "bfloat16"]
EIGHTS = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
INTEGERS = ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32"]
checked = 0


def numbers(tensor):
    """All numbers in double precision: two of a complex element."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.detach().to(torch.float64).contiguous().flatten().numpy()


def ranks(tensor):
    """Where elements lie in the order of their type: neighbours are one apart."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    flat = tensor.detach().contiguous().flatten()
    if not tensor.dtype.is_floating_point:
        return flat.to(torch.int64).numpy()
    if tensor.dtype == torch.float8_e8m0fnu:
        return flat.view(torch.uint8).to(torch.int64).numpy()
    integers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = flat.view(integers).to(torch.int64).numpy()
    width = 8 * tensor.element_size()
    magnitude = bits & (2 ** (width - 1) - 1)
    return numpy.where(bits < 0, -magnitude, magnitude)


def expected(a, b):
    x, y = numbers(a), numbers(b)
    if a.dtype == b.dtype and a.dtype != torch.float64 and a.dtype.is_floating_point:
        # As documented: differences are taken in single precision.
        with numpy.errstate(all="ignore"):
            delta = (y.astype(numpy.float32) - x.astype(numpy.float32)).astype(numpy.float64)
    else:
        delta = y - x
    finite = lambda values: values[numpy.isfinite(values)]
    norm = lambda values: float(numpy.sqrt(numpy.sum(numpy.square(finite(values)))))
    both_nan = numpy.isnan(x) & numpy.isnan(y)
    differs = (x != y) & ~both_nan
    if a.dtype == b.dtype:
        # A NaN of other bits is another one.
        differs |= both_nan & (ranks(a) != ranks(b))
    found = {
        "norm_a": norm(x),
        "norm_b": norm(y),
        "norm_change": norm(delta),
        "changed": int(differs.sum()),
        "nonfinite_a": int((~numpy.isfinite(x)).sum()),
        "nonfinite_b": int((~numpy.isfinite(y)).sum()),
        "zeros_a": int((x == 0).sum()),
        "zeros_b": int((y == 0).sum()),
        "largest_change": float(numpy.abs(finite(delta)).max()) if len(finite(delta)) else None,
    }
    if x.size:
        found["changed_fraction"] = found["changed"] / x.size
    found["relative_change"] = found["norm_change"] / found["norm_a"] if found["norm_a"] else None
    if a.dtype == b.dtype:
        one = numpy.abs(ranks(a) - ranks(b)) == 1
        found["one_ulp"] = int((one & ~numpy.isnan(x) & ~numpy.isnan(y)).sum())
    is_finite = numpy.isfinite(x).all() and numpy.isfinite(y).all()
    if is_finite and found["norm_a"] and found["norm_b"]:
        found["cosine"] = float(numpy.dot(x, y) / found["norm_a"] / found["norm_b"])
    else:
        found["cosine"] = None
    return found


def same(found, wanted, key):
    if wanted is None or found is None:
        return found is None and wanted is None
    if isinstance(wanted, int):
        return found == wanted
    if key == "cosine":
        return abs(found - wanted) <= TOLERANCE
    return math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=1e-300)


def run(program, *arguments):
    done = subprocess.run([program, "diff", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def compare(program, a, b, before, after, verdicts=None):
    """Checks all columns of the tensors that both have."""
    global checked
    code, out, err = run(program, a, b, "--json", "--threads", "2")
    assert code == 0, err
    rows = {row["tensor"]: row for row in json.loads(out)["tensors"]}
    for name in before.keys() & after.keys():
        if before[name].numel() != after[name].numel() or before[name].shape != after[name].shape:
            continue
        for key, wanted in expected(before[name], after[name]).items():
            assert same(rows[name][key], wanted, key), f"{a} {name}: {key} is {rows[name][key]}, numpy has {wanted}"
            checked += 1
    for name, verdict in (verdicts or {}).items():
        assert rows[name]["verdict"] == verdict, f"{a} {name}: {rows[name]['verdict']}, not {verdict}"
        checked += 1


def all_types():
    """Changes of every size, of every type, with what is special in it."""
    generator = torch.Generator().manual_seed(7)
    before, after = {}, {}
    for name in FLOATS:
        kind = getattr(torch, name)
        x = torch.randn(300, 700, generator=generator, dtype=torch.float64) * 0.02 + 0.5
        before[f"{name}.large"] = x.to(kind)
        after[f"{name}.large"] = (x + torch.randn(x.shape, generator=generator, dtype=torch.float64) * 1e-3).to(kind)
        special = torch.tensor([0.0, -0.0, 1.0, math.inf, -math.inf, math.nan, 1e-6, -1e-6, 5.0, 1.0])
        before[f"{name}.special"] = special.to(kind)
        after[f"{name}.special"] = special.flip(0).to(kind)
        before[f"{name}.empty"] = after[f"{name}.empty"] = torch.zeros(0, 3, dtype=kind)
        before[f"{name}.strided"] = before[f"{name}.large"].t()[::3]
        after[f"{name}.strided"] = after[f"{name}.large"].t()[::3]
    for name in EIGHTS:
        patterns = torch.randint(0, 256, (50_000,), generator=generator, dtype=torch.int32)
        steps = torch.randint(-2, 3, patterns.shape, generator=generator, dtype=torch.int32)
        view = lambda bits: bits.remainder(256).to(torch.uint8).view(getattr(torch, name))
        before[name], after[name] = view(patterns), view(patterns + steps)
    for name in INTEGERS:
        kind = getattr(torch, name)
        info = torch.iinfo(kind)
        low, high = max(info.min, -(2**31)), min(info.max, 2**31)
        x = torch.randint(low + 3, high - 3, (40_000,), generator=generator, dtype=torch.int64)
        before[name] = x.to(kind)
        after[name] = (x + torch.randint(-2, 3, x.shape, generator=generator, dtype=torch.int64)).to(kind)
    before["bool"] = torch.rand(1000, generator=generator) < 0.5
    after["bool"] = torch.rand(1000, generator=generator) < 0.5
    for name, kind in [("complex64", torch.float32), ("complex128", torch.float64)]:
        real = torch.randn(500, 2, generator=generator, dtype=kind)
        before[name] = torch.view_as_complex(real)
        after[name] = torch.view_as_complex(real * 1.001 + 1e-3)
    return before, after


def verdicts(folder, program):
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(64, 48, generator=generator)
    square = torch.randn(40, 40, generator=generator)
    before = {
        "same": x, "moved": x, "decayed": x, "decayed_bf16": x.bfloat16(), "cast": x, "cast_back": x, "step": x,
        "zeroed": x, "broken": x, "flat": x, "turned": x, "turned_square": square, "old_name": x * 3, "gone": x[:5],
        "old_turned": x * 5, "half": x, "exact": x.bfloat16(), "norm": torch.ones(64), "f8": x,
    }  # fmt: skip
    decayed = x.clone()
    for _ in range(500):
        decayed = decayed * (1 - 1e-4)
    broken = x.clone()
    broken[3, 3] = math.nan
    after = {
        "same": x.clone(), "moved": x + 0.01 * torch.randn(x.shape, generator=generator), "decayed": decayed,
        "decayed_bf16": (x * 0.9).bfloat16(), "cast": x.bfloat16(), "cast_back": x.half().float(),
        "step": torch.nextafter(x, torch.tensor(9.0)), "zeroed": torch.zeros_like(x), "broken": broken,
        "flat": x.flatten(), "turned": x.t().contiguous(), "turned_square": square.t().contiguous(), "new_name": x * 3,
        "come": x[:7], "new_turned": (x * 5).t().contiguous(), "half": (x + 0.01).half(), "exact": x.bfloat16().float(),
        "norm": torch.ones(64) * 0.98, "f8": x.to(torch.float8_e4m3fn),
    }  # fmt: skip
    torch.save(before, folder / "before.pt")
    torch.save(after, folder / "after.pt")
    wanted = {
        "same": "identical", "moved": "changed", "decayed": "scaled", "decayed_bf16": "scaled", "cast": "rounding",
        "cast_back": "rounding", "step": "rounding", "zeroed": "zero", "broken": "non_finite", "flat": "reshaped",
        "turned": "transposed", "turned_square": "transposed", "old_name": "renamed", "gone": "missing", "come": "added",
        "old_turned": "transposed", "half": "changed", "exact": "retyped", "norm": "scaled", "f8": "rounding",
    }  # fmt: skip
    compare(program, folder / "before.pt", folder / "after.pt", before, after, wanted)
    for options, code in [
        (["--expect-identical", "same", "--expect-changed", "moved"], 0),
        (["--expect-identical", "*"], 3),
        (["--expect-changed", "step"], 3),
        (["--expect-changed", "no_such_tensor"], 3),
        (["--fail-on", "non-finite"], 3),
        (["--fail-on", "unreadable"], 0),
        (["--fail-on", "nonsense"], 2),
        (["--markdown"], 0),
        (["--csv"], 0),
    ]:
        found, _, err = run(program, folder / "before.pt", folder / "after.pt", *options)
        assert found == code, (options, found, err)


def adapters(folder, program):
    generator = torch.Generator().manual_seed(13)
    base = torch.randn(30, 20, generator=generator)
    down, up = torch.randn(4, 20, generator=generator), torch.randn(30, 4, generator=generator)
    torch.save({"layer.weight": base}, folder / "base.pt")
    prefix = "base_model.model.layer"
    torch.save({f"{prefix}.lora_A.weight": down, f"{prefix}.lora_B.weight": up}, folder / "adapter.pt")
    _, out, _ = run(program, folder / "base.pt", folder / "adapter.pt", "--json")
    [found] = json.loads(out)["adapters"]
    product = float(torch.linalg.norm(up.double() @ down.double()))
    norm = float(torch.linalg.norm(base.double()))
    assert found["rank"] == 4 and math.isclose(found["norm_b"], product, rel_tol=TOLERANCE), (found, product)
    assert math.isclose(found["base_norm"], norm, rel_tol=TOLERANCE), (found, norm)


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    before, after = all_types()
    torch.save(before, folder / "a.pt")
    torch.save({"state_dict": after, "epoch": 3}, folder / "b.ckpt")
    compare(program, folder / "a.pt", folder / "b.ckpt", before, after)
    compare(program, folder / "a.pt", folder / "a.pt", before, before)
    # Compressed arrays against an archive of PyTorch, and retyped tensors.
    arrays = {name: tensor for name, tensor in after.items() if name.startswith(("float64", "float32", "float16", "int"))}
    numpy.savez_compressed(folder / "c.npz", **{name: tensor.numpy() for name, tensor in arrays.items()})
    compare(program, folder / "a.pt", folder / "c.npz", before, arrays)
    doubled = {name: tensor.to(torch.float64) for name, tensor in after.items() if tensor.dtype in (torch.float32, torch.bfloat16)}
    torch.save(doubled, folder / "d.pt", _use_new_zipfile_serialization=False)
    compare(program, folder / "a.pt", folder / "d.pt", before, doubled)
    verdicts(folder, program)
    adapters(folder, program)
    print(f"checkpoints: {checked} values and verdicts equal numpy's")


main()
