"""Make network.onnx and forward.npz: Score-CAM and Ablation-CAM by pytorch-grad-cam, occlusion by captum, in float64.

The maps are as they leave the methods: before ReLU, normalisation and resize. The network has seeded weights and two
layers to look at: `features`, whose smallest activation is 0, and `negative`, which has no such bottom; what follows
them is not linear, and for `features` its weights are stored too. Ablation-CAM at `negative` is made with a batch size
of 1: pytorch-grad-cam's fill sinks by 1e7 from entry to entry of a batch. The ONNX file is written node by node.

Made with Python 3.11, torch 2.13 (CPU), grad-cam 1.5.7, captum 0.9.0, onnx 1.23.2, onnxruntime 1.32, numpy 2.4:

    pip install torch onnx onnxruntime scikit-learn tqdm matplotlib
    pip install --no-deps captum==0.9.0 grad-cam==1.5.7 ttach
    python tests/golden/forward/make_forward.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

PICTURES = ("cv2", "torchvision")
for unused in (*PICTURES, "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules.setdefault(unused, MagicMock())  # imported by pytorch-grad-cam, not used by what is called here

import numpy as np  # noqa: E402 - after the stand-ins
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from captum.attr import Occlusion  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from pytorch_grad_cam import AblationCAM, ScoreCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from torch import nn  # noqa: E402

HEIGHT, WIDTH, TARGET = 26, 22, 2
MEAN, STD = 127.0, 64.0


def network():
    """Convolutions with ReLU and SiLU, then a classifier of five classes."""
    layers = [nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 9, 3, 2, 1), nn.SiLU(), nn.Conv2d(9, 12, 3, 2, 1)]
    layers += [nn.ReLU(), nn.Conv2d(12, 16, 3, 1, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    made = nn.Sequential(*layers, nn.Linear(16, 5)).eval()
    for name, value in made.named_parameters():
        nn.init.normal_(value, std=0.1) if name.endswith("bias") else nn.init.kaiming_normal_(value)
    return made


def to_onnx(made):
    """The network as ONNX, node by node."""
    weights = {name: value.numpy().astype(np.float32) for name, value in made.state_dict().items()}
    nodes = []

    def op(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def conv(place, x, output, stride):
        inputs = [x, f"{place}.weight", f"{place}.bias"]
        op("Conv", inputs, output, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2)

    conv(0, "images", "a", 1)
    op("Relu", ["a"], "b")
    conv(2, "b", "negative", 2)
    op("Sigmoid", ["negative"], "gate")
    op("Mul", ["negative", "gate"], "c")
    conv(4, "c", "d", 2)
    op("Relu", ["d"], "features")
    conv(6, "features", "e", 1)
    op("Sigmoid", ["e"], "gate_2")
    op("Mul", ["e", "gate_2"], "f")
    op("GlobalAveragePool", ["f"], "g")
    op("Flatten", ["g"], "h")
    op("Gemm", ["h", "10.weight", "10.bias"], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def cam(method, made, place, x, **options):
    """The raw map (1, h, w) of one of pytorch-grad-cam's methods, and the layer's activations."""
    layer, kept = made[place], []
    handle = layer.register_forward_hook(lambda module, given, output: kept.append(output.detach()))
    with torch.no_grad():
        made(x)
    handle.remove()
    activations = kept[0].numpy()
    target = [ClassifierOutputTarget(TARGET)]
    found = method(made, [layer], **options)
    return found.get_cam_image(x, layer, target, activations, None, eigen_smooth=False), activations


def main():
    """Write both files beside this one."""
    torch.manual_seed(3)
    made = network()
    model = to_onnx(made)
    frame = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    tensor = ((frame.transpose(2, 0, 1)[None] - MEAN) / STD).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": tensor})
    made.double()
    x = torch.from_numpy(tensor).double()
    expected = made(x).detach().numpy()
    print("logits", expected.round(4), "ONNX Runtime off by", np.abs(logits - expected).max())
    occlusion = Occlusion(made)
    saved = {
        "scorecam/features": cam(ScoreCAM, made, 5, x)[0],
        "scorecam/negative": cam(ScoreCAM, made, 2, x)[0],
        "ablationcam/features": cam(AblationCAM, made, 5, x)[0],
        "ablationcam/negative": cam(AblationCAM, made, 2, x, batch_size=1)[0],
        "occlusion/uneven": occlusion.attribute(x, (3, 7, 5), (3, 4, 3), 0, TARGET)[:, 0],
        "occlusion/half": occlusion.attribute(x, (3, 8, 8), (3, 4, 4), 0.5, TARGET)[:, 0],
    }
    assert cam(ScoreCAM, made, 5, x)[1].min() == 0 > cam(ScoreCAM, made, 2, x)[1].min()
    arrays = {name: np.asarray(value.detach() if torch.is_tensor(value) else value) for name, value in saved.items()}
    for name, value in arrays.items():
        assert np.isfinite(value).all()
        print(f"{name}: {value.shape}, largest {np.abs(value).max():.4g}")
    here = Path(__file__)
    onnx.save(model, here.with_name("network.onnx"))
    arrays |= {name: value.numpy() for name, value in made.state_dict().items() if name.startswith(("6.", "10."))}
    kept = {name: value.astype(np.float32) for name, value in arrays.items()}
    np.savez_compressed(here.with_name("forward.npz"), rgb=frame, score=expected[0, TARGET], **kept)


if __name__ == "__main__":
    main()
