"""Means over a layer's positions and weighted sums over its channels, in the fewest operations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints.registry import tensor
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.nodes.windows import Window, windows

SMALL_MAP = 256
"""Positions that are summed in one go."""


def weighted_sum(op: Builder, weights: ir.Value, activations: ir.Value) -> ir.Value:
    """Return Σ_c w_c A_c: weights (T, C, 1, 1) or (T, C, H, W), activations (N, C, H, W), N = T or 1 -> (T, H, W).

    One weight per channel: a 1x1 Conv, one group per image, which takes both as they lie.
    """
    n, channels, height, width = static_shape(activations)
    if static_shape(weights)[2:] != (1, 1):
        return channel_sum(op, op.Mul(weights, activations))
    row = op.reshape(activations, 1, n * channels, height, width)
    summed = op.Conv(row, weights, group=n, kernel_shape=[1, 1])
    return op.reshape(summed, static_shape(weights)[0], height, width)


def channel_sum(op: Builder, value: ir.Value) -> ir.Value:
    """Return the sum over the channels, (T, C, H, W) -> (T, H, W).

    By a 1x1 Conv with ones: ONNX Runtime's ReduceSum over an inner axis takes two to four times as long.
    """
    t, channels, height, width = static_shape(value)
    ones = op.floats_like(value, np.ones((1, channels, 1, 1)))
    return op.reshape(op.Conv(value, ones, kernel_shape=[1, 1]), t, height, width)


def positions(value: ir.Value) -> int:
    """Return the number of positions, which are the entries of the last two axes."""
    return int(np.prod(static_shape(value)[2:]))


def narrowed(op: Builder, gradients: ir.Value) -> ir.Value:
    """Return the gradients as (T, C, 1, 1) if they are the same at every position, as behind global average pooling.

    Others are returned as they are. Both broadcast against the activations.
    """
    base, factor = _peeled(gradients)
    broadcast = _before_broadcast(op, base, static_shape(gradients))
    if broadcast is None:
        return gradients
    source, spread = broadcast
    if np.ptp(spread) != 0:  # an average over windows that overlap unevenly
        return gradients
    return op.scale(source, factor * float(spread.flat[0]))


def total(op: Builder, value: ir.Value, of: ir.Value) -> ir.Value:
    """Return the sum over all positions of `of`, (T, C, 1, 1), of a value that may be narrowed."""
    if static_shape(value)[2:] == static_shape(of)[2:]:
        return op.sum(value, [2, 3])
    return op.scale(value, float(positions(of)))


def careful_sum(op: Builder, value: ir.Value) -> ir.Value:
    """Return the sum over positions, (N, C, 1, 1); of a large map by rows, which loses fewer digits if signs cancel."""
    if positions(value) <= SMALL_MAP:
        return op.sum(value, [2, 3])
    return op.sum(op.sum(value, [3]), [2])


def mean(op: Builder, gradients: ir.Value) -> ir.Value:
    """Return the mean over positions, (T, C, 1, 1), without the gradients themselves where there is a shorter way.

    Args:
        op: Builder of the graph.
        gradients: (T, C, H, W), float32.
    """
    base, factor = _peeled(gradients)
    shape = static_shape(gradients)
    broadcast = _before_broadcast(op, base, shape)
    if broadcast is not None:
        source, spread = broadcast
        return op.scale(source, factor * float(spread.mean(dtype=np.float64)))
    factor /= shape[2] * shape[3]
    node = base.producer()
    if node is not None and node.op_type == "Conv" and _is_plain(node):
        return op.scale(_sum_of_conv(op, node), factor)
    return op.scale(op.sum(op.single(base), [2, 3]), factor)


def _peeled(value: ir.Value) -> tuple[ir.Value, float]:
    """Return a value as another one and its factor: products with numbers and changes of type are taken off."""
    factor = 1.0
    while (node := value.producer()) is not None:
        if node.op_type == "Cast" and is_float(tensor(node)):
            value = tensor(node)
            continue
        number = constant_array(tensor(node, 1)) if node.op_type == "Mul" else None
        if number is None or number.size != 1 or static_shape(tensor(node)) != static_shape(value):
            break
        value, factor = tensor(node), factor * float(number.flat[0])
    return value, factor


def _before_broadcast(op: Builder, value: ir.Value, shape: tuple[int, ...]) -> tuple[ir.Value, NDArray] | None:
    """Return what was broadcast over the positions, (T, C, 1, 1), float32, and its factors; None if nothing was."""
    node = value.producer()
    if node is None or node.op_type not in ("Expand", "Mul") or static_shape(tensor(node))[2:] != (1, 1):
        return None
    spread = constant_array(tensor(node, 1))
    if spread is None:
        return None
    factors = np.ones(1) if node.op_type == "Expand" else spread
    if static_shape(tensor(node)) != (*shape[:2], 1, 1) and np.ptp(factors) != 0:
        return None
    return op.expand(op.single(tensor(node)), (*shape[:2], 1, 1)), factors


def _is_plain(node: ir.Node) -> bool:
    """Return whether a Conv is as the adjoint of a Conv leaves it: constant weight, no bias, one group, stride 1."""
    weight = constant_array(tensor(node, 1))
    if weight is None or len(node.inputs) > 2 or node.attributes.get_int("group", 1) != 1:
        return False
    return all(axis.stride == 1 for axis in windows(node, kernel=weight.shape[2:]))


def _sum_of_conv(op: Builder, node: ir.Node) -> ir.Value:
    """Return the sum over positions of Y = W * X, (N, C, 1, 1), float32, from sums of X and one product with W.

    Tap (s, t) of the kernel meets the rows of X that some output has under s, and the columns under t. The sums of X
    over these rows and columns, (N, C, kh, kw), are two products with matrices of zeros and ones; where every tap meets
    all of X they are one sum, (N, C, 1, 1).
    """
    x, weight = op.single(tensor(node)), constant_array(tensor(node, 1))
    assert weight is not None
    rows, columns = (_met(axis) for axis in windows(node, kernel=weight.shape[2:]))
    if rows.all() and columns.all():
        sums = op.sum(x, [2, 3])
    else:
        sums = op.MatMul(op.MatMul(op.floats_like(x, rows), x), op.floats_like(x, columns.T))
    n, channels = static_shape(x)[0], weight.shape[0]
    flat = op.reshape(sums, n, int(np.prod(weight.shape[1:])))
    matrix = op.floats_like(x, weight.reshape(channels, -1).T)
    return op.reshape(op.MatMul(flat, matrix), n, channels, 1, 1)


def _met(axis: Window) -> NDArray:
    """Return a mask (kernel, size_in): 1 where some output has the input position under the tap."""
    taps, places = np.arange(axis.kernel)[:, None], np.arange(axis.size_in)[None]
    outputs = places - taps * axis.dilation + axis.pad
    return ((outputs >= 0) & (outputs < axis.size_out)).astype(np.float64)
