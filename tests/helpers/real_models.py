"""Real networks for tests, all of the zoo: ONNX's nine light graphs (with random weights), and those with their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from aerocam.benchmarks import zoo


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
    "ssdlite": (
        "BoxPredictor_0/ClassPredictor_depthwise/Relu6",
        "layer_19_2_Conv2d_3_3x3_s2_256/Relu6",
        "auto",
        "expanded_conv_2/add",
    ),
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
    onnx.save(zoo.ssdlite.with_means() if name == "ssdlite" else zoo.light.with_random_weights(name), path)
    return path


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
