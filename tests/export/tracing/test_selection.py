"""Choosing one entry early equals choosing it at the end; and the early way is taken wherever a row says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from aerocam.export import export_model
from aerocam.export.nodes.builder import Builder
from aerocam.export.tracing.selection import SELECTORS, Choice, select
from onnx_graphs import f32, model, run_ort, saved
from small_networks import WEIGHTS, cnn

node = helper.make_node
IMAGE = (1, 3, 6, 5)


def i64(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Row:
    """A chain of nodes from `x`; the last one's first output is chosen from.

    `early`: whether the choice is made before the last node, so that the whole tensor is not needed.
    """

    nodes: Sequence[tuple[str, Sequence[str], Mapping[str, Any]]]
    axis: int
    constants: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (2, 4)
    early: bool = True
    output: int = 0

    @property
    def op(self) -> str:
        return self.nodes[-1][0]

    def __str__(self) -> str:
        chain = "-".join(op for op, _, _ in self.nodes)
        return f"{chain}-axis{self.axis}-{'early' if self.early else 'late'}"


GEMM = ("Gemm", ["x", "w"], {})
W = {"w": f32(4, 6)}
CONV = ("Conv", ["x", "k"], {})
K = {"k": f32(6, 3, 1, 1)}

ROWS = [
    Row([("Gemm", ["x", "w"], {})], 1, W),
    Row([("Gemm", ["x", "w", "b"], {})], 1, {**W, "b": f32(6)}),
    Row([("Gemm", ["x", "w", "b"], {"transB": 1, "alpha": 0.5, "beta": 3.0})], 1, {"w": f32(6, 4), "b": f32(1, 6)}),
    Row([("Gemm", ["x", "w"], {"transB": 1})], 1, {"w": f32(6, 4)}),
    Row([("Gemm", ["x", "w", "b"], {})], 1, {**W, "b": f32(1)}),
    Row([("Gemm", ["x", "w", "b"], {})], 1, {**W, "b": np.float32(0.7)}),
    Row([("Gemm", ["x", "w", "b"], {})], 1, {**W, "b": f32(2, 1)}),
    Row([("Gemm", ["x", "w", "b"], {"transA": 1})], 1, {"w": f32(2, 6), "b": f32(6)}),
    Row([("Gemm", ["x", "w", "b"], {})], 0, {**W, "b": f32(6)}, early=False),
    Row([("MatMul", ["x", "w"], {})], 1, W),
    Row([("MatMul", ["x", "w"], {})], 2, W, shape=(1, 3, 4)),
    Row([("MatMul", ["x", "w"], {})], 0, W, early=False),
    Row([("Transpose", ["x"], {}), ("MatMul", ["x", "0"], {})], 1, early=False),
    Row([("MatMul", ["x", "w"], {}), ("Add", ["0", "b"], {})], 1, {**W, "b": f32(6)}),
    Row([("MatMul", ["x", "w"], {}), ("Add", ["b", "0"], {})], 1, {**W, "b": f32(2, 6)}),
    Row([GEMM, ("Add", ["0", "b"], {})], 1, {**W, "b": f32(2, 1)}),
    Row([GEMM, ("Add", ["0", "0"], {})], 1, W),
    Row([GEMM, ("Sub", ["b", "0"], {})], 1, {**W, "b": np.float32(2)}),
    Row([GEMM, ("Mul", ["0", "b"], {})], 1, {**W, "b": f32(6)}),
    Row([GEMM, ("Mul", ["0", "b"], {})], 2, {**W, "b": f32(3, 1, 1)}),
    Row([GEMM, ("Div", ["0", "b"], {})], 1, {**W, "b": f32(1, 6)}),
    Row([GEMM, ("Sum", ["0", "b", "0"], {})], 1, {**W, "b": f32(6)}),
    Row([GEMM, ("Identity", ["0"], {})], 1, W),
    Row([GEMM, ("Dropout", ["0"], {})], 1, W),
    Row([GEMM, ("Relu", ["0"], {})], 1, W),
    Row([GEMM, ("Sigmoid", ["0"], {})], 1, W),
    Row([GEMM, ("Clip", ["0", "lo", "hi"], {})], 1, {**W, "lo": np.float32(-1), "hi": np.float32(0.5)}),
    Row([GEMM, ("Clip", ["0", "", "hi"], {})], 1, {**W, "hi": np.float32(0.5)}),
    Row([("Conv", ["x", "k"], {})], 1, K, IMAGE),
    Row([("Conv", ["x", "k", "b"], {"kernel_shape": [1, 1]})], 1, {**K, "b": f32(6)}, IMAGE),
    Row([("Conv", ["x", "k"], {"strides": [2, 1], "pads": [1, 0, 0, 1]})], 1, {"k": f32(6, 3, 3, 2)}, IMAGE),
    Row([("Conv", ["x", "k"], {"group": 3})], 1, {"k": f32(6, 1, 1, 1)}, IMAGE, early=False),
    Row([("Conv", ["x", "k"], {})], 2, K, IMAGE, early=False),
    Row([CONV, ("BatchNormalization", ["0", *"vvvv"], {})], 1, {**K, "v": abs(f32(6))}, IMAGE, early=False),
    Row([CONV, ("GlobalAveragePool", ["0"], {})], 1, K, IMAGE),
    Row([CONV, ("AveragePool", ["0"], {"kernel_shape": [2, 2], "strides": [2, 2]})], 1, K, IMAGE),
    Row([CONV, ("AveragePool", ["0"], {"kernel_shape": [2, 2]})], 3, K, IMAGE, early=False),
    Row([CONV, ("MaxPool", ["0"], {"kernel_shape": [3, 3], "pads": [1] * 4})], 1, K, IMAGE),
    Row([("Concat", ["x", "x"], {"axis": 0})], 1),
    Row([("Concat", ["x", "c"], {"axis": -2})], 1, {"c": f32(3, 4)}),
    Row([("Concat", ["x", "c"], {"axis": 1})], 1, {"c": f32(2, 3)}, early=False),
    Row([("TopK", ["x", "n"], {"axis": 1})], 1, {"n": i64(3)}, (1, 5)),
    Row([("TopK", ["x", "n"], {"axis": 1, "largest": 0})], 1, {"n": i64(3)}, (1, 5, 1)),
    Row([("TopK", ["x", "n"], {})], 1, {"n": i64(3)}, early=False),
    Row([("TopK", ["x", "n"], {"axis": 0})], 1, {"n": i64(1)}, (1, 5), early=False),
    Row([("Split", ["x", "n"], {"axis": 1})], 1, {"n": i64(1, 3)}, output=1),
    Row([("Split", ["x", "n"], {"axis": -1})], 1, {"n": i64(3, 1)}),
    Row([("Split", ["x", "n"], {"axis": 0})], 1, {"n": i64(1, 1)}, output=1),
    Row([("Slice", ["x", "a", "z", "d"], {})], 1, {"a": i64(1), "z": i64(9), "d": i64(1)}),
    Row([("Slice", [*"xazdn"], {})], 1, {"a": i64(-3), "z": i64(4), "d": i64(-1), "n": i64(1)}),
    Row([("Slice", [*"xazdn"], {})], 1, {"a": i64(0), "z": i64(4), "d": i64(1), "n": i64(2)}, early=False),
    Row([("Slice", [*"xazdn"], {})], 1, {"a": i64(3), "z": i64(-9), "d": i64(1), "n": i64(-1)}, early=False),
    Row([("Slice", ["x", "a", "z", "d"], {})], 1, {"a": i64(1), "z": i64(2), "d": i64(0)}),
    Row([("Slice", ["x", "a", "z", "d"], {})], 1, {"a": i64(0, 1), "z": i64(1, 4), "d": i64(0, 1)}, early=False),
    Row([("Slice", ["x", "a", "z"], {})], 1, {"a": i64(0, 1), "z": i64(2, 4)}, early=False),
    Row([("Reshape", ["x", "n"], {})], 1, {"n": i64(2, 4, 1)}),
    Row([("Reshape", ["x", "n"], {})], 1, {"n": i64(1, 6, 30)}, (2, 3, 30), early=False),
    Row([("Reshape", ["x", "n"], {})], 1, {"n": i64(2, 6, 5)}, (2, 3, 10), early=False),
    Row([("Reshape", ["x", "n"], {})], 2, {"n": i64(1, 2, 12, 5)}, (2, 3, 4, 5), early=False),
    Row([("Reshape", ["x", "n"], {})], 1, {"n": i64(1, 3, 30)}, IMAGE),
    Row([("Reshape", ["x", "n"], {})], 2, {"n": i64(1, 18, 5)}, IMAGE),
    Row([("Flatten", ["x"], {})], 1, shape=(2, 3, 1, 1)),
    Row([("Flatten", ["x"], {})], 1, shape=(2, 3, 2, 1), early=False),
    Row([("Squeeze", ["x", "n"], {})], 1, {"n": i64(0)}, (1, 2, 4)),
    Row([("Unsqueeze", ["x", "n"], {})], 2, {"n": i64(0, 3)}),
    Row([("Transpose", ["x"], {"perm": [0, 2, 3, 1]})], 3, shape=IMAGE),
    Row([("Transpose", ["x"], {"perm": [2, 0, 3, 1]})], 0, shape=IMAGE),
    Row([("Transpose", ["x"], {})], 1, shape=IMAGE),
]  # fmt: skip


def build(row: Row) -> tuple[ir.Graph, NDArray[np.float32]]:
    nodes = []
    for i, (op, inputs, attributes) in enumerate(row.nodes):
        last = i == len(row.nodes) - 1
        count = {"Split": len(row.constants.get("n", ())), "TopK": 2}.get(op, 1)
        names = [f"y{k}" if last else str(i) for k in range(count)]
        nodes.append(node(op, list(inputs), names, **attributes))
    x = f32(*row.shape, seed=3)
    return ir.from_proto(model(nodes, {"x": x}, row.constants, [f"y{row.output}"])).graph, x


def restrict(graph: ir.Graph, axis: int, keep: Sequence[ir.Value] = ()) -> onnx.ModelProto:
    """The graph with an input `index` and an output `chosen`."""
    value = graph.outputs[0]
    assert value.shape is not None
    index = ir.Value(name="index", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([1]))
    graph.inputs.append(index)
    op = Builder(graph)
    op.output(select(op, value, Choice(axis, index, 0, int(value.shape[axis]), frozenset(keep))), "chosen")  # type: ignore[arg-type]
    return ir.to_proto(ir.Model(graph, ir_version=8))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_early_choice_equals_the_late_one(row: Row) -> None:
    graph, x = build(row)
    whole = graph.outputs[0].name
    proto = restrict(graph, row.axis)
    readers = [item for item in proto.graph.node if item.op_type == "Gather" and item.input[0] == whole]
    assert not readers if row.early else readers
    (plain,) = run_ort(proto, {"x": x, "index": i64(0)}, [str(whole)])
    for i in range(plain.shape[row.axis]):
        (chosen,) = run_ort(proto, {"x": x, "index": i64(i)}, ["chosen"])
        np.testing.assert_allclose(chosen, np.take(plain, [i], row.axis), rtol=1e-5, atol=1e-6)


def test_every_selector_has_an_early_row() -> None:
    assert {row.op for row in ROWS if row.early} == SELECTORS.keys()


def test_a_range_inside_one_part_of_a_concat() -> None:
    """The classes lie behind the boxes: Concat, then Split of the same axis, then the parts' own operators."""
    nodes = [
        node("Gemm", ["x", "w"], ["cls"]),
        node("Concat", ["x", "cls", "x"], ["both"], axis=1),
        node("Split", ["both", "n"], ["front", "middle", "back"], axis=1),
    ]
    x = f32(2, 4)
    graph = ir.from_proto(model(nodes, {"x": x}, {**W, "n": i64(4, 6, 4)}, ["middle"])).graph
    proto = restrict(graph, 1)
    weights = [item.input[0] for item in proto.graph.node if item.op_type == "Gather"]
    assert weights == ["w"]
    for i in range(6):
        (chosen,) = run_ort(proto, {"x": x, "index": i64(i)}, ["chosen"])
        np.testing.assert_allclose(chosen, (x @ W["w"])[:, [i]], rtol=1e-5, atol=1e-6)


