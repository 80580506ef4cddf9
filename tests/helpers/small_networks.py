"""Whole networks of a few nodes: a CNN, a transformer of one block, segmenters, and a network around any body."""

from __future__ import annotations

import numpy as np
import onnx

from aerocam.export.reading.opset import OPSET
from onnx_graphs import f32, model, node, with_input

SIZE = (1, 3, 8, 8)
"""Of the input of `cnn`."""

WEIGHTS = {"w0": f32(4, 3, 3, 3), "w1": f32(6, 4, 3, 3), "w2": f32(5, 6), "b2": f32(5)}
"""Of `cnn`."""

FRONT = [node("Conv", ["x", "w"], ["a"], name="stem", pads=[1] * 4)]
"""The beginning of a network: the convolution from `x` to `a`."""

END = [
    node("GlobalAveragePool", ["z"], ["p"], name="pool"),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "d"], ["y"]),
]
"""The end of a network: pooling and a linear layer from `z` to `y`."""

TOKEN_CHANNELS, TOKEN_SIDE = 6, 4
"""Of `transformer`: channels of a token, patches along a side of the picture."""

MASK_CHANNELS, MASK_SIDE = 4, 6
"""Of `segmenter`: channels of the features, positions along a side."""


def cnn(opset: int = OPSET) -> onnx.ModelProto:
    """Two convolutions, global pooling and a linear layer: x (1, 3, 8, 8) -> y (1, 5); the last cut is `r1`."""
    nodes = [
        node("Conv", ["x", "w0"], ["c0"], name="stem", pads=[1] * 4),
        node("Relu", ["c0"], ["r0"], name="stem_relu"),
        node("Conv", ["r0", "w1"], ["c1"], name="layer3", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"], name="layer3_relu"),
        node("GlobalAveragePool", ["r1"], ["pooled"], name="pool"),
        node("Flatten", ["pooled"], ["flat"], name="flatten"),
        node("Gemm", ["flat", "w2", "b2"], ["y"], name="classifier", transB=1),
    ]
    return model(nodes, {"x": np.zeros(SIZE, np.float32)}, WEIGHTS, ["y"], opset)


def two_channels() -> onnx.ModelProto:
    """Return `cnn` with a picture of two channels."""
    proto = with_input(cnn(), 1, 2, 8, 8)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(f32(4, 2, 3, 3), "w0"))
    return proto


def conv(source: str, weight: str, output: str) -> onnx.NodeProto:
    """Return a convolution; its name is `conv_` and that of its output."""
    return node("Conv", [source, weight], [output], name=f"conv_{output}")


def transformer(class_token: bool) -> onnx.ModelProto:
    """One patch embedding, one attention with a residual, then the class token's features or the mean of all tokens."""
    c, side = TOKEN_CHANNELS, TOKEN_SIDE
    nodes = [
        node("Conv", ["x", "k"], ["patches"], strides=[2, 2]),
        node("Reshape", ["patches", "flat"], ["rows"]),
        node("Transpose", ["rows"], ["tokens"], perm=[0, 2, 1]),
        node("Concat", ["cls", "tokens"], ["all"], axis=1) if class_token else node("Identity", ["tokens"], ["all"]),
        node("Mul", ["all", "gain"], ["normed"]),
        node("MatMul", ["normed", "wq"], ["q"]),
        node("MatMul", ["normed", "wk"], ["k_"]),
        node("MatMul", ["normed", "wv"], ["v"]),
        node("Transpose", ["k_"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores"]),
        node("Softmax", ["scores"], ["weights"], axis=-1),
        node("MatMul", ["weights", "v"], ["mixed"]),
        node("Add", ["all", "mixed"], ["out"]),
        *(
            [node("Gather", ["out", "first"], ["token"], axis=1), node("Flatten", ["token"], ["read"])]
            if class_token
            else [node("ReduceMean", ["out"], ["read"], axes=[1], keepdims=0)]
        ),
        node("Gemm", ["read", "head"], ["y"]),
    ]
    weights = {
        "k": f32(c, 3, 2, 2), "flat": np.array([1, c, side**2]), "cls": f32(1, 1, c, seed=9),
        "gain": f32(c, seed=3) + 1.5, "wq": f32(c, c, seed=4), "wk": f32(c, c, seed=5), "wv": f32(c, c, seed=6),
        "first": np.array([0]), "head": f32(c, 5, seed=7),
    }  # fmt: skip
    read = {name for item in nodes for name in item.input}
    return model(nodes, {"x": f32(1, 3, 2 * side, 2 * side)}, {n: a for n, a in weights.items() if n in read}, ["y"])


def segmenter(form: str) -> onnx.ModelProto:
    """Features, class maps by a 1x1 convolution, and what follows it."""
    classes = 1 if form.startswith("one") else 3
    nodes = [node("Conv", ["x", "k"], ["features"], pads=[1] * 4), node("Conv", ["features", "c"], ["logits"])]
    tails = {
        "logits": [node("Identity", ["logits"], ["y"])],
        "softmax": [node("Softmax", ["logits"], ["y"], axis=1)],
        "one": [node("Sigmoid", ["logits"], ["y"])],
        "classes-last": [
            node("Transpose", ["logits"], ["t"], perm=[0, 2, 3, 1]),
            node("Softmax", ["t"], ["y"], axis=-1),
        ],
        "classes-last-behind": [
            node("Softmax", ["logits"], ["p"], axis=1),
            node("Transpose", ["p"], ["y"], perm=[0, 2, 3, 1]),
        ],
        "logits-last": [node("Transpose", ["logits"], ["y"], perm=[0, 2, 3, 1])],
        "one-last": [node("Sigmoid", ["logits"], ["p"]), node("Transpose", ["p"], ["y"], perm=[0, 2, 3, 1])],
    }
    weights = {"k": f32(MASK_CHANNELS, 3, 3, 3), "c": f32(classes, MASK_CHANNELS, 1, 1, seed=5)}
    return model([*nodes, *tails[form]], {"x": np.zeros((1, 3, MASK_SIDE, MASK_SIDE), np.float32)}, weights, ["y"])
