"""Small networks that relevance is tested on, without biases, and what their exported files give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from aerocam import manifest
from onnx_graphs import f32, model, run_ort

node = helper.make_node
Array = NDArray[Any]
SIZE = (1, 3, 12, 12)
X = f32(*SIZE, seed=4)


def explained(path: Path, x: Array, target: int | list[int] = -1) -> tuple[dict[str, Array], float]:
    """The relevance of each layer of an exported file, and the score."""
    proto = onnx.load(path)
    written = manifest.Manifest.from_json(proto.metadata_props[0].value, "it")
    names = [item.name for item in proto.graph.output]
    feeds = {proto.graph.input[0].name: x, manifest.TARGET: np.array(target, np.int32).reshape(-1)}
    found = dict(zip(names, run_ort(proto, feeds, names), strict=True))
    layers = {item.name: found[str(item.activations)] * found[str(item.gradients)] for item in written.layers}
    return layers, float(found[manifest.SCORE][0])


def network(*body: onnx.NodeProto, **weights: Array) -> onnx.ModelProto:
    """`a`, a convolution of `x` with ReLU; `b`, which `body` makes of `a`; `y`, scores; nothing has a bias."""
    nodes = [
        node("Conv", ["x", "w0"], ["z"], pads=[1] * 4),
        node("Relu", ["z"], ["a"]),
        *body,
        node("Conv", ["b", "w1"], ["c"], strides=[2, 2]),
        node("GlobalAveragePool", ["c"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w2"], ["y"], transB=1),
    ]
    own = {"w0": f32(6, 3, 3, 3), "w1": f32(8, 6, 2, 2), "w2": f32(5, 8), "v": f32(6, 6, 1, 1, seed=8)}
    weights = own | {"u": f32(6, 6, 1, 1, seed=9), "one": np.float32(1), "six": np.float32(6)} | weights
    read = {name for item in nodes for name in item.input}
    return model(nodes, {"x": X}, {name: value for name, value in weights.items() if name in read}, ["y"])


CONV = node("Conv", ["a", "v"], ["s"])
BODIES: dict[str, list[onnx.NodeProto]] = {
    "residual": [CONV, node("Relu", ["s"], ["r"]), node("Add", ["a", "r"], ["b"])],
    "max-pool": [CONV, node("MaxPool", ["s"], ["b"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)],
    "relu6": [CONV, node("Clip", ["s", "nought", "six"], ["b"])],
    "silu": [CONV, node("Sigmoid", ["s"], ["g"]), node("Mul", ["g", "s"], ["b"])],
    "hard-swish": [
        CONV,
        node("Add", ["s", "three"], ["t"]),
        node("Clip", ["t", "nought", "six"], ["g"]),
        node("Mul", ["s", "g"], ["h"]),
        node("Div", ["h", "six"], ["b"]),
    ],
    "squeeze-and-excitation": [
        CONV,
        node("GlobalAveragePool", ["s"], ["m"]),
        node("Conv", ["m", "u"], ["e"]),
        node("Sigmoid", ["e"], ["g"]),
        node("Mul", ["g", "s"], ["b"]),
    ],
    "gated linear unit": [
        CONV,
        node("Conv", ["a", "u"], ["t"]),
        node("Sigmoid", ["t"], ["g"]),
        node("Mul", ["s", "g"], ["b"]),
    ],
    "two signals": [CONV, node("Conv", ["a", "u"], ["t"]), node("Mul", ["s", "t"], ["b"])],
    "instance norm": [CONV, node("InstanceNormalization", ["s", "gain", "none"], ["b"])],
    "layer norm written out": [
        CONV,
        node("ReduceMean", ["s"], ["m"], axes=[1]),
        node("Sub", ["s", "m"], ["d"]),
        node("Mul", ["d", "d"], ["q"]),
        node("ReduceMean", ["q"], ["v_"], axes=[1]),
        node("Add", ["v_", "small"], ["w_"]),
        node("Sqrt", ["w_"], ["r"]),
        node("Div", ["d", "r"], ["b"]),
    ],
    "quantised": [
        CONV,
        node("QuantizeLinear", ["s", "scale", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "scale", "zero"], ["b"]),
    ],
}
NUMBERS: dict[str, Array] = {
    "nought": np.float32(0), "three": np.float32(3), "gain": f32(6, seed=2), "none": np.zeros(6, np.float32),
    "scale": np.float32(0.05), "zero": np.int8(-20), "small": np.float32(1e-3),
}  # fmt: skip
