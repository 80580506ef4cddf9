"""EigenCAM and EigenGradCAM; what each is: `aerocam.runtime.methods.eigen`."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.heads import spatial
from aerocam.export.heads.principal import first_component
from aerocam.export.heads.registry import cam_head
from aerocam.export.nodes.builder import Builder


@cam_head("eigencam", needs_gradients=False)
def eigencam(op: Builder, activations: ir.Value) -> ir.Value:
    """EigenCAM (arXiv:2008.00299)."""
    return first_component(op, activations, "max_abs")


@cam_head("eigengradcam")
def eigengradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """EigenGradCAM: EigenCAM of G A."""
    return first_component(op, op.Mul(spatial.narrowed(op, gradients), activations), "max_abs")
