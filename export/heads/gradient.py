"""Heads that weigh the activations with the gradients by a closed formula."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.adjoints.registry import tensor
from aerocam.export.builder import Builder, constant_array
from aerocam.export.heads.registry import cam_head
from aerocam.export.shapes import static_shape
from aerocam.export.windows import Window, windows


@cam_head("gradcam")
def gradcam(op: Builder, activations: ir.Value, gradients: ir.Value) -> ir.Value:
    """Grad-CAM (arXiv:1610.02391, eq. 1-2): each channel weighted by its mean gradient."""
    weights, factor = _spatial_mean(op, gradients)
    if weights.dtype != ir.DataType.FLOAT:  # in float16 the sum without the factor could overflow
        weights, factor = op.scale(weights, factor), 1.0
    return op.scale(_weighted_sum(op, weights, activations), factor)


def _weighted_sum(op: Builder, weights: ir.Value, activations: ir.Value) -> ir.Value:
    """The channels of each image, weighted and added up: (T, C, 1, 1) and (N, C, H, W) -> (T, H, W), N = T or 1.

    A 1x1 Conv, one group per image: it takes both as they lie.
    """
    n, channels, height, width = static_shape(activations)
    row = op.reshape(activations, 1, n * channels, height, width)
    summed = op.Conv(row, weights, group=n, kernel_shape=[1, 1])
    return op.reshape(summed, static_shape(weights)[0], height, width)


def _spatial_mean(op: Builder, value: ir.Value) -> tuple[ir.Value, float]:
    """The mean over positions: a (N, C, 1, 1) tensor and a number to multiply it with.

    Worked out without `value` itself where there is a shorter way.
    """
    node, shape = value.producer(), static_shape(value)
    if node is not None and node.op_type in ("Expand", "Mul") and static_shape(tensor(node)) == (*shape[:2], 1, 1):
        spread = constant_array(tensor(node, 1))
        if spread is not None:  # what was broadcast from one position
            return tensor(node), 1.0 if node.op_type == "Expand" else float(spread.mean(dtype=np.float64))
    positions = shape[2] * shape[3]
    if node is not None and node.op_type == "Conv" and _is_plain(node):
        return _sum_of_conv(op, node), 1.0 / positions
    return op.sum(value, [2, 3]), 1.0 / positions


def _is_plain(node: ir.Node) -> bool:
    """Whether a Conv is as the adjoint of a Conv leaves it: constant weight, no bias, one group, stride 1."""
    weight = constant_array(tensor(node, 1))
    if weight is None or len(node.inputs) > 2 or node.attributes.get_int("group", 1) != 1:
        return False
    return all(axis.stride == 1 for axis in windows(node, kernel=weight.shape[2:]))


def _sum_of_conv(op: Builder, node: ir.Node) -> ir.Value:
    """The sum over positions of Y = W * X, (N, C, 1, 1), from sums of X and one product with W.

    Tap (s, t) of the kernel meets the rows of X that some output has under s, and the columns under t. The sums of X
    over these rows and columns, (N, C, kh, kw), are two products with matrices of zeros and ones.
    """
    x, weight = tensor(node), constant_array(tensor(node, 1))
    assert weight is not None
    rows, columns = (_met(axis) for axis in windows(node, kernel=weight.shape[2:]))
    sums = op.MatMul(op.MatMul(op.floats_like(x, rows), x), op.floats_like(x, columns.T))
    n, channels = static_shape(x)[0], weight.shape[0]
    flat = op.reshape(sums, n, int(np.prod(weight.shape[1:])))
    return op.reshape(op.MatMul(flat, op.constant(weight.reshape(channels, -1).T)), n, channels, 1, 1)


def _met(axis: Window) -> NDArray:
    """(kernel, size_in): 1 where some output has the input position under the tap."""
    taps, positions = np.arange(axis.kernel)[:, None], np.arange(axis.size_in)[None]
    outputs = positions - taps * axis.dilation + axis.pad
    return ((outputs >= 0) & (outputs < axis.size_out)).astype(np.float64)
