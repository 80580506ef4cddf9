"""CAM methods as ONNX nodes, so that nothing but the map leaves the accelerator.

Each has the name, the shapes and the values of its NumPy reference in `aerocam.runtime.methods`: activations and
gradients (N, C, H, W) -> raw map (N, H, W), before ReLU and normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx_ir as ir

from aerocam.export.builder import Builder
from aerocam.export.shapes import static_shape

Head: TypeAlias = Callable[[Builder, ir.Value, ir.Value], ir.Value]

CAM_HEADS: dict[str, Head] = {}
"""Head per method, filled by `@cam_head`."""


def cam_head(method: str) -> Callable[[Head], Head]:
    """Register the head of `method`."""

    def register(head: Head) -> Head:
        CAM_HEADS[method] = head
        return head

    return register


@cam_head("gradcam")
def gradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Grad-CAM (arXiv:1610.02391, eq. 1-2): each channel weighted by its mean gradient."""
    n, channels, height, width = static_shape(activations)
    weights = op.reshape(_spatial_mean(op, gradients), n, 1, channels)
    flat = op.reshape(activations, n, channels, height * width)
    return op.reshape(op.MatMul(weights, flat), n, height, width)


def _spatial_mean(op: Builder, value: ir.Value) -> ir.Value:
    """The mean over positions, (N, C, 1, 1); what was broadcast from one position is its own mean."""
    node, shape = value.producer(), static_shape(value)
    if node is not None and node.op_type == "Expand" and static_shape(node.inputs[0]) == (*shape[:2], 1, 1):  # type: ignore[arg-type]
        return node.inputs[0]  # type: ignore[return-value]
    return op.Mul(op.sum(value, [2, 3]), 1.0 / (shape[2] * shape[3]))
