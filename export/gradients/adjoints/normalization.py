"""Adjoint rules of normalisation layers, in inference mode.

They compute in float32 at least, as runtimes do: in float16 the square of 256 is infinite.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape


@adjoint("BatchNormalization")
def batch_normalization(op: Builder, node: ir.Node, dy: ir.Value, *_stats: ir.Value | None) -> Cotangents:
    """Y = scale * (X - mean) / sqrt(var + epsilon) + B per channel: dX = dY * scale / sqrt(var + epsilon)."""
    if node.attributes.get_int("training_mode", 0):
        raise refused(node, "training_mode 1, 0 is expected: export the model for inference")
    x, scale, _, _, var = node.inputs
    assert x is not None
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    shape = (1, -1, *(1 for _ in static_shape(x)[2:]))
    scales, variances = constant_array(scale), constant_array(var)
    if scales is not None and variances is not None:
        factor = scales.astype(np.float64) / np.sqrt(variances.astype(np.float64) + epsilon)
        gain = op.floats_like(x, factor.reshape(shape))
    else:
        deviation = op.Sqrt(op.Add(op.widened(tensor(node, 4)), float(epsilon)))
        gain = op.cast_like(op.Div(op.widened(tensor(node, 1)), deviation), x)
        gain = op.reshape(gain, 1, static_shape(x)[1], *shape[2:])
    return [op.Mul(dy, gain), None, None, None, None]


@adjoint("LRN")
def lrn(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * S^-beta, S = bias + alpha / size * (sum of X^2 over a window of channels).

    dX = dY * S^-beta - 2 alpha beta / size * X * (sum of dY * Y / S over the windows that hold the channel).
    """
    x, y, dy = (op.widened(value) for value in (tensor(node), node.outputs[0], dy))
    size = node.attributes["size"].as_int()
    alpha, beta = node.attributes.get_float("alpha", 1e-4), node.attributes.get_float("beta", 0.75)
    bias = node.attributes.get_float("bias", 1.0)
    below, above = (size - 1) // 2, size - 1 - (size - 1) // 2
    energy = _channel_sum(op, op.Mul(x, x), below, above)
    s = op.Add(op.Mul(energy, float(alpha / size)), float(bias))
    shared = _channel_sum(op, op.Div(op.Mul(dy, y), s), above, below)
    direct = op.Mul(dy, op.Pow(s, float(-beta)))
    return _narrowed(op, node, [op.Sub(direct, op.Mul(op.Mul(x, float(2 * alpha * beta / size)), shared))])


def _channel_sum(op: Builder, value: ir.Value, below: int, above: int) -> ir.Value:
    """Return the sum over channels c - below to c + above for each channel c."""
    shape = static_shape(value)
    plane = op.reshape(value, shape[0], 1, shape[1], int(np.prod(shape[2:], dtype=int)))
    padded = op.pad(plane, [0, 0, below, 0], [0, 0, above, 0])
    pooled = op.AveragePool(padded, kernel_shape=[below + above + 1, 1])
    return op.reshape(op.Mul(pooled, float(below + above + 1)), *shape)


