"""Make torch.npz: outputs and gradients of PyTorch's LSTM, GRU and RNN, with their weights in ONNX's order.

Per module, with the name in front: `x`, `W`, `R`, `B`, the first states `h` and `c` as ONNX's node takes them, `y`
(steps, directions, N, hidden), and the gradients of sum(y * y_weights) + sum(last states) at `x`, `h` and `c`. They are
computed in float64.

Made with Python 3.11, torch 2.14.1 (CPU), numpy 2.4:

    python tests/golden/recurrence/make_torch.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

STEPS, BATCH, FEATURES, HIDDEN = 5, 2, 3, 4
ORDER = {"LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2], "RNN": [0]}  # of PyTorch's gates, in which ONNX has them
MODULES = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}


def stacked(module, name, kind):
    """Return a weight of all directions, gates in ONNX's order."""
    suffixes = ["", "_reverse"][: 2 if module.bidirectional else 1]
    gates = [getattr(module, f"{name}_l0{suffix}").reshape(len(ORDER[kind]), HIDDEN, -1) for suffix in suffixes]
    return np.stack([part.detach().numpy()[ORDER[kind]].reshape(len(ORDER[kind]) * HIDDEN, -1) for part in gates])


arrays = {}
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
for kind, two_ways in [("LSTM", False), ("LSTM", True), ("GRU", False), ("GRU", True), ("RNN", True)]:
    module = MODULES[kind](FEATURES, HIDDEN, bidirectional=two_ways)
    directions = 2 if two_ways else 1
    x = torch.randn(STEPS, BATCH, FEATURES, requires_grad=True)
    states = [torch.randn(directions, BATCH, HIDDEN, requires_grad=True) for _ in range(2 if kind == "LSTM" else 1)]
    y, last = module(x, tuple(states) if kind == "LSTM" else states[0])
    y = y.reshape(STEPS, BATCH, directions, HIDDEN).permute(0, 2, 1, 3)
    y_weights = torch.randn(y.shape)
    total = (y * y_weights).sum() + sum(state.sum() for state in (last if kind == "LSTM" else [last]))
    total.backward()
    biases = [stacked(module, name, kind)[..., 0] for name in ("bias_ih", "bias_hh")]
    found = {
        "x": x, "y": y, "y_weights": y_weights, "dx": x.grad,
        "W": stacked(module, "weight_ih", kind), "R": stacked(module, "weight_hh", kind),
        "B": np.concatenate(biases, 1),
    }  # fmt: skip
    for state, name in zip(states, "hc", strict=False):
        found |= {name: state, f"d{name}": state.grad}
    name = f"{kind}-{'bidirectional' if two_ways else 'forward'}"
    for key, value in found.items():
        arrays[f"{name}/{key}"] = np.asarray(value.detach() if torch.is_tensor(value) else value).astype(np.float32)
np.savez_compressed(Path(__file__).with_name("torch.npz"), **arrays)
