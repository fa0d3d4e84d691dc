"""Writes torch.tfevents, the fixture of tests/read_foreign.rs, with torch.utils.tensorboard.

Made with Python 3 and torch 2.13.0, tensorboard 2.21.0, numpy 2.4.6, pillow 13.0.0:

    python make_torch.py
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from torch.utils.tensorboard import SummaryWriter

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as logdir:
    with SummaryWriter(logdir) as writer:
        for step in range(5):
            writer.add_scalar("loss/train", 1.0 / (step + 1), step, walltime=1000.0 + step)
            writer.add_scalar("loss/val", 2.0 / (step + 1), step, walltime=1000.0 + step, new_style=True)
        values = 1.0 + np.arange(12) / 16
        # The older form, and the one TensorBoard itself writes today.
        writer.add_histogram("weights", values, 3, walltime=1003.0)
        new_style = histogram_pb("weights_v2", values, buckets=4)
        writer.file_writer.add_summary(new_style, 3, walltime=1003.0)
        writer.add_text("note", "**bold** naïve", 4, walltime=1004.0)
        red = np.zeros((3, 2, 4), dtype=np.uint8)
        red[0] = 255
        writer.add_image("red", red, 4, walltime=1004.0)
    (written,) = Path(logdir).iterdir()
    # Under another name: the writer's holds the name of the machine.
    shutil.copyfile(written, HERE / "torch.tfevents")
