"""Relevance rules, row by row of the rule table, against the definition of LRP-epsilon in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from aerocam.errors import ModelError, UnsupportedOperatorError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.relevance import EPSILON, RELEVANCE, WITHOUT_RULE
from aerocam.export.gradients.stacking import stack
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from float64_operators import LRN
from onnx_graphs import in_float64, node_model, run_ort, run_reference
from rule_check import draw, gradients, score_weights
from rule_table import CASES
from rule_table.case import THREE_D, Case

WEIGHTED = {"Conv", "ConvTranspose", "BatchNormalization", "Gemm", "MatMul", "Einsum"}
PLAIN = {
    "Add", "AveragePool", "Concat", "CumSum", "DepthToSpace", "Expand", "Gather", "GatherElements", "GatherND",
    "GlobalAveragePool", "Identity", "Mean", "Neg", "ReduceMean", "ReduceSum", "Reshape", "Resize", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze",
}  # fmt: skip
FUNCTIONS = {
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp",
    "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "LRN", "LpNormalization", "Mish", "Reciprocal", "Relu",
    "Selu", "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
}  # fmt: skip
CONSERVING = {
    "Div", "GlobalLpPool", "GlobalMaxPool", "LpPool", "Max", "MaxPool", "Min", "Mul", "PRelu", "ReduceL1", "ReduceL2",
    "ReduceMax", "ReduceMin", "ReduceSumSquare",
}  # fmt: skip

ELSEWHERE = {
    "Attention", "Cast", "CastLike", "DeformConv", "DequantizeLinear", "Dropout", "Flatten", "GridSample",
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "MaxUnpool", "Pad", "Pow",
    "QuantizeLinear", "RMSNormalization", "ReverseSequence", "RoiAlign", "ScatterElements", "ScatterND", "TopK",
    "Where",
}  # fmt: skip
"""Operators that none of the four definitions here judges: a part of what they read counts as a constant, or they move
numbers only. Networks in the other tests of relevance have some; that stacks of multipliers agree is asked of all."""

CONSTANTS = {"Div": "x1", "PRelu": "x1", "Mul-1x4x6x5,1x4x1x1-": "x1", "Mul-1x1x6x5,1x4x6x5-": "x0"}
"""The input that gets nothing, by operator or row."""


def relevance(case: Case) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """The inputs, the relevance of each by the rule, the output and its multiplier; one output."""
    inputs, _, _ = draw(case)
    y = runner(case)(inputs)
    weights = score_weights(case, [y], np.random.default_rng(1))
    found = {}
    for name, x in inputs.items():
        if name == CONSTANTS.get(case.op, CONSTANTS.get(str(case))):
            with pytest.raises(ModelError, match="it acts as a constant, such as a gate; choose another layer"):
                gradients(case, weights, RELEVANCE, name)
        else:
            found[name] = x * gradients(case, weights, RELEVANCE, name)[0]
    return inputs, found, y, weights[0]


def runner(case: Case) -> Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]]:
    """What runs the node: in float64 where there is such an implementation."""
    inputs, constants, order = draw(case)
    single = {name: x.astype(np.float32) for name, x in inputs.items()}
    proto = node_model(case.op, single, constants, order, case.attributes, case.outputs, case.opset)
    if case.forward is run_reference:
        evaluator = ReferenceEvaluator(in_float64(proto), new_ops=[LRN])
        return lambda feeds: evaluator.run(None, dict(feeds))[0]
    return lambda feeds: run_ort(proto, {name: x.astype(np.float32) for name, x in feeds.items()})[0].astype(np.float64)


def per_unit(z: NDArray[Any], r: NDArray[Any]) -> NDArray[Any]:
    """R_j / (z_j + ε sign z_j), with sign 0 = 1."""
    return r / (z + EPSILON * np.where(z < 0, -1, 1))


def defined(case: Case, inputs: dict[str, NDArray[Any]], shares: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """R_i = Σ_j a_i w_ij shares_j, the weights read off the node entry by entry."""
    forward = runner(case)
    zero = forward({name: np.zeros_like(x) for name, x in inputs.items()})
    found = {}
    for name, x in inputs.items():
        part = np.zeros(x.size)
        for i in range(x.size):
            unit = {other: np.zeros_like(value) for other, value in inputs.items()}
            unit[name].flat[i] = 1
            part[i] = x.flat[i] * np.sum((forward(unit) - zero) * shares)
        found[name] = part.reshape(x.shape)
    return found


def agree(found: NDArray[Any], expected: NDArray[Any], tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() < tolerance * np.abs(expected).max()


def rows(operators: set[str], inputs: int | None = None) -> list[Case]:
    """The rows of these operators with one output and so many inputs that are drawn."""
    return [
        case
        for case in CASES
        if case.op in operators
        and case.outputs == 1
        and case.attributes.get("equation") != "ijk->"  # the sum of all numbers drawn, which is 0
        and inputs in (None, sum(isinstance(item, tuple) for item in case.inputs))
    ]


def has_no_constant(case: Case) -> bool:
    """Whether no number of the node's own can take a share."""
    return case.op not in ("Max", "Min") or all(isinstance(item, tuple) for item in case.inputs)


