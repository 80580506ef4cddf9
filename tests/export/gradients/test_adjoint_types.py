"""Adjoint rules in the narrow floating-point types: right in float16, of one type throughout in bfloat16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints import indexing
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.nodes.builder import Builder
from onnx_graphs import model, node_model, run_ort, run_reference
from rule_check import draw
from rule_table import CASES
from rule_table.case import Case

NO_KERNEL = "ONNX Runtime's CPU has no float16 kernel"
ADDS = frozenset({"ScatterElements", "ScatterND"})
"""Operators that ONNX Runtime's CPU does not run in float16 where they add."""

NEWEST = 24
"""Opset that the rules are written in for bfloat16: many operators take it only lately."""


def converted(case: Case, arrays: Mapping[str, NDArray[Any]], dtype: Any) -> dict[str, NDArray[Any]]:
    """The arrays with floats in another type, but for a Resize's scales."""
    fixed = case.op == "Resize"
    return {
        name: array.astype(dtype) if np.issubdtype(array.dtype, np.floating) and not (fixed and name != "x0") else array
        for name, array in arrays.items()
    }


def with_gradients(case: Case, dtype: Any, opset: int, rounded: Any = None) -> tuple[onnx.ModelProto, list[str]]:
    """The row's node, a weighted sum of its outputs and the gradients of that, in floats of one type.

    `rounded`: the type that they are rounded to before.
    """
    inputs, constants, order = draw(case)
    feeds, weights = (converted(case, converted(case, part, rounded or dtype), dtype) for part in (inputs, constants))
    proto = node_model(case.op, feeds, weights, order, case.attributes, case.outputs, opset)
    graph = ir.from_proto(proto).graph
    for y in graph.outputs:
        if y.dtype is None:  # onnx's shape inference leaves GroupNormalization without a type
            y.dtype, y.shape = graph.inputs[0].dtype, graph.inputs[0].shape
    op, rng = Builder(graph), np.random.default_rng(1)
    terms = []
    for i in case.used:
        y = graph.outputs[i]
        shape = tuple(y.shape or ())
        weight = rng.choice([-1.25, -0.5, 0.5, 0.75, 1.5], shape)
        terms.append(op.sum(op.reshape(op.Mul(y, op.floats_like(y, weight)), -1), [0], keepdims=False))
    score = op.total(terms)
    found = differentiate(op, score, op.floats_like(score, 1.0), list(graph.inputs))
    names = [f"dx{i}" for i in range(len(found))]
    for name, value in zip(names, found, strict=True):
        op.output(value, name)
    return ir.to_proto(ir.Model(graph, ir_version=11 if opset > 17 else 8)), names


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_in_float16_is_the_rule_in_float32(case: Case) -> None:
    """The latter is held to differences in `test_adjoints`; here both get the same numbers, those of float16."""
    if case.op == "Celu" or (case.op in ADDS and "reduction" in case.attributes):
        pytest.skip(f"{NO_KERNEL} of {case.op}")
    feeds = converted(case, draw(case)[0], np.float16)
    half, names = with_gradients(case, np.float16, case.opset)
    single, _ = with_gradients(case, np.float32, case.opset, rounded=np.float16)
    found = run_ort(half, feeds, names)
    expected = run_ort(single, converted(case, feeds, np.float32), names)
    for feed, dx, exact in zip(feeds.values(), found, expected, strict=True):
        assert (dx.dtype, dx.shape) == (feed.dtype, feed.shape)
        assert np.linalg.norm(dx - exact) <= 2e-2 * np.linalg.norm(exact)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_types_agree_in_bfloat16(case: Case) -> None:
    """By onnx's type and shape inference in its strict form, in the newest opset that has the row's operator so."""
    for opset in (NEWEST, case.opset):
        try:
            inputs, constants, order = draw(case)
            parts = [converted(case, part, ml_dtypes.bfloat16) for part in (inputs, constants)]
            _check_types(node_model(case.op, *parts, order, case.attributes, case.outputs, opset))
            break
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
            continue
    else:
        pytest.skip(f"{case.op} takes no bfloat16 in this form")
    proto, names = with_gradients(case, ml_dtypes.bfloat16, opset)
    inferred = _check_types(proto)
    types = {item.name: item.type.tensor_type.elem_type for item in inferred.graph.output}
    assert {types[name] for name in names} == {onnx.TensorProto.BFLOAT16}


