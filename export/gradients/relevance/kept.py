"""Operators whose relevance rule is their adjoint, or that of their first input."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import STOPPED, Builder, Cotangents
from aerocam.export.gradients.relevance.registry import relevance, stabilised

MOVES = (
    "Cast", "CastLike", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Identity", "MaxUnpool", "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
)  # fmt: skip
"""They move numbers."""

SUMS = (
    "Add", "AveragePool", "CumSum", "DequantizeLinear", "GlobalAveragePool", "Mean", "Neg", "ReduceMean", "ReduceSum",
    "Resize", "Sub", "Sum",
)  # fmt: skip
"""They add numbers up, with factors that are no weights of the network."""

HOMOGENEOUS = (
    "Abs", "GlobalLpPool", "GlobalMaxPool", "LeakyRelu", "LpPool", "MaxPool", "ReduceL1", "ReduceL2", "ReduceMax",
    "ReduceMin", "Relu", "ThresholdedRelu",
)  # fmt: skip
"""f(c x) = c f(x) for c > 0, so that Σ x f'(x) = f(x); a ThresholdedRelu is x or 0."""

for _operator in (*MOVES, *SUMS, *HOMOGENEOUS):
    relevance(_operator)(ADJOINTS[_operator])


@relevance("ReduceSumSquare")
def reduce_sum_square(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = Σ X^2: M_X = X M_Y, half the adjoint."""
    dx, *rest = ADJOINTS["ReduceSumSquare"](op, node, op.scale(dy, 0.5))
    return [dx, *rest]


@relevance("LogSoftmax")
def log_softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X - log Σ exp X, the logarithm a constant: M_X = M_Y."""
    return [dy]


@relevance("PRelu", "GridSample", "RoiAlign")
def first_input(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """The adjoint of X; slopes, grids and regions get nothing."""
    return [ADJOINTS[node.op_type](op, node, dy)[0], *(STOPPED for _ in node.inputs[1:])]


@relevance("DeformConv")
def deform_conv(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """A weighted sum of what is read at places that count as constants, like the mask."""
    return first_input(op, node, stabilised(op, node, dy))
