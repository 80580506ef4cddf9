"""The head of relevance, for layers whose gradients are its multipliers."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.heads import spatial
from aerocam.export.heads.registry import weighting_head
from aerocam.export.nodes.builder import Builder


@weighting_head("relevance")
def relevance(op: Builder, activations: ir.Value, multipliers: ir.Value) -> ir.Value:
    """Layer-wise relevance propagation (Bach et al., PLoS ONE 2015): the weights are the multipliers."""
    return spatial.narrowed(op, multipliers)
