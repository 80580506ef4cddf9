"""Adjoint rules of normalisation layers, in inference mode."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.adjoints.registry import Builder, Cotangents, adjoint, tensor
from aerocam.export.builder import constant_array
from aerocam.export.shapes import static_shape


@adjoint("BatchNormalization")
def batch_normalization(op: Builder, node: ir.Node, dy: ir.Value, *_stats: ir.Value | None) -> Cotangents:
    """Y = scale * (X - mean) / sqrt(var + epsilon) + B per channel: dX = dY * scale / sqrt(var + epsilon)."""
    x, scale, _, _, var = node.inputs
    assert x is not None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    shape = (1, -1, *(1 for _ in static_shape(x)[2:]))
    scales, variances = constant_array(scale), constant_array(var)
    if scales is not None and variances is not None:
        factor = scales.astype(np.float64) / np.sqrt(variances.astype(np.float64) + epsilon)
        gain = op.floats_like(x, factor.reshape(shape))
    else:
        gain = op.reshape(op.Div(scale, op.Sqrt(op.Add(var, float(epsilon)))), 1, static_shape(x)[1], *shape[2:])
    return [op.Mul(dy, gain), None, None, None, None]


@adjoint("LRN")
def lrn(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * S^-beta, S = bias + alpha / size * (sum of X^2 over a window of channels).

    dX = dY * S^-beta - 2 alpha beta / size * X * (sum of dY * Y / S over the windows that hold the channel).
    """
    x, y = tensor(node), node.outputs[0]
    size = node.attributes["size"].as_int()
    alpha, beta = node.attributes.get_float("alpha", 1e-4), node.attributes.get_float("beta", 0.75)
    bias = node.attributes.get_float("bias", 1.0)
    below, above = (size - 1) // 2, size - 1 - (size - 1) // 2
    energy = _channel_sum(op, op.Mul(x, x), below, above)
    s = op.Add(op.Mul(energy, float(alpha / size)), float(bias))
    shared = _channel_sum(op, op.Div(op.Mul(dy, y), s), above, below)
    direct = op.Mul(dy, op.Pow(s, float(-beta)))
    return [op.Sub(direct, op.Mul(op.Mul(x, float(2 * alpha * beta / size)), shared))]


def _channel_sum(op: Builder, value: ir.Value, below: int, above: int) -> ir.Value:
    """Sum over channels c - below to c + above."""
    shape = static_shape(value)
    plane = op.reshape(value, shape[0], 1, shape[1], int(np.prod(shape[2:], dtype=int)))
    padded = op.pad(plane, [0, 0, below, 0], [0, 0, above, 0])
    pooled = op.AveragePool(padded, kernel_shape=[below + above + 1, 1])
    return op.reshape(op.Mul(pooled, float(below + above + 1)), *shape)
