"""Make network.onnx and captum.npz: what captum gives for a small network with seeded weights, in float64.

The network has what distinguishes the methods: ReLUs, which guided backpropagation changes; a SiLU, which it does not;
a max-pooling, and a residual. The ONNX file is written node by node from the same weights. The noise of SmoothGrad is
NumPy's, `default_rng(0).standard_normal` in float32, sample by sample: `torch.normal`, by which captum's NoiseTunnel
draws its own, is replaced while that runs. captum's trapezoid is stored times n / (n - 1): its weights add up to
(n - 1) / n.

Made with Python 3.11, torch 2.13 (CPU), captum 0.9.0, onnx 1.23.2, onnxruntime 1.32, numpy 2.4:

    pip install torch onnx onnxruntime && pip install --no-deps captum==0.9.0
    python tests/golden/input/make_captum.py
"""

from __future__ import annotations

import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime
import torch
from captum import attr
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SIZE, TARGET = 24, 2
MEAN, STD = 127.0, 64.0
SAMPLES, NOISE, STEPS = 8, 0.15, 50


class Network(nn.Module):
    """Convolutions with ReLU, SiLU, pooling and a residual, then a classifier of five classes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 12, 3, 2, 1)
        self.third, self.fourth = nn.Conv2d(12, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.linear = nn.Linear(16, 5)
        self.relus = nn.ModuleList(nn.ReLU() for _ in range(3))
        self.silu, self.pool = nn.SiLU(), nn.MaxPool2d(2)
        for name, value in self.named_parameters():
            nn.init.normal_(value, std=0.1) if name.endswith("bias") else nn.init.kaiming_normal_(value)

    def forward(self, x):
        """Logits."""
        x = self.relus[0](self.first(x))
        x = self.pool(self.silu(self.second(x)))
        x = self.relus[1](self.third(x))
        x = x + self.relus[2](self.fourth(x))
        return self.linear(x.mean((2, 3)))


def to_onnx(network):
    """The network as ONNX, node by node; `features` is what `relus[1]` gives."""
    weights, nodes = {}, []

    def op(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def conv(name, x, output, stride):
        op(
            "Conv",
            [x, f"{name}.weight", f"{name}.bias"],
            output,
            kernel_shape=[3, 3],
            pads=[1] * 4,
            strides=[stride] * 2,
        )

    for name, value in network.state_dict().items():
        weights[name] = value.numpy().astype(np.float32)
    conv("first", "images", "a", 1)
    op("Relu", ["a"], "b")
    conv("second", "b", "c", 2)
    op("Sigmoid", ["c"], "gate")
    op("Mul", ["c", "gate"], "d")
    op("MaxPool", ["d"], "e", kernel_shape=[2, 2], strides=[2, 2])
    conv("third", "e", "f", 1)
    op("Relu", ["f"], "features")
    conv("fourth", "features", "g", 1)
    op("Relu", ["g"], "h")
    op("Add", ["features", "h"], "i")
    op("GlobalAveragePool", ["i"], "j")
    op("Flatten", ["j"], "k")
    op("Gemm", ["k", "linear.weight", "linear.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def smoothed(network, x, absolute):
    """What captum's NoiseTunnel gives over Saliency, fed with NumPy's noise."""
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(np.concatenate([rng.standard_normal(x.shape, np.float32) for _ in range(SAMPLES)]))
    deviation = NOISE * float(x.max() - x.min())
    tunnel = attr.NoiseTunnel(attr.Saliency(network))
    with patch("torch.normal", lambda mean, std: mean + std * noise):
        return tunnel.attribute(x, "smoothgrad", SAMPLES, stdevs=deviation, target=TARGET, abs=absolute)


def attributions(network, x):
    """Every method's attribution, each (1, 3, H, W)."""
    integrated = attr.IntegratedGradients(network)
    features = network.relus[1]
    sharp = attr.GuidedGradCam(network, features).attribute(x, TARGET, interpolate_mode="bilinear")
    trapezoid = integrated.attribute(x, target=TARGET, n_steps=STEPS, method="riemann_trapezoid")
    return {
        "saliency": attr.Saliency(network).attribute(x, TARGET),
        "inputxgradient": attr.InputXGradient(network).attribute(x, TARGET),
        "smoothgrad": smoothed(network, x, absolute=False),
        "smoothgrad_absolute": smoothed(network, x, absolute=True),
        "integrated_gradients": integrated.attribute(x, target=TARGET, n_steps=STEPS, method="gausslegendre"),
        "integrated_gradients_from_half": integrated.attribute(x, torch.full_like(x, 0.5), TARGET, n_steps=STEPS),
        "integrated_gradients_trapezoid": trapezoid * STEPS / (STEPS - 1),
        "guided_backprop": attr.GuidedBackprop(network).attribute(x, TARGET),
        "guided_gradcam": sharp,
    }


def main():
    """Write both files beside this one."""
    warnings.simplefilter("ignore")
    torch.manual_seed(1)
    network = Network().eval()
    model = to_onnx(network)
    frame = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    tensor = ((frame.transpose(2, 0, 1)[None] - MEAN) / STD).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": tensor})
    network.double()
    x = torch.from_numpy(tensor).double()
    expected = network(x).detach().numpy()
    print("logits", expected.round(4), "ONNX Runtime off by", np.abs(logits - expected).max())
    with torch.no_grad():
        scores = [float(network(picture)[0, TARGET]) for picture in (x, torch.zeros_like(x))]
    saved = {name: value.detach().numpy().astype(np.float32) for name, value in attributions(network, x).items()}
    print("integrated gradients add up to", saved["integrated_gradients"].sum(), "of", scores[0] - scores[1])
    for name, value in saved.items():
        print(f"{name}: largest {np.abs(value).max():.4g}")
    here = Path(__file__)
    onnx.save(model, here.with_name("network.onnx"))
    np.savez_compressed(here.with_name("captum.npz"), rgb=frame, scores=np.array(scores), **saved)


if __name__ == "__main__":
    main()
