"""Writes tensorflow.tfevents, a fixture of tests/read_foreign.rs, with tf.summary.

Made with Python 3 and tensorflow-cpu 2.21.0, tensorboard 2.21.0, numpy 2.4.6:

    python make_tensorflow.py
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

HERE = Path(__file__).parent

with tempfile.TemporaryDirectory() as logdir:
    writer = tf.summary.create_file_writer(logdir)
    with writer.as_default():
        hp.hparams({"rate": 0.125, "optimizer": "adam", "augment": True}, trial_id="one")
        for step in range(5):
            tf.summary.scalar("loss/train", 1.0 / (step + 1), step, description="falls")
        tf.summary.histogram("weights", 1.0 + np.arange(12) / 16, 3, buckets=4)
        tf.summary.text("note", "**bold** naïve", 4)
        red = np.zeros((2, 2, 4, 3), dtype=np.uint8)
        red[..., 0] = 255
        tf.summary.image("red", red, 4)
        tf.summary.audio("tone", np.zeros((1, 8, 1), dtype=np.float32), 8000, 4)
    writer.close()
    (written,) = Path(logdir).iterdir()
    # Under another name: the writer's holds the name of the machine.
    shutil.copyfile(written, HERE / "tensorflow.tfevents")
