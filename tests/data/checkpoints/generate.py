"""Writes the checkpoints of this folder with PyTorch and numpy, and what they hold to expected.json.

    python tests/data/checkpoints/generate.py

The files are committed: tests need neither. Values come from PyTorch's own view of the tensors, and from
`torch.load` of the files where their bytes were changed afterwards.
"""

import collections
import io
import json
import math
import pathlib
import struct
import zipfile

import numpy
import torch

HERE = pathlib.Path(__file__).parent
EXPECTED = {}


def numbers(tensor):
    """All numbers in row-major order, two of a complex element, as texts: JSON readers may round."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return " ".join(repr(value) for value in tensor.to(torch.float64).contiguous().flatten().tolist())


def expect(file, tensors, **more):
    described = {
        name: {"type": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "values": numbers(tensor)}
        for name, tensor in tensors.items()
    }
    EXPECTED[file] = {"tensors": described, **more}


def layouts():
    """Every way in which elements can lie in a storage."""
    base = torch.arange(60, dtype=torch.float32).reshape(5, 12) * 0.25 - 3
    shared = torch.arange(24, dtype=torch.float64)
    return {
        "plain": base.clone(),
        "transposed": base.clone().t(),
        "sliced": base.clone()[1:4, 2:11:3],
        "offset": base.clone().flatten()[7:],
        "expanded": torch.tensor([[1.5], [-2.0]]).expand(2, 6),
        "permuted": torch.arange(24, dtype=torch.int32).reshape(2, 3, 4).permute(2, 0, 1),
        "channels_last": torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)).to(
            memory_format=torch.channels_last
        ),
        "diagonal": torch.arange(16, dtype=torch.int64).reshape(4, 4).diagonal(),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(3, 0, 2),
        "one": torch.ones(1, 1, 3)[:, :, 1:2],
        "tied.a": shared,
        "tied.b": shared,
        "tied.view": shared[8:16].reshape(2, 4),
    }


def types():
    """Every type, with what is special in it."""
    floats = torch.tensor([0.0, -0.0, 1.0, -1.5, 0.1, 3e-4, math.inf, -math.inf, math.nan, 240.0])
    found = {}
    for name in ["float16", "bfloat16", "float32", "float64"]:
        found[name] = floats.to(getattr(torch, name))
    found["float32_subnormal"] = torch.tensor([1e-45, -1e-40, 1e-38])
    for name in ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]:
        if hasattr(torch, name):
            found[name] = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(getattr(torch, name))
    for name in ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]:
        kind = getattr(torch, name)
        info = torch.iinfo(kind)
        top = min(info.max, 2**53)
        found[name] = torch.tensor([0, 1, 7, top] + ([-3, max(info.min, -(2**53))] if info.min < 0 else []), dtype=kind)
    found["bool"] = torch.tensor([True, False, True])
    found["complex64"] = torch.tensor([1 + 2j, -0.5j, 3], dtype=torch.complex64)
    found["complex128"] = torch.tensor([[1e-300 + 2j], [-0.5j]], dtype=torch.complex128)
    return found


def classic(tensors):
    """Those that a storage with a class of its own can hold."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if not str(tensor.dtype).startswith(("torch.float8", "torch.uint16", "torch.uint32", "torch.uint64"))
    }


def save(name, value, **options):
    torch.save(value, HERE / name, **options)


