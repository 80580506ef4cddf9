"""Make network.onnx and captum.npz: what captum's LRP gives for a small network with seeded weights, in float64.

The network has what captum has a rule for: convolutions, a batch normalisation, ReLU, max- and average pooling, a
residual, tanh, linear layers with biases. Every layer has the rule that captum has for it, `EpsilonRule(1e-9)`. The
ONNX file is written node by node from the same weights, with its batch normalisation as a node of its own. Relevance is
kept at the input and at `features` (captum has it before that ReLU, where it is the same), for TARGET and for OTHER.

Made with Python 3.11, torch 2.13 (CPU), captum 0.9.0, onnx 1.23.2, numpy 2.4:

    pip install torch onnx && pip install --no-deps captum==0.9.0
    python tests/golden/relevance/make_captum.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from captum.attr import LRP, LayerLRP
from captum.attr._utils.custom_modules import Addition_Module
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SIZE, TARGET, OTHER = 24, 2, 4
MEAN, STD = 127.0, 64.0


class Network(nn.Module):
    """A classifier of five classes."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8)
        self.second, self.third = nn.Conv2d(8, 12, 3, 2, 1), nn.Conv2d(12, 12, 3, 1, 1)
        self.max, self.add, self.mean = nn.MaxPool2d(3, 2, 1), Addition_Module(), nn.AvgPool2d(2)
        self.hidden, self.tanh, self.linear = nn.Linear(108, 16), nn.Tanh(), nn.Linear(16, 5)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        for name, value in self.named_parameters():
            if value.ndim > 1:
                nn.init.kaiming_normal_(value)
            else:
                nn.init.uniform_(value, 0.5, 1.5) if name == "norm.weight" else nn.init.normal_(value, std=0.1)
        nn.init.normal_(self.norm.running_mean, std=0.3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x):
        """Logits."""
        x = self.max(self.relus[0](self.norm(self.first(x))))
        x = self.relus[1](self.second(x))
        x = self.mean(self.add(x, self.relus[2](self.third(x))))
        return self.linear(self.tanh(self.hidden(x.flatten(1))))


def to_onnx(network):
    """The network as ONNX, node by node."""
    weights, nodes = {name: value.numpy().astype(np.float32) for name, value in network.state_dict().items()}, []

    def op(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def conv(name, x, output, stride):
        weight = [f"{name}.weight", f"{name}.bias"]
        op("Conv", [x, *weight], output, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2)

    conv("first", "images", "a", 1)
    parts = [f"norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    op("BatchNormalization", ["a", *parts], "b")
    op("Relu", ["b"], "c")
    op("MaxPool", ["c"], "d", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    conv("second", "d", "e", 2)
    op("Relu", ["e"], "features")
    conv("third", "features", "f", 1)
    op("Relu", ["f"], "g")
    op("Add", ["features", "g"], "h")
    op("AveragePool", ["h"], "i", kernel_shape=[2, 2], strides=[2, 2])
    op("Flatten", ["i"], "j")
    op("Gemm", ["j", "hidden.weight", "hidden.bias"], "k", transB=1)
    op("Tanh", ["k"], "l")
    op("Gemm", ["l", "linear.weight", "linear.bias"], "logits", transB=1)
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def relevance(network, x, target, layer=None):
    """By captum, at the input or of what a layer gives."""
    method = LRP(network) if layer is None else LayerLRP(network, layer)
    return method.attribute(x, target=target).detach().numpy()


def main():
    """Write both files beside this one."""
    torch.manual_seed(3)
    network = Network().eval()
    for value in (*network.parameters(), *network.buffers()):  # what float32 holds, in float64
        value.requires_grad_(False)
    model = to_onnx(network)
    network = network.double()
    rgb = np.random.default_rng(5).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    x = torch.from_numpy(((rgb.astype(np.float64) - MEAN) / STD).transpose(2, 0, 1)[None].copy()).requires_grad_()
    arrays = {"rgb": rgb, "logits": network(x).detach().numpy()}
    for name, target in (("target", TARGET), ("other", OTHER)):
        arrays[f"{name}/images"] = relevance(network, x, target)
        arrays[f"{name}/features"] = relevance(network, x, target, network.second)
    folder = Path(__file__).parent
    onnx.save(model, folder / "network.onnx")
    saved = {name: value if name == "rgb" else value.astype(np.float32) for name, value in arrays.items()}
    np.savez_compressed(folder / "captum.npz", **saved)
    for name, value in saved.items():
        print(f"{name}: sum {value.sum():.5g}, largest {np.abs(value).max():.4g}")
    print("logits", arrays["logits"].round(4))


if __name__ == "__main__":
    main()
