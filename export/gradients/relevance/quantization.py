"""Relevance rule of QuantizeLinear: a function of one tensor. Its multipliers are per step, as its adjoint has it."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.adjoints.quantization import along, refuse_blocks
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, tensor
from aerocam.export.gradients.relevance.registry import EPSILON, relevance
from aerocam.export.nodes.shapes import static_shape


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
