"""Gradients through bounds to the last digit, and those of x times its sigmoid as one function."""

from __future__ import annotations

from collections import ChainMap
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from aerocam.export.gradients.adjoints import ADJOINTS, composites
from aerocam.export.gradients.adjoints.composites import Composite
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.nodes.builder import Builder
from onnx_graphs import model, run_ort

FLT_MAX = float(np.finfo(np.float32).max)
node = helper.make_node


def gradients(proto: onnx.ModelProto, layers: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Those of the sum of a model's output, and the nodes of the graph."""
    graph = ir.from_proto(proto).graph
    op, known = Builder(graph), {y.name: y for y in (*graph.inputs, *(y for n in graph for y in n.outputs))}
    score = op.sum(op.reshape(graph.outputs[0], -1), [0], keepdims=False)
    found = differentiate(op, score, op.floats_like(score, 1.0), [known[name] for name in layers])
    for i, value in enumerate(found):
        op.output(value, f"d{i}")
    made = ir.to_proto(ir.Model(graph, ir_version=8))
    return run_ort(made, feeds, [f"d{i}" for i in range(len(found))])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0, 6),
        (0, None),
        (None, 0),
        (-1, 1),
        (0, 1),
        (-0.1, 0.3),
        (0.02, 1e4),
        (1e-4, 1),
        (-2, FLT_MAX),
        (-np.inf, 3),
        (2**-6, 96),
    ],
)
def test_a_clip_s_gradient_is_1_up_to_the_number_next_to_its_bounds(low: float | None, high: float | None) -> None:
    ends = [np.float32(end) for end in (low, high) if end is not None and np.isfinite(end)]
    near = [np.nextafter(end, np.float32(side)) for end in ends for side in (-FLT_MAX, FLT_MAX)]
    tiny = np.float32([2**-44, -(2**-44), 3e-5, -3e-5])
    x = np.concatenate([ends, near, tiny, np.linspace(-9, 9, 37, dtype=np.float32), np.float32([FLT_MAX, -FLT_MAX])])
    x = x[(np.abs(x) >= 2**-44) | (x == 0)]  # nearer to 0 the slope is still on its way
    inside = np.ones(x.shape, bool)
    names = ["x", "", ""]
    weights = {}
    for i, (name, end) in enumerate((("low", low), ("high", high))):
        if end is not None:
            weights[name], names[i + 1] = np.float32(end), name
            inside &= x > np.float32(end) if name == "low" else x < np.float32(end)
    proto = model([node("Clip", names, ["y"])], {"x": x}, weights, ["y"])
    np.testing.assert_array_equal(gradients(proto, ["x"], {"x": x})[0], inside.astype(np.float32))


def test_a_relu_s_gradient_is_that_of_a_comparison() -> None:
    x = np.concatenate([np.float32([0, -0.0, 2**-44, -1e-30, FLT_MAX, -FLT_MAX]), np.linspace(-1, 1, 41, dtype="f4")])
    proto = model([node("Relu", ["x"], ["y"])], {"x": x}, {}, ["y"])
    np.testing.assert_array_equal(gradients(proto, ["x"], {"x": x})[0], (x > 0).astype(np.float32))


SWISH = [node("Sigmoid", ["x"], ["s"]), node("Mul", ["x", "s"], ["y"])]
TURNED = [node("Sigmoid", ["x"], ["s"]), node("Mul", ["s", "x"], ["y"])]
TWICE = [*SWISH[:1], node("Mul", ["x", "s"], ["p"]), node("Add", ["p", "s"], ["y"])]
OTHER = [node("Sigmoid", ["z"], ["s"]), node("Mul", ["x", "s"], ["y"])]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("nodes", "layers"),
    [(SWISH, ["x"]), (TURNED, ["x"]), (SWISH, ["s"]), (SWISH, ["x", "s"]), (TWICE, ["x"]), (OTHER, ["x", "z"])],
)
def test_x_times_its_sigmoid(nodes: list[onnx.NodeProto], layers: list[str], dtype: Any) -> None:
    x, z = np.linspace(-20, 20, 81).astype(dtype), np.linspace(3, -5, 81).astype(dtype)
    feeds = {"x": x, "z": z} if nodes is OTHER else {"x": x}
    s = 1 / (1 + np.exp(-(z if nodes is OTHER else x).astype(np.float64)))
    known = {"x": s + x * s * (1 - s), "s": x, "z": x * s * (1 - s)}
    if nodes is TWICE:
        known["x"] = s + (x + 1) * s * (1 - s)
    if nodes is OTHER:
        known["x"] = s
    found = gradients(model(nodes, feeds, {}, ["y"]), layers, feeds)
    for name, dx in zip(layers, found, strict=True):
        np.testing.assert_allclose(dx, known[name], rtol=1e-5, atol=1e-6)


def test_x_times_its_sigmoid_takes_four_nodes() -> None:
    graph = ir.from_proto(model(SWISH, {"x": np.zeros(3, np.float32)}, {}, ["y"])).graph
    op, y = Builder(graph), graph.outputs[0]
    differentiate(op, y, y, list(graph.inputs))
    assert [n.op_type for n in graph][2:] == ["HardSigmoid", "Mul", "Add", "Mul"]


def test_a_further_composite_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exp(Log(x)) is x: as a composite the walk adds no node for it; under other rules for Log it is walked through."""

    def find(end: ir.Node, *_: object) -> ir.Value | None:
        inner = end.inputs[0].producer()  # type: ignore[union-attr]
        return inner.inputs[0] if inner is not None and inner.op_type == "Log" else None

    identity = Composite(("Exp", "Log"), find, lambda op, end, x, dy: dy)
    monkeypatch.setattr(composites, "COMPOSITES", (*composites.COMPOSITES, identity))
    nodes = [node("Log", ["x"], ["l"]), node("Exp", ["l"], ["y"])]
    other = ChainMap({"Log": lambda op, node, dy: [op.Neg(dy)]}, ADJOINTS)
    for rules, alone in ((ADJOINTS, True), (other, False)):
        graph = ir.from_proto(model(nodes, {"x": np.ones(3, np.float32)}, {}, ["y"])).graph
        op, y = Builder(graph), graph.outputs[0]
        (dx,) = differentiate(op, y, y, list(graph.inputs), rules)
        assert (dx is y, len(graph) == len(nodes)) == (alone, alone)