def big_endian(name, tensors):
    """An archive as a big-endian machine writes it, checked by torch.load."""
    plain = io.BytesIO()
    torch.save(tensors, plain)
    keys = []
    for tensor in tensors.values():
        width = tensor.element_size() // (2 if tensor.is_complex() else 1)
        if tensor.untyped_storage().data_ptr() not in [key for key, _ in keys]:
            keys.append((tensor.untyped_storage().data_ptr(), width))
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(HERE / name, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if "/data/" in entry:
                width = keys[int(entry.rsplit("/", 1)[1])][1]
                data = b"".join(data[at : at + width][::-1] for at in range(0, len(data), width))
            if entry.endswith("byteorder"):
                data = b"big"
            target.writestr(entry, data)
    loaded = torch.load(HERE / name, weights_only=False)
    for key, tensor in tensors.items():
        assert torch.equal(torch.nan_to_num(loaded[key]), torch.nan_to_num(tensor)), key
    expect(name, loaded)


class Settings:
    """A class that only this program has."""

    def __init__(self):
        self.rate = 0.1


def trainer():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    state = {
        "epoch": 3,
        "global_step": 1200,
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "settings": Settings(),
        "losses": [0.5, 0.25],
    }
    save("trainer.ckpt", state)
    expect("trainer.ckpt", model.state_dict(), step=1200)
    save("trainer_legacy.ckpt", state, _use_new_zipfile_serialization=False)
    expect("trainer_legacy.ckpt", model.state_dict(), step=1200)
    save("module.pt", model)
    expect("module.pt", model.state_dict())
    torch.jit.script(model).save(str(HERE / "script.pt"))
    expect("script.pt", model.state_dict())


def safetensors(name, tensors, metadata=None):
    """By hand: a header, then the elements."""
    names = {
        "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64", "uint16": "U16",
        "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
        "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
        "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "complex64": "C64",
    }  # fmt: skip
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for key, tensor in tensors.items():
        kind = names[str(tensor.dtype).removeprefix("torch.")]
        raw = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (HERE / name).parent.mkdir(exist_ok=True)
    (HERE / name).write_bytes(struct.pack("<Q", len(text)) + text + data)


def arrays():
    found = {
        "f4": numpy.arange(6, dtype="<f4").reshape(2, 3) / 4,
        "big": numpy.arange(6, dtype=">f8").reshape(3, 2) - 0.5,
        "fortran": numpy.asfortranarray(numpy.arange(12, dtype="<i4").reshape(3, 4)),
        "f2": numpy.array([1, -2, 0.5], dtype="<f2"),
        "bool": numpy.array([True, False]),
        "u2": numpy.array([0, 65535], dtype="<u2"),
        "c8": numpy.array([1 + 2j, -1j], dtype="<c8"),
        "scalar": numpy.array(7, dtype="<i8"),
    }
    numpy.savez(HERE / "arrays.npz", **found)
    numpy.savez_compressed(HERE / "compressed.npz", **found)
    numpy.save(HERE / "single.npy", found["fortran"])
    native = {name: torch.from_numpy(numpy.array(value.astype(value.dtype.newbyteorder("=")))) for name, value in found.items()}
    expect("arrays.npz", native)
    expect("compressed.npz", native)
    expect("single.npy", {"single": native["fortran"]})


def main():
    lay, kinds = layouts(), types()
    save("layouts.pt", lay)
    expect("layouts.pt", lay)
    save("layouts_legacy.pt", lay, _use_new_zipfile_serialization=False)
    expect("layouts_legacy.pt", lay)
    save("types.pt", kinds)
    expect("types.pt", kinds)
    save("types_legacy.pt", classic(kinds), _use_new_zipfile_serialization=False)
    expect("types_legacy.pt", classic(kinds))
    big_endian("big_endian.pt", {**classic(kinds), "transposed": lay["transposed"].contiguous().t()})
    save("ordered.bin", collections.OrderedDict(a=torch.ones(2), b=torch.nn.Parameter(torch.zeros(3))), pickle_protocol=4)
    expect("ordered.bin", {"a": torch.ones(2), "b": torch.zeros(3)})
    trainer()
    held = {name: tensor for name, tensor in kinds.items() if name != "complex128"}
    safetensors("types.safetensors", held, {"format": "pt", "step": "77"})
    expect("types.safetensors", held, step=77)
    halves = [dict(list(lay.items())[:5]), dict(list(lay.items())[5:])]
    index = {}
    for number, half in enumerate(halves, 1):
        file = f"model-0000{number}-of-00002.safetensors"
        safetensors(f"sharded/{file}", half)
        index |= {name: file for name in half}
    (HERE / "sharded/model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    expect("sharded", lay)
    arrays()
    (HERE / "expected.json").write_text(json.dumps(EXPECTED, separators=(",", ":")))


main()
