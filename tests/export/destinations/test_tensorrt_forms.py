"""`--for tensorrt`: its table against NVIDIA's parser and builder, both ways, on every adjoint rule's graph too."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from aerocam.export.destinations.refusal import refusals
from aerocam.export.destinations.tensorrt import FORMS, RTX, UNKNOWN
from onnx_graphs import node_model
from rule_check import draw, gradient_graph, score_weights
from rule_table import CASES
from rule_table.case import Case
from tensorrt_builder import needs_builder, nvidia_builder
from tensorrt_graphs import GRAPHS

FORWARD = "node"
"""Name of the one node of a row that is not the rule's own."""


def row_graph(case: Case) -> ir.Model:
    """The graph of a row: its node, and its rule's gradients of a sum of the outputs."""
    inputs, constants, order = draw(case)
    single = {name: array.astype(np.float32) for name, array in inputs.items()}
    proto = node_model(case.op, single, constants, order, case.attributes, case.outputs, case.opset)
    first = next(iter(single.values()))  # GroupNormalization's output has no shape of its own
    shapes = [
        [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        if item.type.tensor_type.HasField("shape")
        else first.shape
        for item in proto.graph.output
    ]
    weights = score_weights(case, [np.empty(shape) for shape in shapes], np.random.default_rng(1))
    return gradient_graph(case, weights)[0]


@needs_builder
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nvidia_takes_a_rows_graph_or_the_table_refuses_its_forward_node(case: Case) -> None:
    """No rule appends a form that is refused, unless the row's own node has it."""
    model = row_graph(case)
    found = refusals(model)
    refused = [form for _, form in found if form.only in ("", RTX)]
    said = nvidia_builder().refusal(ir.to_proto(model))
    assert (said is None) == (not refused), f"{said}; the table: {refused}"
    own = [form for item, form in found if item.name == FORWARD]
    assert all(form in own for form in refused)
    if said is not None:
        assert said[0] in {form.stage for form in refused}


@needs_builder
def test_the_operators_that_the_parser_does_not_know() -> None:
    """Those of the table, and those that it names for TensorRT-RTX alone, whose plugins are missing."""
    names = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == "" and not schema.deprecated}
    plugins = {name for form in FORMS if form.only == RTX for name in form.operators}
    assert {name for name in names if not nvidia_builder().takes(name)} - plugins == set(UNKNOWN)


@needs_builder
@pytest.mark.parametrize("name", GRAPHS)
def test_the_table_refuses_what_nvidia_refuses_and_nothing_else(name: str) -> None:
    proto = GRAPHS[name]()
    refused = [form for _, form in refusals(ir.from_proto(proto)) if form.only in ("", RTX)]
    said = nvidia_builder().refusal(proto)
    assert (said is None) == (not refused), f"{said}; the table: {refused}"
    if said is not None:
        assert {form.stage for form in refused} == {said[0]}


def test_every_refusing_row_of_the_table_has_a_graph() -> None:
    """But for those that a row of the rule table has, or a whole list of operators: what else would show it?"""
    seen = {id(form) for make in GRAPHS.values() for _, form in refusals(ir.from_proto(make()))}
    unseen = [form for form in FORMS if id(form) not in seen and not form.only]
    rows = [case for case in CASES if any(case.op in form.operators for form in unseen)]
    seen |= {id(form) for case in rows for _, form in refusals(row_graph(case))}
    unseen = [form for form in unseen if id(form) not in seen]
    assert {name for form in unseen for name in form.operators} <= set(UNKNOWN)
