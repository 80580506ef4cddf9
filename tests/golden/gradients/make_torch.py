"""Make lite0.npz, light_resnet50.npz and yolov8n.npz: gradients of a class logit by PyTorch's autograd, in float64.

Each model is the original ONNX file (ResNet-50 with the seeded weights of `real_models.with_random_weights`), cut in
two at the layer by onnx and turned into PyTorch modules by onnx2torch. The input is `real_models.picture`, which is
seeded; layers, targets and what is kept of a gradient are in `real_models` too. Nothing of `aerocam.export` takes part.

Made with Python 3.11, torch 2.13 (CPU), onnx2torch 1.5.15, onnx 1.23.2, onnxruntime 1.32, numpy 2.4:

    pip install torch onnx onnx2torch onnxruntime
    PYTHONPATH=src:tests/helpers python tests/golden/gradients/make_torch.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

for unused in ("torchvision", "torchvision.ops"):
    sys.modules.setdefault(unused, MagicMock())  # imported by onnx2torch for operators that these models lack

import numpy as np  # noqa: E402 - after the stand-ins
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from onnx.utils import Extractor  # noqa: E402
from onnx2torch import convert  # noqa: E402

import real_models  # noqa: E402

MODELS = {
    "lite0": lambda: onnx.load(real_models.lite0_path()),
    "light_resnet50": lambda: real_models.with_random_weights("light_resnet50"),
    "yolov8n": lambda: onnx.load(real_models.yolo_path()),
}


def logits_name(proto):
    """The class logits: behind them a Softmax, or a Sigmoid that is joined to the boxes."""
    producers = {name: node for node in proto.graph.node for name in node.output}
    name = proto.graph.output[0].name
    if producers[name].op_type == "Concat":
        name = producers[name].input[1]
    return producers[name].input[0] if producers[name].op_type in ("Softmax", "Sigmoid") else name


def part(proto, inputs, outputs):
    """The model between named tensors, as a PyTorch module in float64, and the names of its inputs."""
    extracted = Extractor(onnx.shape_inference.infer_shapes(proto)).extract_model(inputs, outputs)
    return convert(extracted).double().eval(), [item.name for item in extracted.graph.input]


def gradient(proto, layer, target, picture):
    """The chosen logit, its gradient at `layer`, all logits."""
    image, logits = proto.graph.input[0].name, logits_name(proto)
    head, _ = part(proto, [image], [layer])
    tail, inputs = part(proto, [image, layer], [logits])
    with torch.no_grad():
        activations = head(picture)
    activations.requires_grad_()
    given = {image: picture, layer: activations}
    all_logits = tail(*(given[name] for name in inputs))
    chosen = all_logits[(0, *target)].sum()
    (found,) = torch.autograd.grad(chosen, activations)
    return chosen.item(), found.numpy(), all_logits.detach().numpy()


def check(proto, logits, picture):
    """The logits must be those of the original model in ONNX Runtime."""
    single = onnx.ModelProto()
    single.CopyFrom(proto)
    single.graph.output.append(onnx.helper.make_empty_tensor_value_info(logits_name(proto)))
    session = onnxruntime.InferenceSession(single.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {proto.graph.input[0].name: picture})[-1]
    error = np.abs(expected - logits).max() / np.abs(expected).max()
    assert error < 1e-4, f"logits differ from ONNX Runtime's by {error}"
    return error


def main():
    """Write one file per model beside this one."""
    for name, load in MODELS.items():
        proto, saved = load(), {}
        size = proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        picture = real_models.picture(size)
        for layer, target in real_models.GOLDEN_GRADIENTS[name]:
            score, found, logits = gradient(proto, layer, target, torch.from_numpy(picture).double())
            error = check(proto, logits, picture)
            saved |= {f"{layer}:{key}": value for key, value in real_models.sample(found).items()}
            saved[f"{layer}:score"] = score
            print(f"{name} {layer} {target}: logit {score:.6g}, |gradient| {np.linalg.norm(found):.6g}, {error:.1e}")
            print(f"  top entry {np.unravel_index(logits.argmax(), logits.shape)}")
        np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **saved)


if __name__ == "__main__":
    main()
