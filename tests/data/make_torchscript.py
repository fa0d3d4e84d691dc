"""Writes torchscript.pt, the module that tests/weights/stores.rs loads, with torch.jit.

Made with Python 3 and torch 2.13.0:

    python make_torchscript.py
"""

from pathlib import Path

import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.c2 = torch.nn.Linear(3, 4)
        self.c10 = torch.nn.Linear(4, 2)
        self.c10.bias.requires_grad_(False)

    def forward(self, x):
        return self.c10(torch.tanh(self.c2(x)))


torch.manual_seed(0)
torch.jit.script(Net()).save(str(Path(__file__).parent / "torchscript.pt"))