def test_an_axis_of_length_one_needs_no_choice() -> None:
    graph, _ = build(Row([("Relu", ["x"], {})], 0, shape=(1, 4)))
    assert "Gather" not in [item.op_type for item in restrict(graph, 0).graph.node]


def test_the_choice_stops_at_a_target_layer() -> None:
    """Behind it there would be no gradient of the whole layer."""
    graph, _ = build(Row([CONV, ("Relu", ["0"], {}), ("GlobalAveragePool", ["1"], {})], 1, K, IMAGE))
    layer = next(value for item in graph for value in item.outputs if value.name == "1")
    proto = restrict(graph, 1, [layer])
    assert [item.input[0] for item in proto.graph.node if item.op_type == "Gather"] == ["1"]


@pytest.mark.parametrize("tail", ["Gemm", "MatMul", "Conv"])
def test_the_gradient_never_reads_the_whole_weight(tmp_path: Path, tail: str) -> None:
    """Of the classifier only the chosen row is touched, by a Gather; nothing else new reads weight or logits."""
    proto = cnn()
    if tail == "MatMul":
        del proto.graph.node[6:]
        proto.graph.node.append(node("Transpose", ["w2"], ["w2t"], perm=[1, 0]))
        proto.graph.node.append(node("MatMul", ["flat", "w2t"], ["product"]))
        proto.graph.node.append(node("Add", ["product", "b2"], ["y"]))
    elif tail == "Conv":
        weight = next(item for item in proto.graph.initializer if item.name == "w2")
        weight.dims[:] = [*WEIGHTS["w2"].shape, 1, 1]
        del proto.graph.node[5:]
        proto.graph.node.append(node("Conv", ["pooled", "w2", "b2"], ["logits"]))
        proto.graph.node.append(node("Flatten", ["logits"], ["y"]))
    done = export_model(saved(tmp_path, proto))
    written = onnx.load(done.path).graph
    added = [item for item in written.node if item.name.startswith("aerocam")]
    large = {item.name for item in written.initializer if WEIGHTS["w2"].shape[0] in item.dims and len(item.dims) > 1}
    readers = [(item.op_type, name) for item in added for name in item.input if name in large]
    assert [op for op, _ in readers] == ["Gather"]
