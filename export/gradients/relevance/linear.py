"""Relevance rules of weighted sums: the stabiliser, then the adjoint."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents
from aerocam.export.gradients.relevance.registry import relevance, stabilised


@relevance("Conv", "ConvTranspose", "BatchNormalization")
def weighted_sum(op: Builder, node: ir.Node, dy: ir.Value, *_others: ir.Value | None) -> Cotangents:
    """Y = W X + B: M_X = W^T (M_Y |Y| / (|Y| + ε)); B keeps its share."""
    return ADJOINTS[node.op_type](op, node, stabilised(op, node, dy))