def _check_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with shapes inferred, if its types agree."""
    onnx.checker.check_model(proto)
    return onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)


X = np.random.default_rng(0).uniform(-1000, 1000, (2, 3, 3)).astype(np.float16)
SCALE, ZERO = np.float16([1.5, -0.5, 0.75]), np.float16([0, 0, 0])


@pytest.mark.parametrize(
    ("op_type", "others", "attributes", "opset"),
    [
        ("LayerNormalization", [SCALE, ZERO], {}, 17),
        ("RMSNormalization", [SCALE], {}, 23),
        ("InstanceNormalization", [SCALE, ZERO], {}, 17),
        ("GroupNormalization", [SCALE, ZERO], {"num_groups": 1}, 21),
        ("Gelu", [], {}, 20),
        ("Gelu", [], {"approximate": "tanh"}, 20),
    ],
)
def test_squares_beyond_float16(op_type: str, others: list[Any], attributes: dict[str, Any], opset: int) -> None:
    """Activations of 256 and more, whose squares are infinite in float16: the gradient is float32's all the same.

    By onnx's reference implementation: ONNX Runtime's CPU computes most of float16 in float32.
    """
    found = []
    for dtype in (np.float16, np.float32):
        x, scales = X.astype(dtype), {f"c{i}": other.astype(dtype) for i, other in enumerate(others)}
        proto = node_model(op_type, {"x": x}, scales, ["x", *scales], attributes, opset=opset)
        graph = ir.from_proto(proto).graph
        graph.outputs[0].dtype, graph.outputs[0].shape = graph.inputs[0].dtype, graph.inputs[0].shape
        op = Builder(graph)
        seed = op.constant(np.linspace(100, 500, x.size).reshape(x.shape).astype(dtype))
        (dx,) = differentiate(op, graph.outputs[0], seed, [graph.inputs[0]])
        op.output(dx, "dx")
        found.append(run_reference(ir.to_proto(ir.Model(graph, ir_version=11)), {"x": x})[-1])
    half, single = found
    assert np.isfinite(half).all()
    assert np.linalg.norm(half - single) <= 1e-2 * np.linalg.norm(single)


@pytest.mark.parametrize("op_type", ["Max", "Min"])
def test_the_largest_of_three_that_a_runtime_rounds_differently(op_type: str) -> None:
    """ONNX Runtime's CPU computes products of float16 in float32: one of them must win at every entry."""
    x = np.random.default_rng(0).standard_normal((1, 4, 5)).astype(np.float16)
    nodes = [
        onnx.helper.make_node("Mul", ["x", "a"], ["xa"]),
        onnx.helper.make_node("Mul", ["x", "b"], ["xb"]),
        onnx.helper.make_node(op_type, ["xa", "xb", "c"], ["y"]),
    ]
    constants = {name: np.float16(value) for name, value in (("a", 0.7371), ("b", -1.3), ("c", 0.01))}
    graph = ir.from_proto(model(nodes, {"x": x}, constants, ["y"])).graph
    op = Builder(graph)
    (dx,) = differentiate(op, graph.outputs[0], op.constant(np.ones_like(x)), [graph.inputs[0]])
    op.output(dx, "dx")
    (found,) = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": x}, ["dx"])
    slopes = np.array([constants["a"], constants["b"], 0])
    values = np.stack([slopes[0] * x, slopes[1] * x, np.full_like(x, 0.01)])
    winner = values.argmax(0) if op_type == "Max" else values.argmin(0)
    np.testing.assert_array_equal(found, slopes[winner])


@pytest.mark.parametrize("op_type", ["Gather", "GatherElements"])
def test_sums_by_computed_index_in_float16(op_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a scatter that adds, which ONNX Runtime's CPU has in float32 alone."""
    monkeypatch.setattr(indexing, "LARGEST_ONE_HOT", 0)
    x, places = np.zeros(4, np.float16), np.array([1, 3, 1, 1])
    graph = ir.from_proto(node_model(op_type, {"x": x, "i": places}, {}, ["x", "i"], {})).graph
    op = Builder(graph)
    (dx,) = differentiate(op, graph.outputs[0], op.constant(np.float16([1, 2, 3, 4])), [graph.inputs[0]])
    op.output(dx, "dx")
    (found,) = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": x, "i": places}, ["dx"])
    assert (found.dtype, found.tolist()) == (np.float16, [0, 8, 0, 2])
