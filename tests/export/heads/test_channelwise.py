"""What is known of single channels behind a layer, over the rule table: where they stay apart, and what each adds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from aerocam.export.gradients.stacking.batched import ENTRYWISE
from aerocam.export.heads.channelwise import CONTRACTIONS, STEPS, channel_axes, each_channel
from aerocam.export.nodes.builder import Builder
from onnx_graphs import node_model, run_ort
from rule_check import draw
from rule_table import CASES
from rule_table.case import Case

MOVING = [case for case in CASES if isinstance(case.inputs[0], tuple) and case.outputs == 1]
KNOWN = [case for case in MOVING if case.op in STEPS or case.op in ENTRYWISE]
LINEAR = [case for case in MOVING if case.op in CONTRACTIONS]


def single(case: Case) -> tuple[ir.Graph, dict[str, NDArray[np.float32]], str]:
    """The graph of a row, what it is fed with, and the name of the input that moves."""
    inputs, constants, order = draw(case)
    feeds = {name: array.astype(np.float32) for name, array in inputs.items()}
    proto = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    graph = ir.from_proto(proto).graph
    for y in graph.outputs:
        if y.dtype is None:
            y.dtype, y.shape = graph.inputs[0].dtype, graph.inputs[0].shape
    return graph, feeds, order[0]


def run(graph: ir.Graph, feeds: dict[str, NDArray], name: str) -> NDArray[np.float32]:
    return run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), feeds, [name])[0]


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_a_channel_reaches_its_own_entries_alone(case: Case) -> None:
    graph, feeds, moved = single(case)
    x, y = graph.inputs[0], graph.outputs[0]
    before = run(graph, feeds, str(y.name))
    for axis in range(feeds[moved].ndim):
        after = channel_axes(list(graph), x, axis).get(y)
        if after is None:
            continue
        assert before.shape[after] == feeds[moved].shape[axis]
        for channel in {0, before.shape[after] - 1}:
            changed = feeds[moved].copy()
            place = (*(slice(None),) * axis, channel)
            changed[place] = np.roll(changed[place], 1) * 0.9
            found = run(graph, feeds | {moved: changed}, str(y.name))
            others = np.arange(before.shape[after]) != channel
            np.testing.assert_array_equal(found.compress(others, after), before.compress(others, after))


def test_every_step_is_taken_somewhere() -> None:
    taken = set()
    for case in KNOWN:
        graph, feeds, moved = single(case)
        found = (channel_axes(list(graph), graph.inputs[0], axis) for axis in range(feeds[moved].ndim))
        if any(graph.outputs[0] in axes for axes in found):
            taken.add(case.op)
    assert STEPS.keys() - taken == set()


@pytest.mark.parametrize("case", LINEAR, ids=str)
def test_what_a_channel_adds_is_what_it_adds_alone(case: Case) -> None:
    graph, feeds, moved = single(case)
    op, (node,) = Builder(graph), list(graph)
    x, y = graph.inputs[0], graph.outputs[0]
    nothing = run(graph, feeds | {moved: np.zeros_like(feeds[moved])}, str(y.name))
    added = {axis: each_channel(op, node, x, axis) for axis in range(feeds[moved].ndim)}
    for axis, value in added.items():
        if value is None:
            continue
        op.output(op.Identity(value), f"added{axis}")
        found = run(graph, feeds, f"added{axis}")
        for channel in range(feeds[moved].shape[axis]):
            alone = np.zeros_like(feeds[moved])
            place = (*(slice(None),) * axis, channel)
            alone[place] = feeds[moved][place]
            expected = run(graph, feeds | {moved: alone}, str(y.name)) - nothing
            np.testing.assert_allclose(found[channel], expected, rtol=1e-4, atol=1e-5)


def test_every_contraction_is_made_somewhere() -> None:
    made = set()
    for case in LINEAR:
        graph, feeds, moved = single(case)
        op = Builder(graph)
        (node,) = list(graph)
        if any(each_channel(op, node, graph.inputs[0], axis) is not None for axis in range(feeds[moved].ndim)):
            made.add(case.op)
    assert made == CONTRACTIONS.keys()
