"""Writes tensorboardx.tfevents, the fixture of tests/read_foreign.rs, with tensorboardX.

Made with Python 3 and tensorboardX 2.6.5, numpy 2.4.6, pillow 13.0.0:

    python make_tensorboardx.py
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as logdir:
    with SummaryWriter(logdir) as writer:
        for step in range(5):
            writer.add_scalar("loss/train", 1.0 / (step + 1), step, walltime=1000.0 + step)
            writer.add_scalar(
                "loss/val", 2.0 / (step + 1), step, walltime=1000.0 + step, summary_description="on unseen data"
            )
        values = np.arange(-4.0, 8.0) / 4
        writer.add_histogram("weights", values, 3, bins=4, walltime=1003.0)
        writer.add_text("note", "**bold** naïve", 4, walltime=1004.0)
        red = np.zeros((3, 2, 4), dtype=np.uint8)
        red[0] = 255
        writer.add_image("red", red, 4, walltime=1004.0)
    (written,) = Path(logdir).iterdir()
    # Under another name: the writer's holds the name of the machine.
    shutil.copyfile(written, HERE / "tensorboardx.tfevents")
