"""Relevance rules that are adjoints: an operator's own, that of its first input, or that of a weighted sum.

They are those of linear and homogeneous operators, and of normalisations: what these divide by counts as a constant
(Ali et al., ICML 2022, sec. 3.2), which makes them weighted sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.normalization import standardised
from aerocam.export.gradients.adjoints.quantization import along, refuse_blocks
from aerocam.export.gradients.adjoints.registry import STOPPED, Builder, Cotangents, refused, tensor
from aerocam.export.gradients.relevance.registry import EPSILON, passed, relevance, stabilised
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


@relevance("LRN", "LpNormalization")
def divided(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / S, S a constant: M_X = Y / (X + ε sign X) M_Y."""
    return [passed(op, node, dy)]


@relevance("LayerNormalization", "RMSNormalization")
def over_last_axes(op: Builder, node: ir.Node, dy: ir.Value | None, *statistics: ir.Value | None) -> Cotangents:
    """Y = scale * (X - mean) / S + B: M_X = (G - mean(G)) / S, G = M_Y * scale; RMSNormalization has no mean."""
    if dy is None or any(multiplier is not None for multiplier in statistics):
        raise refused(node, "relevance arrives at its output Mean or InvStdDev, at Y alone is expected")
    dy, x = op.widened(stabilised(op, node, dy)), op.widened(tensor(node))
    rank = len(static_shape(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    g = op.Mul(dy, op.widened(tensor(node, 1)))
    dx = _through(op, node, g, x, axes, centred=node.op_type == "LayerNormalization")
    return [op.cast_like(dx, tensor(node)), *(STOPPED for _ in node.inputs[1:])]


@relevance("InstanceNormalization", "GroupNormalization")
def over_groups(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = scale * (X - mean) / S + B per group of channels: M_X = (G - mean(G)) / S, G = M_Y * scale."""
    dy, x, scale = op.widened(stabilised(op, node, dy)), op.widened(tensor(node)), op.widened(tensor(node, 1))
    shape = static_shape(x)
    groups = shape[1] if node.op_type == "InstanceNormalization" else node.attributes["num_groups"].as_int()
    (parts,) = static_shape(scale)
    rest = int(np.prod(shape[1:], dtype=int))
    g = op.Mul(op.reshape(dy, shape[0], parts, rest // parts), op.reshape(scale, 1, parts, 1))
    by_group = (shape[0], groups, rest // groups)
    dx = _through(op, node, op.reshape(g, *by_group), op.reshape(x, *by_group), [2], centred=True)
    return [op.cast_like(op.reshape(dx, *shape), tensor(node)), *(STOPPED for _ in node.inputs[1:])]


def _through(op: Builder, node: ir.Node, g: ir.Value, x: ir.Value, axes: Sequence[int], centred: bool) -> ir.Value:
    """Return (G - mean(G)) / S over `axes`, S the deviation of X; without mean(G) unless centred."""
    _, deviation = standardised(op, node, x, axes, centred)
    return op.Div(op.Sub(g, op.reduce("ReduceMean", g, axes)) if centred else g, deviation)
