"""Adjoint rules of quantisation, straight-through: an integer counts as the real number it was rounded from.

The cotangent of an integer is per step of it (see `aerocam.export.gradients.autodiff`). Rounding passes it on;
saturation stops it: it passes where the rounded number, before saturation, lies in the range of the integer's type.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints.linear import conv_input_gradient, matmul_gradients
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

RANGES = {
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT16: (0, 65535),
}
"""Smallest and largest number per integer type."""


@adjoint("QuantizeLinear")
def quantize_linear(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = saturate(round(X / scale) + zero point): dX = dY / scale where nothing is saturated, else 0."""
    refuse_blocks(node)
    axis = node.attributes.get_int("axis", 1)
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    return [_quantised(op, node, tensor(node), tensor(node, 1), zero, axis, dy), *(None for _ in node.inputs[1:])]


@adjoint("DequantizeLinear")
def dequantize_linear(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (X - zero point) * scale: dX = dY * scale."""
    refuse_blocks(node)
    scale = along(op, tensor(node, 1), len(static_shape(tensor(node))), node.attributes.get_int("axis", 1))
    return [op.Mul(dy, scale), *(None for _ in node.inputs[1:])]


@adjoint("DynamicQuantizeLinear")
def dynamic_quantize_linear(op: Builder, node: ir.Node, dy: ir.Value | None, *_others: ir.Value | None) -> Cotangents:
    """Y = round(X / scale) + zero point, both of X's own range, which count as constants: dX = dY / scale."""
    return [None if dy is None else op.Div(dy, node.outputs[1])]


@adjoint("MatMulInteger")
def matmul_integer(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (A - zero point of A) (B - zero point of B), an integer product: dA, dB are the MatMul's of these."""
    a, b = (_centred(op, node, dy, i, axis) for i, axis in ((0, -2), (1, -1)))
    return [*matmul_gradients(op, a, b, dy), *(None for _ in node.inputs[2:])]


@adjoint("ConvInteger")
def conv_integer(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (W - its zero point) * (X - its zero point), an integer convolution: dX is the Conv's of these."""
    return [conv_input_gradient(op, node, _centred(op, node, dy, 1, 0), dy), *(None for _ in node.inputs[1:])]


def _centred(op: Builder, node: ir.Node, like: ir.Value, i: int, axis: int) -> ir.Value:
    """Return input `i`, of integers, less its zero point, two inputs on, in the floats of `like`."""
    q, zero = tensor(node, i), node.inputs[i + 2] if len(node.inputs) > i + 2 else None
    numbers, shift = constant_array(q), constant_array(zero)
    if numbers is not None and (zero is None or shift is not None):
        return op.floats_like(like, _dequantised_array(numbers, np.float64(1), shift, axis))
    real = op.Cast(q, to=like.dtype)
    return real if zero is None else op.Sub(real, op.Cast(along(op, zero, len(static_shape(q)), axis), to=like.dtype))


@adjoint("QLinearConv")
def qlinear_conv(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = quantised(W * X + B) of dequantised X and W: dX = the Conv's, of dY / scale where nothing is saturated.

    What is saturated shows in the Conv's result alone, so it is computed once more, in floats.
    """
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (tensor(node, i) for i in range(8))
    weight = _dequantised(op, w, w_scale, w_zero, axis=0)
    bias = node.inputs[8] if len(node.inputs) > 8 else None
    steps = [] if bias is None else [_dequantised(op, bias, _product(op, x_scale, w_scale), None, axis=0)]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    y = op.Conv(_dequantised(op, x, x_scale, x_zero, axis=1), weight, *steps, **attributes)
    dy = _quantised(op, node, y, y_scale, y_zero, 1, dy)
    return [op.Mul(conv_input_gradient(op, node, weight, dy), x_scale), *(None for _ in node.inputs[1:])]


@adjoint("QLinearMatMul")
def qlinear_matmul(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = quantised(A B) of dequantised A and B: dA, dB are the MatMul's, of dY / scale where nothing is saturated."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (tensor(node, i) for i in range(8))
    a_real, b_real = _dequantised(op, a, a_scale, a_zero, axis=-2), _dequantised(op, b, b_scale, b_zero, axis=-1)
    dy = _quantised(op, node, op.MatMul(a_real, b_real), y_scale, y_zero, -2, dy)
    da, db = matmul_gradients(op, a_real, b_real, dy)
    da = op.Mul(da, along(op, a_scale, len(static_shape(a)), -2))
    db = op.Mul(db, along(op, b_scale, len(static_shape(b)), -1))
    return [da, None, None, db, None, None, None, None]


def _quantised(
    op: Builder, node: ir.Node, x: ir.Value, scale: ir.Value, zero: ir.Value | None, axis: int, dy: ir.Value
) -> ir.Value:
    """Return the cotangent of a real X that the node's output quantises: dY / scale where not saturated, else 0."""
    dtype = node.outputs[0].dtype
    if dtype not in RANGES:
        raise refused(node, f"its output is {dtype}, integers of 4, 8 or 16 bits are expected")
    rank = len(static_shape(x))
    step = along(op, scale, rank, axis)
    level = op.Round(op.Div(x, step))
    low, high = RANGES[dtype]
    shift = np.zeros(()) if zero is None else constant_array(zero)
    if shift is not None and np.unique(shift).size == 1:
        low, high = low - int(shift.flat[0]), high - int(shift.flat[0])
    else:
        assert zero is not None
        level = op.Add(level, op.Cast(along(op, zero, rank, axis), to=x.dtype))
    inside = op.Equal(level, op.Clip(level, op.floats_like(x, float(low)), op.floats_like(x, float(high))))
    return op.masked(op.Div(dy, step), inside)


def _dequantised(op: Builder, q: ir.Value, scale: ir.Value, zero: ir.Value | None, axis: int) -> ir.Value:
    """Return `(q - zero) * scale`, folded where all are constants."""
    numbers, step, shift = constant_array(q), constant_array(scale), constant_array(zero)
    if numbers is None or step is None or (shift is None and zero is not None):
        attributes = {"axis": axis} if int(np.prod(static_shape(scale), dtype=int)) > 1 else {}
        return op.DequantizeLinear(q, scale, *([] if zero is None else [zero]), **attributes)
    return op.floats_like(scale, _dequantised_array(numbers, step, shift, axis))


def _dequantised_array(numbers: NDArray, step: NDArray, shift: NDArray | None, axis: int) -> NDArray:
    steps = numbers.astype(np.int64)
    if shift is not None:
        steps = steps - shift.astype(np.int64).reshape(_broadcast_shape(shift.shape, steps.ndim, axis))
    return steps * step.reshape(_broadcast_shape(step.shape, steps.ndim, axis))


def _product(op: Builder, a: ir.Value, b: ir.Value) -> ir.Value:
    """Return the product of two scales, folded where both are constants."""
    first, second = constant_array(a), constant_array(b)
    return op.Mul(a, b) if first is None or second is None else op.floats_like(a, first * second)


def along(op: Builder, value: ir.Value, rank: int, axis: int) -> ir.Value:
    """Return a scale or zero point, of the whole tensor or of each slice along `axis`, in a shape that broadcasts."""
    shape = _broadcast_shape(static_shape(value), rank, axis)
    array = constant_array(value)
    return op.reshape(value, *shape) if array is None else op.constant(array.reshape(shape), array.dtype)


def _broadcast_shape(shape: tuple[int, ...], rank: int, axis: int) -> tuple[int, ...]:
    if int(np.prod(shape, dtype=int)) == 1:
        return ()
    return tuple(shape[0] if i == axis % rank else 1 for i in range(rank)) if len(shape) == 1 else shape


def refuse_blocks(node: ir.Node) -> None:
    """Raise UnsupportedOperatorError for a node with a scale per block."""
    size = node.attributes.get_int("block_size", 0)
    if size != 0:
        raise refused(node, f"block_size {size}, one scale per tensor or per slice is expected")
