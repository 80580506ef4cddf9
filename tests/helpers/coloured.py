"""A small classifier whose probabilities are known on paper, with whatever tail behind its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

COLOURS = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float32)
"""Redness, greenness and blueness of RGB."""

WEIGHTS: dict[str, Any] = {
    "kernel": COLOURS.reshape(3, 3, 1, 1),
    "w": np.eye(3, dtype=np.float32) * 60,
    "v": np.eye(3, dtype=np.float32) * 40,
    "zero": np.float32(0),
    "one": np.float32(1),
    "hundred": np.float32(100),
    "twice": np.float32(2),
    "order": np.array([2, 0, 1]),
    "same": np.array([0, 1, 2]),
    "axis": np.array([1]),
    "k": np.array([2]),
    "double": np.array([2]),
    "rows": np.array([1, 3, 64]),
    "front": np.array([0, 0, 1, 0, 0, 0]),
    "four": np.array([1, 1, 4, 4], np.float32),
}


def written(path: Path, tail: str, outputs: str = "float[1,3] y", **metadata: str) -> Path:
    """Write a network of 32x32 px: `a` (1, 3, 8, 8) is how red, green and blue it is, `f` (1, 3) the means of that."""
    head = f'<ir_version: 8, opset_import: ["": 17]> g (float[1,3,32,32] x) => ({outputs})'
    body = "p = AveragePool<kernel_shape=[4,4], strides=[4,4]>(x) c = Conv(p, kernel) a = Relu(c)"
    proto = parser.parse_model(f"{head} {{ {body} g = GlobalAveragePool(a) f = Flatten(g) {tail} }}")
    read = {name for node in proto.graph.node for name in node.input}
    weights = (numpy_helper.from_array(np.asarray(array), name) for name, array in WEIGHTS.items() if name in read)
    proto.graph.initializer.extend(weights)
    helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


def disc(colour: int, radius: int = 12) -> NDArray[np.uint8]:
    """A grey frame (32, 32, 3) in BGR with a disc of one colour: 0 is red, 1 green, 2 blue."""
    frame = np.full((32, 32, 3), 60, np.uint8)
    cv2.circle(frame, (14, 16), radius, tuple(255 * (i == 2 - colour) for i in range(3)), -1)
    return frame