@adjoint("LayerNormalization")
def layer_normalization(op: Builder, node: ir.Node, dy: ir.Value | None, *statistics: ir.Value | None) -> Cotangents:
    """Y = scale * H + B, H = (X - mean) / sqrt(var + epsilon) over the axes from `axis` on.

    dX = (G - mean(G) - H * mean(G * H)) / sqrt(var + epsilon) with G = dY * scale; dscale = dY * H, dB = dY.
    """
    if dy is None or any(cotangent is not None for cotangent in statistics):
        raise refused(node, "a gradient arrives at its output Mean or InvStdDev, at Y alone is expected")
    x, scale, dy = (op.widened(value) for value in (tensor(node), tensor(node, 1), dy))
    rank = len(static_shape(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    h, deviation = standardised(op, node, x, axes)
    return _narrowed(op, node, [_through(op, op.Mul(dy, scale), h, deviation, axes), op.Mul(dy, h), dy])


@adjoint("RMSNormalization")
def rms_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = scale * H, H = X / sqrt(mean(X^2) + epsilon) over the axes from `axis` on.

    dX = (G - H * mean(G * H)) / sqrt(mean(X^2) + epsilon) with G = dY * scale; dscale = dY * H.
    """
    x, scale, dy = (op.widened(value) for value in (tensor(node), tensor(node, 1), dy))
    rank = len(static_shape(x))
    axes = range(node.attributes.get_int("axis", -1) % rank, rank)
    h, deviation = standardised(op, node, x, axes, centred=False)
    return _narrowed(op, node, [_through(op, op.Mul(dy, scale), h, deviation, axes, centred=False), op.Mul(dy, h)])


@adjoint("InstanceNormalization")
def instance_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = scale * H + B per channel, H = X standardised over the positions of each channel: a group per channel."""
    return _group_normalization(op, node, dy, groups=static_shape(tensor(node))[1])


@adjoint("GroupNormalization")
def group_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = scale * H + B, H = X standardised over each group of channels; scale per group (opset 18) or channel (21)."""
    return _group_normalization(op, node, dy, groups=node.attributes["num_groups"].as_int())


def _narrowed(op: Builder, node: ir.Node, cotangents: Sequence[ir.Value]) -> Cotangents:
    """Return one cotangent per input, each in its input's type; an absent bias gets none."""
    return [op.cast_like(dx, tensor(node, i)) for i, dx in enumerate(cotangents[: len(node.inputs)])]


def _group_normalization(op: Builder, node: ir.Node, dy: ir.Value, groups: int) -> Cotangents:
    """Over X as (N, groups, rest): dX = (G - mean(G) - H * mean(G * H)) / sqrt(var + epsilon), G = dY * scale.

    dscale = sum of dY * H, dB = sum of dY, over all that shares an entry of theirs.
    """
    x, scale, dy = (op.widened(value) for value in (tensor(node), tensor(node, 1), dy))
    shape = static_shape(x)
    (parts,) = static_shape(scale)
    by_group = (shape[0], groups, int(np.prod(shape[1:], dtype=int)) // groups)
    by_part = (shape[0], parts, int(np.prod(shape[1:], dtype=int)) // parts)
    h, deviation = standardised(op, node, op.reshape(x, *by_group), [2])
    dy = op.reshape(dy, *by_part)
    g = op.reshape(op.Mul(dy, op.reshape(scale, 1, parts, 1)), *by_group)
    dx = op.reshape(_through(op, g, h, deviation, [2]), *shape)
    dscale = op.sum(op.Mul(dy, op.reshape(h, *by_part)), [0, 2], keepdims=False)
    return _narrowed(op, node, [dx, dscale, op.sum(dy, [0, 2], keepdims=False)])


def standardised(
    op: Builder, node: ir.Node, x: ir.Value, axes: Sequence[int], centred: bool = True
) -> tuple[ir.Value, ir.Value]:
    """Return H = (X - mean) / sqrt(var + epsilon) over `axes`, and that root; 0 for the mean unless centred."""
    if centred:
        x = op.Sub(x, op.reduce("ReduceMean", x, axes))
    variance = op.reduce("ReduceMean", op.Mul(x, x), axes)
    deviation = op.Sqrt(op.Add(variance, float(node.attributes.get_float("epsilon", 1e-5))))
    return op.Div(x, deviation), deviation


def _through(
    op: Builder, g: ir.Value, h: ir.Value, deviation: ir.Value, axes: Sequence[int], centred: bool = True
) -> ir.Value:
    """Return the cotangent (G - mean(G) - H * mean(G * H)) / deviation; without mean(G) unless centred."""
    along = op.Mul(h, op.reduce("ReduceMean", op.Mul(g, h), axes))
    if centred:
        g = op.Sub(g, op.reduce("ReduceMean", g, axes))
    return op.Div(op.Sub(g, along), deviation)


@adjoint("LpNormalization")
def lp_normalization(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / n, n = (sum |X|^p)^(1/p) along an axis, p 1 or 2: dX = (dY - D * sum(dY * Y)) / n.

    D = dn / dX is sign(X) for p = 1 and Y for p = 2. Where n is 0, it counts as 1.
    """
    x, y, dy = (op.widened(value) for value in (tensor(node), node.outputs[0], dy))
    axis, p = node.attributes.get_int("axis", -1), node.attributes.get_int("p", 2)
    norm = op.reduce(f"ReduceL{p}", x, [axis])
    norm = op.Where(op.Greater(norm, 0.0), norm, 1.0)
    direction = op.Sign(x) if p == 1 else y
    return _narrowed(op, node, [op.Div(op.Sub(dy, op.Mul(direction, op.sum(op.Mul(dy, y), [axis]))), norm)])
