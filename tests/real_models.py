"""Real networks for tests: ONNX's nine light graphs (with random weights), and those of the zoo.

The light graphs keep their architectures and carry ConstantOfShape in place of weights; here each weight is drawn, so
that no two channels are alike.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from aerocam.benchmarks import zoo

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
LIGHT_NAMES = sorted(path.stem for path in LIGHT.glob("light_*.onnx"))

HIDDEN = 4096
"""Width of the hidden layers of AlexNet, VGG and ZFNet: nine tenths of their weights."""

NARROW = 256
"""Width of those layers with random weights: 40 MB where VGG has 575."""


def light_path(name: str) -> Path:
    """The file in the onnx package, as shipped: opset 9, IR 3, weights as inputs."""
    return LIGHT / f"{name}.onnx"


def yolo_path() -> Path:
    """YOLOv8n for document layout, 1x3x1024x1024, opset 12 (its weights are AGPL: for tests only)."""
    return zoo.yolov8n_doclaynet()


def lite0_path() -> Path:
    """EfficientNet-Lite0 with its ImageNet weights."""
    return zoo.lite0.model()


NETWORKS = {
    "lite0": ("auto", "blocks.4/add"),
    "lite0-norms": ("auto", "blocks.10/expand/norm"),
    "lite0-half-weights": ("auto", "blocks.4/add"),
    "ppocr-v2-cls": ("auto", "tmp_8", "relu_4.tmp_0"),
    "yolov8n": ("auto", "/model.9/cv1/act/Mul_output_0"),
    "light_bvlc_alexnet": ("auto", "r1"),
    "light_densenet121": ("auto", "r660"),
    "light_inception_v1": ("auto", "r108"),
    "light_inception_v2": ("auto", "r365"),
    "light_resnet50": ("auto", "r139"),
    "light_shufflenet": ("auto", "r149"),
    "light_squeezenet": ("auto", "r31"),
    "light_vgg19": ("auto", "r27"),
    "light_zfnet512": ("auto", "r1"),
}
"""Target layers per network: the one that is taken when nobody says, and deeper ones that lie before what is hard:
strided and depthwise convolutions, pools of both kinds, LRN, batch norms, Concat, Split, Resize, sums, shuffles."""


def write(name: str, folder: Path) -> Path:
    """The file of a network of `NETWORKS` or `BEYOND_FLOAT64`; a light graph with random weights, into `folder`."""
    if name in zoo.OCR_MODELS:
        return zoo.ocr_model(name)
    network, _, variant = name.partition("-")
    if network == "lite0":
        return zoo.lite0.model(variant=variant or None)
    if name == "yolov8n":
        return yolo_path()
    path = folder / f"{name}.onnx"
    onnx.save(with_random_weights(name), path)
    return path


def with_random_weights(name: str, seed: int = 0) -> onnx.ModelProto:
    """A light graph with weights drawn by the part they play: He-normal kernels, batch norms near the identity.

    Weights are initializers and no inputs (IR 4). Hidden layers `HIDDEN` wide are made `NARROW`.
    """
    proto = onnx.load(light_path(name))
    shapes = {tensor.name: tuple(numpy_helper.to_array(tensor)) for tensor in proto.graph.initializer}
    fillers = {node.output[0]: node.input[0] for node in proto.graph.node if node.op_type == "ConstantOfShape"}
    uses = {}
    for node in proto.graph.node:
        for place, value in enumerate(node.input):
            uses.setdefault(value, (node, place))
    # some graphs reshape a weight before it meets its layer
    for node in proto.graph.node:
        if node.op_type in ("Unsqueeze", "Reshape") and node.input[0] in fillers:
            uses[node.input[0]] = uses[node.output[0]]
    graph = proto.graph
    kept = [node for node in graph.node if node.output[0] not in fillers]
    constants = [tensor for tensor in graph.initializer if tensor.name not in fillers.values()]
    inputs = [item for item in graph.input if item.name not in shapes]
    for field, items in ((graph.node, kept), (graph.initializer, constants), (graph.input, inputs)):
        del field[:]
        field.extend(items)
    residual = any(node.op_type == "Sum" for node in kept)
    rng = np.random.default_rng(seed)
    for value, source in fillers.items():
        node, place = uses[value]
        shape = tuple(NARROW if n == HIDDEN and node.op_type == "Gemm" else int(n) for n in shapes[source])
        drawn = _draw(rng, shape, node, place)
        if residual and node.op_type == "BatchNormalization" and place == 1:
            drawn *= np.float32(0.5)  # or every sum doubles the variance, and the softmax is 0 or 1
        graph.initializer.append(numpy_helper.from_array(drawn, value))
    proto.ir_version = 4
    return proto


def _draw(rng: np.random.Generator, shape: tuple[int, ...], user: onnx.NodeProto, place: int) -> NDArray[np.float32]:
    count = int(np.prod(shape))
    pool = rng.standard_normal(min(count, 1_000_003))
    normal = np.resize(pool, count).reshape(shape)
    if user.op_type in ("Conv", "Gemm") and place == 1:
        drawn = normal * np.sqrt(2 / np.prod(shape[1:]))
    elif (user.op_type == "BatchNormalization" and place in (1, 4)) or user.op_type == "Mul":
        drawn = np.exp(0.2 * normal)
    else:
        drawn = 0.1 * normal
    return drawn.astype(np.float32)


BEYOND_FLOAT64 = {
    "lite0-int8-weights": ("auto", "blocks.4/add"),
    "lite0-half": ("auto", "blocks.4/add"),
    "lite0-int8": ("auto", "blocks.8/expand/act"),
    "ppocr-v4-det": ("auto", "p2o.Add.281", "p2o.Add.127", "conv2d_450.tmp_0"),
    "ppocr-v4-rec": ("auto", "swish_17.tmp_0", "p2o.Mul.99", "p2o.Add.31"),
    "ppocr-v6-det": ("auto", "Add.221", "Div.17", "p2o.pd_op.conv2d.0.0"),
    "ppocr-v6-rec": ("auto", "Add.203", "p2o.pd_op.conv2d.25.0", "p2o.pd_op.gelu.0.0"),
}
"""Networks that are too slow for, or not in, the reference in float64: outputs are compared, gradients self-checked."""

SEGMENTERS = frozenset({"ppocr-v4-det", "ppocr-v4-rec", "ppocr-v6-det", "ppocr-v6-rec"})
"""Networks whose class scores are a map or a sequence."""

INPUT_SHAPES = {name: {"x": network.input_shape} for name, network in zoo.OCR_MODELS.items()}
"""What networks with dynamic axes are frozen to."""


@cache
def picture(height: int, width: int | None = None, channels: int = 3) -> NDArray[np.float32]:
    """A smooth seeded input (1, channels, height, width) of unit variance: neighbours agree, as in photographs.

    Square where no width is given.
    """
    rng = np.random.default_rng(7)
    coarse = rng.standard_normal((channels, 9, 9))
    smooth = _between(_between(coarse, 1, height), 2, width or height)
    smooth += 0.2 * rng.standard_normal(smooth.shape)
    return (smooth / smooth.std())[None].astype(np.float32)


def _between(values: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    """Nine values along an axis drawn out to `size`, linearly."""
    grid = np.linspace(0, 8 - 1e-6, size)
    low, part = grid.astype(int), np.expand_dims(grid % 1, tuple(i for i in range(values.ndim) if i != axis))
    return np.take(values, low, axis) * (1 - part) + np.take(values, low + 1, axis) * part


GOLDEN_GRADIENTS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "lite0": [("head/act", (285,)), ("blocks.10/add", (285,))],
    "light_resnet50": [("r171", (7,)), ("r139", (7,))],
    "yolov8n": [
        ("/model.21/cv2/act/Mul_output_0", (3, 21004)),
        ("/model.9/cv1/act/Mul_output_0", (3, 21004)),
        ("/model.15/cv2/act/Mul_output_0", (9, 5000)),
    ],
}
"""Layers and targets (class, or class and anchor) of the arrays in golden/gradients; no target is the top class."""


def sample(gradients: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What a golden keeps of gradients (1, C, H, W): 4000 seeded entries, the means per channel, the norm."""
    places = np.random.default_rng(0).integers(gradients.size, size=4000)
    return {
        "entries": gradients.ravel()[places],
        "means": gradients.mean(axis=(0, 2, 3)),
        "norm": np.linalg.norm(gradients),
    }
