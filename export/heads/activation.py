"""Weights from the activations alone; what each is: `aerocam.runtime.methods.activation`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.builder import Builder
from aerocam.export.heads import spatial
from aerocam.export.heads.registry import weighting_head
from aerocam.export.shapes import static_shape

FEM_DEVIATIONS = 2.0
RANDOM_SEED = 0


@weighting_head("fem")
def fem(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """FEM (Fuad et al., IPTA 2020)."""
    share = 1.0 / spatial.positions(activations)
    centred = op.Sub(activations, op.scale(op.sum(activations, [2, 3]), share))
    variance = op.reduce("ReduceSumSquare", centred, [2, 3])
    above = op.Greater(centred, op.Sqrt(op.scale(variance, share * FEM_DEVIATIONS**2)))
    weights = op.scale(op.sum(op.Cast(above, to=ir.DataType.FLOAT), [2, 3]), share)
    return repeated(op, weights, gradients)


@weighting_head("randomcam")
def randomcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """RandomCAM, the same weights as the NumPy method's."""
    targets, channels = static_shape(gradients)[:2]
    drawn = np.random.default_rng(RANDOM_SEED).uniform(-1, 1, channels).astype(np.float32)
    return op.constant(np.tile(drawn.reshape(1, -1, 1, 1), (targets, 1, 1, 1)))


def repeated(op: Builder, value: ir.Value, gradients: ir.Value) -> ir.Value:
    """What does not depend on the target, (N, ...), once for each of them: (T, ...)."""
    shape = static_shape(value)
    return op.expand(value, (static_shape(gradients)[0], *shape[1:]))
