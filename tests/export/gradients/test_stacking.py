"""Several at once: for every row of the rule table, stacks give what single passes give, forward and backward."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.stacking import NoFormError, replay, stack
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from onnx_graphs import model, node_model, run_ort
from rule_check import draw
from rule_table import CASES
from rule_table.case import Case

COUNT = 3

NO_FORM = frozenset({"ReverseSequence", "ScatterND"})
"""Operators whose adjoint is refused for several targets; of ScatterND that which overwrites."""

NO_FORWARD_FORM = frozenset({"MaxUnpool", "ReverseSequence", "RoiAlign", "ScatterND"})
"""Operators that are refused on several arrays: their indices count pictures or entries of the whole batch."""

ONE_WEIGHT = frozenset(
    {"Attention", "Conv", "ConvTranspose", "DeformConv", "GroupNormalization", "InstanceNormalization",
     "LayerNormalization", "RMSNormalization"}
)  # fmt: skip
"""Operators that are refused where a weight or a mask is a stack too."""


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
    if case.op in NO_FORM and "reduction" not in case.attributes:
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


SEVERAL = [case for case in CASES if sum(isinstance(item, tuple) for item in case.inputs) > 1]


@pytest.mark.parametrize(
    ("case", "every"), [*((case, False) for case in CASES), *((case, True) for case in SEVERAL)], ids=str
)
def test_a_stack_of_arrays_gives_what_each_gives(case: Case, every: bool) -> None:
    """Forward; of several inputs the first alone is a stack, or all are."""
    inputs, constants, order = draw(case)
    names = [f"y{i}" for i in range(case.outputs)]
    moved = list(inputs) if every else list(inputs)[:1]
    rng = np.random.default_rng(0)
    stacks = {name: np.stack([rng.permuted(inputs[name], axis=-1) for _ in range(COUNT)]) for name in moved}
    stacks = {name: array.astype(np.float32) for name, array in stacks.items()}
    feeds = {name: array.astype(np.float32) for name, array in inputs.items()}
    single = node_model(case.op, feeds, constants, order, case.attributes, case.outputs, case.opset)
    graph = ir.from_proto(single).graph
    for y in graph.outputs:
        if y.dtype is None:
            y.dtype, y.shape = graph.inputs[0].dtype, graph.inputs[0].shape
    op = Builder(graph)
    replayed = {}
    for value in list(graph.inputs):
        if value.name in moved:
            array = stacks[str(value.name)]
            replayed[value] = op.constant(array.reshape(-1, *array.shape[2:]))
    outputs = list(graph.outputs)
    no_axes = any(not static_shape(y) for y in outputs)
    if no_axes or case.op in NO_FORWARD_FORM:
        with pytest.raises(NoFormError, match=f"^{case.op}"):
            replay(op, list(graph), replayed, COUNT)
        return
    try:
        replay(op, list(graph), replayed, COUNT)
    except NoFormError:
        assert every
        assert case.op in ONE_WEIGHT
        return
    for i in case.used:
        op.output(op.Identity(replayed[outputs[i]]), f"all{i}")
    found = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), feeds, [f"all{i}" for i in case.used])
    for t in range(COUNT):
        expected = run_ort(single, {**feeds, **{name: array[t] for name, array in stacks.items()}}, names)
        for i, whole in zip(case.used, found, strict=True):
            each = whole.reshape(COUNT, *expected[i].shape)[t]
            np.testing.assert_allclose(each, expected[i], rtol=1e-5, atol=1e-6, equal_nan=True)


def test_a_branch_that_reads_a_stack_is_refused() -> None:
    """An If reads what its branches need by name; it must not be taken for what is the same for all."""
    body = [
        helper.make_graph([helper.make_node(kind, ["x"], [f"{kind}_y"])], kind, [], [
            helper.make_tensor_value_info(f"{kind}_y", onnx.TensorProto.FLOAT, (2, 3))])
        for kind in ("Abs", "Neg")
    ]  # fmt: skip
    node = helper.make_node("If", ["which"], ["y"], then_branch=body[0], else_branch=body[1])
    proto = model([node], {"x": np.zeros((2, 3), np.float32), "which": np.array(True)}, {}, ["y"])
    graph = ir.from_proto(proto).graph
    op, x = Builder(graph), graph.inputs[0]
    with pytest.raises(NoFormError, match=r"^If$"):
        replay(op, list(graph), {x: op.constant(np.zeros((4, 3), np.float32))}, 2)
