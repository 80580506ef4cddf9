"""The head of relevance, for layers whose gradients are its multipliers."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.builder import Builder
from aerocam.export.heads.registry import cam_head


@cam_head("relevance")
def relevance(op: Builder, activations: ir.Value, multipliers: ir.Value) -> ir.Value:
    """Layer-wise relevance propagation (Bach et al., PLoS ONE 2015): L = Σ_c A_c M_c."""
    products = op.Mul(op.widened(activations), op.widened(multipliers))
    return op.sum(products, [1], keepdims=False)
