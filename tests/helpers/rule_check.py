"""One row of the rule table checked: an adjoint rule against central finite differences.

The forward node runs in float64 in onnx's reference implementation, which gives the differences; the adjoint nodes run
in float32 in ONNX Runtime. So each row also shows that the rule's nodes are legal there and mean the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import Rule
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.nodes.builder import Builder
from onnx_graphs import in_float64, node_model, run_ort, run_ort_double, run_reference, well_separated
from rule_table.case import Case

STEP = 1e-4
DIRECTIONS = 3


def draw(case: Case) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[Any]], list[str]]:
    """Values for the differentiated inputs, the constants, and the order of the node's inputs."""
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    inputs, constants, order = {}, {}, []
    for i, item in enumerate(case.inputs):
        name = "" if item is None else f"x{i}"
        order.append(name)
        if isinstance(item, tuple):
            inputs[name] = well_separated(item, rng)
            if case.low is not None:
                inputs[name] = np.asarray(inputs[name] - inputs[name].min() + case.low)
        elif item is not None:
            constants[name] = np.asarray(item)
    return inputs, constants, order


def gradient_graph(
    case: Case, weights: Sequence[NDArray[Any]], rules: Mapping[str, Rule] = ADJOINTS, only: str | None = None
) -> tuple[ir.Model, dict[str, NDArray[np.float32]]]:
    """Gradients of the sum of weights * outputs at the inputs, or at one, by the rule: outputs dx0, ...; and feeds."""
    inputs, constants, order = draw(case)
    feeds = {name: array.astype(np.float32) for name, array in inputs.items()}
    proto = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    graph = ir.from_proto(proto).graph
    for y in graph.outputs:
        if y.dtype is None:  # onnx's shape inference leaves GroupNormalization without a type
            y.dtype, y.shape = graph.inputs[0].dtype, graph.inputs[0].shape
    op = Builder(graph)
    terms = [
        op.sum(op.reshape(op.Mul(graph.outputs[i], weight.astype(np.float32)), -1), [0], keepdims=False)
        for i, weight in zip(case.used, weights, strict=True)
    ]
    score = op.total(terms)
    layers = [x for x in graph.inputs if only in (None, x.name)]
    found = differentiate(op, score, op.constant(np.float32(1)), layers, rules)
    for i, value in enumerate(found):
        op.output(value, f"dx{i}")
    return ir.Model(graph, ir_version=8), feeds


def gradients(
    case: Case, weights: Sequence[NDArray[Any]], rules: Mapping[str, Rule] = ADJOINTS, only: str | None = None
) -> list[NDArray[Any]]:
    """What `gradient_graph` gives, in float32 in ONNX Runtime."""
    model, feeds = gradient_graph(case, weights, rules, only)
    names = [str(value.name) for value in model.graph.outputs if str(value.name).startswith("dx")]
    return run_ort(ir.to_proto(model), feeds, names)


def score_weights(case: Case, outputs: Sequence[NDArray[Any]], rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """What the score multiplies each used output with: 0.5 to 1.5, of either sign."""
    return [rng.uniform(0.5, 1.5, np.shape(outputs[i])) * rng.choice([-1, 1], np.shape(outputs[i])) for i in case.used]


def check_rule(case: Case) -> None:
    """Assert that the rule's gradients agree with central differences along random directions."""
    inputs, constants, order = draw(case)
    single = {name: array.astype(np.float32) for name, array in inputs.items()}
    proto = node_model(case.op, single, constants, order, case.attributes, case.outputs, case.opset)
    in_double = case.forward in (run_reference, run_ort_double)
    forward, dtype, step = (in_float64(proto), np.float64, STEP) if in_double else (proto, np.float32, 100 * STEP)
    tolerance = 2e-4 if in_double else 2e-3
    exact = {name: array.astype(dtype) for name, array in single.items()}
    outputs = case.forward(forward, exact)
    rng = np.random.default_rng(1)
    weights = score_weights(case, outputs, rng)

    def score(feeds: Mapping[str, NDArray[np.float64]]) -> float:
        results = case.forward(forward, feeds)
        return float(sum(np.vdot(results[i], weight) for i, weight in zip(case.used, weights, strict=True)))

    found = gradients(case, weights)
    for (name, array), dx in zip(exact.items(), found, strict=True):
        assert dx.shape == array.shape
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(array.shape)
            moved = (np.asarray(array + sign * step * direction, dtype) for sign in (1, -1))
            ahead, behind = ({**exact, name: point} for point in moved)
            difference = (score(ahead) - score(behind)) / (2 * step)
            slope = float(np.vdot(dx.astype(np.float64), direction))
            scale = float(np.linalg.norm(dx)) + 1e-6
            assert abs(difference - slope) < tolerance * scale, (
                f"{name}: {slope} by the rule, {difference} by differences"
            )
