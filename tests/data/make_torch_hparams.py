"""Writes torch_hparams.tfevents, a fixture of tests/read_foreign.rs, with SummaryWriter.add_hparams.

Made with Python 3 and torch 2.13.0, tensorboard 2.21.0, numpy 2.4.6:

    python make_torch_hparams.py
"""

import shutil
import tempfile
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as logdir:
    with SummaryWriter(logdir) as writer:
        writer.add_hparams(
            {"rate": 0.125, "layers": 3, "optimizer": "adam", "augment": True},
            {"hparam/accuracy": 0.875, "hparam/loss": 0.25},
            run_name="one",
            global_step=7,
        )
    # add_hparams writes to a run of its own, below the writer's.
    (written,) = Path(logdir, "one").iterdir()
    # Under another name: the writer's holds the name of the machine.
    shutil.copyfile(written, HERE / "torch_hparams.tfevents")
