"""What the graph says of a tensor's sign."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from aerocam.export.heads.gradient import never_negative
from onnx_graphs import model, run_ort

node = helper.make_node

NODES = {
    "relu": [node("Relu", ["x"], ["y"])],
    "relu6": [node("Clip", ["x", "zero", "six"], ["y"])],
    "clip from -1": [node("Clip", ["x", "minus", "six"], ["y"])],
    "clip without a low end": [node("Clip", ["x", "", "six"], ["y"])],
    "sigmoid": [node("Sigmoid", ["x"], ["y"])],
    "silu": [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])],
    "sum of two": [node("Relu", ["x"], ["a"]), node("Sigmoid", ["x"], ["b"]), node("Add", ["a", "b"], ["y"])],
    "sum with the input": [node("Relu", ["x"], ["a"]), node("Add", ["a", "x"], ["y"])],
    "pooled": [node("Relu", ["x"], ["a"]), node("MaxPool", ["a"], ["y"], kernel_shape=[2, 2])],
    "convolved": [node("Relu", ["x"], ["a"]), node("Conv", ["a", "w"], ["y"])],
    "scaled by a weight": [node("Relu", ["x"], ["a"]), node("Mul", ["a", "w"], ["y"])],
    "scaled by a number": [node("Relu", ["x"], ["a"]), node("Mul", ["a", "six"], ["y"])],
    "the input": [node("Identity", ["x"], ["y"])],
}
NEVER = {"relu", "relu6", "sigmoid", "sum of two", "pooled", "scaled by a number"}
WEIGHTS = {
    "zero": np.float32(0), "six": np.float32(6), "minus": np.float32(-1),
    "w": np.random.default_rng(0).standard_normal((3, 3, 1, 1), np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
def test_the_sign_is_that_of_the_numbers(name: str) -> None:
    """The table names every graph that computes no negative number, and only these."""
    arrays = {"x": np.random.default_rng(1).standard_normal((3, 3, 6, 6), np.float32)}
    read = {x for item in NODES[name] for x in item.input}
    proto = model(NODES[name], arrays, {key: value for key, value in WEIGHTS.items() if key in read}, ["y"])
    (value,) = ir.from_proto(proto).graph.outputs
    assert never_negative(value) == (name in NEVER)
    (numbers,) = run_ort(proto, arrays, ["y"])
    assert (numbers.min() >= 0) == (name in NEVER)
