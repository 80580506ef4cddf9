"""Operators whose relevance rule is an adjoint: their own, that of their first input, or that of a weighted sum."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.quantization import along, refuse_blocks
from aerocam.export.gradients.adjoints.registry import STOPPED, Builder, Cotangents, tensor
from aerocam.export.gradients.relevance.registry import EPSILON, relevance, stabilised
from aerocam.export.nodes.shapes import static_shape

MOVES = (
    "Cast", "CastLike", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Identity", "MaxUnpool", "Pad", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Where",
)  # fmt: skip
"""Operators that move numbers."""

SUMS = (
    "Add", "AveragePool", "CumSum", "DequantizeLinear", "GlobalAveragePool", "Mean", "Neg", "ReduceMean", "ReduceSum",
    "Resize", "Sub", "Sum",
)  # fmt: skip
"""Operators that add numbers up, with factors that are no weights of the network."""

HOMOGENEOUS = (
    "Abs", "GlobalLpPool", "GlobalMaxPool", "LeakyRelu", "LpPool", "MaxPool", "ReduceL1", "ReduceL2", "ReduceMax",
    "ReduceMin", "Relu", "ThresholdedRelu",
)  # fmt: skip
"""Operators with f(c x) = c f(x) for c > 0, so that Σ x f'(x) = f(x); a ThresholdedRelu is x or 0."""

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
    """Y = f(X), of slopes, a grid or regions: M_X is the adjoint; slopes, grids and regions get nothing."""
    return [ADJOINTS[node.op_type](op, node, dy)[0], *(STOPPED for _ in node.inputs[1:])]


@relevance("DeformConv")
def deform_conv(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = W V + B, V read from X by offsets and a mask, constants: M_X is the adjoint of M_Y |Y| / (|Y| + ε)."""
    return first_input(op, node, stabilised(op, node, dy))


@relevance("Conv", "ConvTranspose", "BatchNormalization")
def weighted_sum(op: Builder, node: ir.Node, dy: ir.Value, *_others: ir.Value | None) -> Cotangents:
    """Y = W X + B: M_X = W^T (M_Y |Y| / (|Y| + ε)); B keeps its share."""
    return ADJOINTS[node.op_type](op, node, stabilised(op, node, dy))


@relevance("QuantizeLinear")
def quantize_linear(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = saturate(round(X / scale) + zero): M_X = (Y - zero) / (X + ε sign X) M_Y, saturated or not."""
    refuse_blocks(node)
    x, axis = tensor(node), node.attributes.get_int("axis", 1)
    steps = op.Cast(node.outputs[0], to=ir.DataType.FLOAT)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        zero = along(op, tensor(node, 2), len(static_shape(x)), axis)
        steps = op.Sub(steps, op.Cast(zero, to=ir.DataType.FLOAT))
    wide = op.widened(x)
    share = op.Div(op.Mul(steps, op.Sign(wide)), op.Add(op.Abs(wide), EPSILON))
    return [op.Mul(dy, op.cast_like(share, dy)), *(None for _ in node.inputs[1:])]
