#!/usr/bin/env python3
"""Makes cnn_conv2.f32 and cnn_fc1.f32: weights of the trained demo, one step before its last and at it, as little-endian f32.

    cargo run --release --example cnn -- --no-log --no-progress --dump-weights DUMP
    python tests/data/make_cnn_weights.py DUMP        # needs safetensors and numpy

Of fc1 the first 32 of its 128 units.
"""

import sys
from pathlib import Path

import numpy
import safetensors.numpy

here = Path(__file__).resolve().parent
before, last = sorted(Path(sys.argv[1]).glob("step_*.safetensors"))[-2:]
for layer, rows in [("conv2", 32), ("fc1", 32)]:
    steps = [safetensors.numpy.load_file(step)[f"{layer}.weight"][:rows].astype("<f4") for step in (before, last)]
    numpy.concatenate([step.ravel() for step in steps]).tofile(here / f"cnn_{layer}.f32")
