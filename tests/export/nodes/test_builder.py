"""The compound steps that rules take besides ONNX's own operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from aerocam.export.nodes import builder
from aerocam.export.nodes.builder import Builder
from onnx_graphs import f32, node_model, run_ort


@pytest.mark.parametrize("limit", [0, 1 << 16], ids=["Expand", "Mul"])
@pytest.mark.parametrize("factor", [1.0, -0.25])
@pytest.mark.parametrize(
    ("have", "want"),
    [
        ((2, 3, 1, 1), (2, 3, 4, 5)),
        ((3, 1), (2, 3, 4)),
        ((), (2, 2)),
        ((2, 1, 4), (2, 3, 4)),
        ((2, 3), (2, 3)),
        ((3,), (1, 3)),
    ],
)
def test_expand(
    monkeypatch: pytest.MonkeyPatch, have: tuple[int, ...], want: tuple[int, ...], factor: float, limit: int
) -> None:
    monkeypatch.setattr(builder, "LARGEST_SPREAD", limit)
    proto = node_model("Neg", {"x": f32(*have)}, {}, ["x"], {})
    graph = ir.from_proto(proto).graph
    op = Builder(graph)
    op.output(op.expand(graph.outputs[0], want, factor), "z")
    assert ("Expand" in [item.op_type for item in graph]) == (limit == 0 and np.prod(want) > np.prod(have))
    (found,) = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": f32(*have)}, ["z"])
    np.testing.assert_array_equal(found, np.broadcast_to(-f32(*have), want) * np.float32(factor))


def test_a_misspelt_step_is_no_operator() -> None:
    op = Builder(ir.from_proto(node_model("Neg", {"x": f32(2)}, {}, ["x"], {})).graph)
    with pytest.raises(AttributeError, match="no attribute 'scaled'"):
        op.scaled  # noqa: B018 - reading it is what is tried
