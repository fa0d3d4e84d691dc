"""Writes torch_weights.tfevents and tensorboardx_weights.tfevents, fixtures of tests/cli.rs: the histograms of a model's weights
and gradients as people log them, one tag a parameter, once an epoch.

Made with Python 3 and torch 2.13.0, tensorboard 2.21.0, tensorboardX 2.6.5, numpy 2.4.6:

    python make_weights.py
"""

import shutil
import tempfile
from pathlib import Path

import tensorboardX
import torch
from torch.utils import tensorboard

HERE = Path(__file__).parent

for name, writer_of in [
    ("torch_weights", tensorboard.SummaryWriter),
    ("tensorboardx_weights", tensorboardX.SummaryWriter),
]:
    torch.manual_seed(1)
    model = torch.nn.Sequential()
    model.add_module("fc1", torch.nn.Linear(6, 5))
    model.add_module("relu", torch.nn.ReLU())
    model.add_module("fc2", torch.nn.Linear(5, 2))
    # The fault: the second layer is not in the optimizer.
    optimizer = torch.optim.SGD(model.fc1.parameters(), lr=0.1)
    x, y = torch.randn(64, 6), torch.randint(2, (64,))
    with tempfile.TemporaryDirectory() as logdir:
        with writer_of(logdir) as writer:
            for epoch in range(9):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                writer.add_scalar("loss", loss.item(), epoch, walltime=1000.0 + epoch)
                for parameter, tensor in model.named_parameters():
                    arrays = {parameter: tensor.detach(), f"{parameter}.grad": tensor.grad}
                    for tag, array in arrays.items():
                        writer.add_histogram(tag, array.numpy(), epoch, walltime=1000.0 + epoch, bins=16)
        (written,) = Path(logdir).iterdir()
        # Under another name: the writer's holds the name of the machine.
        shutil.copyfile(written, HERE / f"{name}.tfevents")
