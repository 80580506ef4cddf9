"""Several targets in one pass: for every row of the rule table, stacks give what single passes give."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.autodiff import differentiate
from aerocam.export.builder import Builder
from aerocam.export.shapes import static_shape
from aerocam.export.stacking import stack
from onnx_graphs import node_model, run_ort
from rule_check import draw
from rule_table import CASES
from rule_table.case import Case

COUNT = 3

NO_FORM = frozenset({"ReverseSequence", "ScatterND"})
"""Operators whose adjoint is refused for several targets."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stack_of_cotangents_gives_what_each_gives(case: Case) -> None:
    inputs, constants, order = draw(case)
    feeds = {name: array.astype(np.float32) for name, array in inputs.items()}
    proto = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    graph = ir.from_proto(proto).graph
    for y in graph.outputs:
        if y.dtype is None:
            y.dtype, y.shape = graph.inputs[0].dtype, graph.inputs[0].shape
    op = Builder(graph)
    rng = np.random.default_rng(0)
    place = case.used[0]
    score = graph.outputs[place]
    shape = static_shape(score)
    if not shape or any(0 in static_shape(y) for y in graph.outputs):
        pytest.skip("nothing to stack")
    seeds = rng.standard_normal((COUNT, *shape)).astype(np.float32)
    one = op.Identity(op.constant(seeds[0]))
    singles = differentiate(op, score, one, list(graph.inputs))
    names = []
    for i, value in enumerate(singles):
        op.output(op.Identity(value), f"one{i}")
        names.append(f"one{i}")
    stacked = op.constant(seeds.reshape(COUNT * shape[0], *shape[1:]))
    if case.op in NO_FORM:
        with pytest.raises(UnsupportedOperatorError, match="several targets; export with one target"):
            stack(op, one, stacked, singles, COUNT)
        return
    found = stack(op, one, stacked, singles, COUNT)
    for i, value in enumerate(found):
        op.output(op.Identity(value), f"all{i}")
    model = ir.Model(graph, ir_version=8)
    stacks = run_ort(ir.to_proto(model), feeds, [f"all{i}" for i in range(len(found))])
    for t in range(COUNT):
        one.producer().replace_input_with(0, op.constant(seeds[t]))
        expected = run_ort(ir.to_proto(model), feeds, names)
        for whole, part in zip(stacks, expected, strict=True):
            each = whole.reshape(COUNT, *part.shape)[t]
            np.testing.assert_allclose(each, part, rtol=1e-5, atol=1e-5 * (np.abs(part).max() + 1e-6))
