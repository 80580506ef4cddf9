"""Adjoint rule of DeformConv: a convolution whose taps are read between the entries, each at an offset of its own."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.gradients.adjoints.sampling import corners_of, read_times, slopes_of, spread_back, weight_product
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.nodes.windows import Window, windows


@adjoint("DeformConv")
def deform_conv(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = W V + B, V = mask * S X, S the bilinear weights of X's places at each tap plus its offset.

    dV = W^T dY; dX = S^T (mask * dV), doffset = mask * (dS X)^T dV, dmask = S X * dV, summed over the channels that
    share them. No gradient flows to W and B.
    """
    x, weight, offset = tensor(node), tensor(node, 1), tensor(node, 2)
    mask = node.inputs[4] if len(node.inputs) > 4 else None
    batch, channels, *sizes = static_shape(x)
    if len(sizes) != 2:
        raise refused(node, f"{len(sizes)} spatial axes, 2 are expected")
    axes = windows(node, kernel=static_shape(weight)[2:])
    groups = node.attributes.get_int("offset_group", 1)
    taps, outputs = math.prod(axis.kernel for axis in axes), math.prod(axis.size_out for axis in axes)
    images, points, size = batch * groups, taps * outputs, math.prod(sizes)
    positions = _positions(op, op.reshape(op.widened(offset), images, taps, 2, outputs), axes)
    corners = corners_of(op, positions, sizes, linear=True)
    dv = op.reshape(op.widened(_tap_gradient(op, node, dy)), images, channels // groups, points)
    products = read_times(op, op.reshape(op.widened(x), images, channels // groups, size), dv, corners)
    slopes = [op.reshape(slope, images, taps, 1, outputs) for slope in slopes_of(op, products, corners)]
    doffset, dmask = op.Concat(*slopes, axis=2), None
    if mask is not None:
        wide = op.widened(mask)
        dv = op.Mul(dv, op.reshape(wide, images, 1, points))
        doffset = op.Mul(doffset, op.reshape(wide, images, taps, 1, outputs))
        shares = op.sum(op.Mul(products, weight_product(op, corners)), [2])
        dmask = op.cast_like(op.reshape_like(shares, mask), mask)
    dx = op.cast_like(op.reshape_like(spread_back(op, dv, positions, corners, sizes), x), x)
    doffset = op.cast_like(op.reshape_like(doffset, offset), offset)
    return [dx, None, doffset, None, dmask][: len(node.inputs)]


def _tap_gradient(op: Builder, node: ir.Node, dy: ir.Value) -> ir.Value:
    """Return the cotangent dV = W^T dY, (batch, groups, channels of a group and taps, outputs)."""
    weight = tensor(node, 1)
    rows, per_group, *kernel = static_shape(weight)
    group, batch = node.attributes.get_int("group", 1), static_shape(dy)[0]
    matrices = op.reshape(weight, group, rows // group, per_group * math.prod(kernel))
    dys = op.reshape(dy, batch, group, rows // group, math.prod(static_shape(dy)[2:]))
    return op.MatMul(op.Transpose(matrices, perm=[0, 2, 1]), dys)


def _positions(op: Builder, offset: ir.Value, axes: list[Window]) -> list[ir.Value]:
    """Return where each tap of each output reads X, in entries, (images, taps * outputs, 1) per axis."""
    images, taps, _, outputs = static_shape(offset)
    kernel, size = (axis.kernel for axis in axes), (axis.size_out for axis in axes)
    grids = np.indices((*kernel, *size)).reshape(4, taps * outputs, 1)
    positions = []
    for i, axis in enumerate(axes):
        fixed = grids[i + 2] * axis.stride + grids[i] * axis.dilation - axis.pad
        moved = op.reshape(op.slice_axis(offset, 2, i, i + 1), images, taps * outputs, 1)
        positions.append(op.Add(moved, op.floats_like(offset, fixed)))
    return positions