def test_every_operator_is_decided() -> None:
    """A new adjoint rule gets a relevance rule, or a reason why it has none, and a definition that judges it here."""
    assert sorted(ADJOINTS.keys() - RELEVANCE.keys()) == [], "no relevance rule, and no reason in WITHOUT_RULE"
    assert sorted(RELEVANCE.keys() - ADJOINTS.keys()) == [], "a relevance rule, but no adjoint"
    judged = WITHOUT_RULE.keys() | WEIGHTED | PLAIN | FUNCTIONS | CONSERVING | ELSEWHERE
    assert sorted(RELEVANCE.keys() - judged) == [], "in none of the sets of this file, by which its rows are judged"
    assert sorted(judged - RELEVANCE.keys()) == []
    assert {case.op for case in rows(WEIGHTED | PLAIN | FUNCTIONS | CONSERVING)} >= WEIGHTED | FUNCTIONS | CONSERVING


@pytest.mark.parametrize("case", [case for case in rows(WEIGHTED, 1) if case.inputs[0] != THREE_D], ids=str)
def test_a_weighted_sum_gives_shares(case: Case) -> None:
    inputs, found, z, m = relevance(case)
    for name, expected in defined(case, inputs, per_unit(z, z * m)).items():
        agree(found[name], expected)


@pytest.mark.parametrize("case", {case.op: case for case in reversed(rows(PLAIN))}.values(), ids=str)
def test_a_plain_sum_gives_shares(case: Case) -> None:
    """Without ε: R / z is the multiplier, also where z is 0, as of a number and its negative."""
    inputs, found, _, m = relevance(case)
    for name, expected in defined(case, inputs, m).items():
        agree(found[name], expected)


@pytest.mark.parametrize("case", rows({"MatMul", "Gemm", "Einsum"}, 2), ids=str)
def test_two_signals_have_half_each(case: Case) -> None:
    """What each would have if the other were a weight, times a half."""
    inputs, found, z, m = relevance(case)
    forward = runner(case)
    for name, x in inputs.items():
        held = {other: value for other, value in inputs.items() if other != name}
        expected = np.zeros_like(x)
        shares = per_unit(z, z * m) / 2
        for i in range(x.size):
            unit = np.zeros_like(x)
            unit.flat[i] = x.flat[i]
            absent = forward({**held, name: np.zeros_like(x)})
            expected.flat[i] = np.sum((forward({**held, name: unit}) - absent) * shares)
        agree(found[name], expected)


@pytest.mark.parametrize("case", rows(FUNCTIONS), ids=str)
def test_all_relevance_passes_a_function(case: Case) -> None:
    _, found, y, m = relevance(case)
    agree(found["x0"], y * m, 2e-4)


@pytest.mark.parametrize("case", [case for case in rows(CONSERVING) if has_no_constant(case)], ids=str)
def test_relevance_is_conserved(case: Case) -> None:
    _, found, y, m = relevance(case)
    total = sum(float(part.sum()) for part in found.values())
    assert total == pytest.approx(float((y * m).sum()), abs=2e-4 * float(np.abs(y * m).sum()))


@pytest.mark.parametrize("case", [case for case in CASES if case.op in WITHOUT_RULE], ids=str)
def test_what_has_no_rule_is_refused_by_name(case: Case) -> None:
    with pytest.raises(
        UnsupportedOperatorError,
        match=rf"operator {case.op} \(node 'node'\): relevance has no rule for it \(.*\); export without `relevance`",
    ):
        gradients(case, score_weights(case, [np.float32(1)] * case.outputs, np.random.default_rng(0)), RELEVANCE)


OWN_RULE = {case.op: case for case in reversed(CASES) if RELEVANCE.get(case.op) not in (None, ADJOINTS.get(case.op))}


@pytest.mark.parametrize("case", [case for name, case in OWN_RULE.items() if name not in WITHOUT_RULE], ids=str)
def test_a_stack_of_multipliers_gives_what_each_gives(case: Case) -> None:
    """Several targets in one pass, for every operator whose rule is not its adjoint."""
    inputs, constants, order = draw(case)
    feeds = {name: x.astype(np.float32) for name, x in inputs.items()}
    proto = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    graph = ir.from_proto(proto).graph
    y, x = graph.outputs[0], graph.inputs[2 if case.op == "Attention" else 0]
    if y.dtype is None:
        y.dtype, y.shape = x.dtype, x.shape
    op, shape = Builder(graph), static_shape(y)
    seeds = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    one = op.Identity(op.constant(seeds[0]))
    (single,) = differentiate(op, y, one, [x], RELEVANCE)
    (several,) = stack(op, one, op.constant(seeds.reshape(3 * shape[0], *shape[1:])), [single], 3)
    op.output(op.Identity(single), "single")
    op.output(op.Identity(several), "several")
    for target in range(3):
        one.producer().replace_input_with(0, op.constant(seeds[target]))
        alone, together = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), feeds, ["single", "several"])
        found = together.reshape(3, *alone.shape)[target]
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5 * np.abs(alone).max())
