"""Weights from activations, and first components; what each is: `aerocam.runtime.methods`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.heads import spatial
from aerocam.export.heads.principal import first_component
from aerocam.export.heads.registry import fuses
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

FEM_DEVIATIONS = 2.0
RANDOM_SEED = 0


@fuses("fem")
def fem(op: Builder, activations: ir.Value) -> ir.Value:
    """Compute FEM (Fuad et al., IPTA 2020)."""
    share = 1.0 / spatial.positions(activations)
    centred = op.Sub(activations, op.GlobalAveragePool(activations))  # which the model often has already
    variance = op.reduce("ReduceSumSquare", centred, [2, 3])
    above = op.Greater(centred, op.Sqrt(op.scale(variance, share * FEM_DEVIATIONS**2)))
    return op.scale(op.sum(op.Cast(above, to=ir.DataType.FLOAT), [2, 3]), share)


@fuses("randomcam")
def randomcam(op: Builder, activations: ir.Value) -> ir.Value:
    """Return the weights of RandomCAM: the same numbers as the NumPy method's."""
    drawn = np.random.default_rng(RANDOM_SEED).uniform(-1, 1, static_shape(activations)[1]).astype(np.float32)
    return op.constant(drawn.reshape(1, -1, 1, 1))


@fuses("eigencam")
def eigencam(op: Builder, activations: ir.Value) -> ir.Value:
    """Compute EigenCAM (arXiv:2008.00299)."""
    return first_component(op, activations, "max_abs")


@fuses("eigengradcam")
def eigengradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Compute EigenGradCAM: EigenCAM of G A."""
    return first_component(op, op.Mul(spatial.narrowed(op, gradients), activations), "max_abs")
