"""Adjoint rules of products: Conv, ConvTranspose, Gemm, MatMul, Einsum. No gradient flows to a convolution's weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints.movement import interleave_zeros
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.nodes.windows import Window, transposed_windows, windows

WIDEST_SPREAD = 56
"""Longest row of zeros and entries that is made by a product, whose cost grows with the square of its length."""


@adjoint("Conv")
def conv(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = W * X + B: dX is dY convolved with the flipped, channel-transposed W.

    Stride 1, a constant W and no window in the padding alone: a Conv, which runtimes run at full speed. The same with
    zeros between the rows and columns of dY for larger strides, where each channel is for itself and the map is small:
    ONNX Runtime takes three times as long for a ConvTranspose with a group per channel. Otherwise a ConvTranspose with
    W itself; but where W is dilated too, which TensorRT builds no ConvTranspose for: a stride and a dilation of 2 leave
    every other position untouched, and the others are like those of stride and dilation 1.
    """
    return [conv_input_gradient(op, node, tensor(node, 1), dy), *(None for _ in node.inputs[1:])]


def conv_input_gradient(op: Builder, node: ir.Node, w: ir.Value, dy: ir.Value) -> ir.Value:
    """Return the gradient dX of a Conv-like node whose weight, in floats, is `w`."""
    axes = windows(node, kernel=static_shape(w)[2:])
    group = node.attributes.get_int("group", 1)
    factors = [math.gcd(axis.stride, axis.dilation) for axis in axes]
    if all(factor == 1 for factor in factors):
        return _input_gradient(op, w, dy, axes, group)
    coarse = [_coarse(axis, factor) for axis, factor in zip(axes, factors, strict=True)]
    return _refined(op, _input_gradient(op, w, dy, coarse, group), axes, factors)


def _coarse(axis: Window, factor: int) -> Window:
    """Return the window over every `factor`-th position that is covered; stride and dilation are multiples of it."""
    size = (axis.covered - 1) // factor + 1
    return Window(size, axis.size_out, axis.kernel, axis.stride // factor, axis.dilation // factor, 0)


def _refined(op: Builder, dx: ir.Value, axes: list[Window], factors: list[int]) -> ir.Value:
    """Return dX from the gradient at every `factor`-th position that the windows cover: none reads between them."""
    for i, factor in enumerate(factors):
        if factor > 1:
            dx = interleave_zeros(op, dx, i + 2, factor)
    after = (axis.size_in + axis.pad - axis.covered for axis in axes)
    return op.pad(dx, [0, 0, *(-axis.pad for axis in axes)], [0, 0, *after])


def _input_gradient(op: Builder, w: ir.Value, dy: ir.Value, axes: list[Window], group: int) -> ir.Value:
    """Return the gradient dX of windows whose strides and dilations have no common factor."""
    if w.const_value is not None and all(axis.pad < axis.reach and _after(axis) >= 0 for axis in axes):
        if all(axis.stride == 1 for axis in axes):
            return _flipped_conv(op, dy, w, axes, group)
        depthwise = static_shape(w)[:2] == (group, 1)
        if depthwise and len(axes) <= 2 and axes[-1].size_out * axes[-1].stride <= WIDEST_SPREAD:
            return _flipped_conv(op, _interleaved(op, dy, axes), w, axes, group)
    if any(axis.stride > 1 for axis in axes) and any(axis.dilation > 1 for axis in axes):
        return _spread_conv(op, dy, w, axes, group)
    return _conv_transpose(op, dy, w, axes, group)


def _after(axis: Window) -> int:
    """Return how many zeros behind dY, spread to its stride, make its convolution as long as X."""
    return axis.size_in - axis.size_out * axis.stride + axis.pad


def _interleaved(op: Builder, dy: ir.Value, axes: list[Window]) -> ir.Value:
    """Return dY, (N, C, L) or (N, C, H, W), with stride - 1 zeros behind every entry, by one product with a 0-1 matrix.

    A row becomes itself, spread, and the rows of zeros below it, so that the last axis alone grows.
    """
    *above, row = axes
    length = row.size_out * row.stride
    ones = np.zeros((row.size_out, length * int(np.prod([axis.stride for axis in above]))))
    positions = np.arange(row.size_out)
    ones[positions, positions * row.stride] = 1
    shape = (axis.size_out * axis.stride for axis in axes)
    return op.reshape(op.MatMul(dy, op.floats_like(dy, ones)), *static_shape(dy)[:2], *shape)


def _spread_conv(op: Builder, dy: ir.Value, w: ir.Value, axes: list[Window], group: int) -> ir.Value:
    """Return a Conv of dY, of any rank, with zeros between its entries; those that no window reads are cut off."""
    for i, axis in enumerate(axes):
        if axis.stride > 1:
            dy = interleave_zeros(op, dy, i + 2, axis.stride)
    before = [axis.reach - 1 - axis.pad for axis in axes]
    after = [_after(axis) + axis.stride - 1 for axis in axes]
    dy = op.pad(dy, [0, 0, *(min(n, 0) for n in before)], [0, 0, *(min(n, 0) for n in after)])
    pads = [max(n, 0) for n in (*before, *after)]
    return _conv_flipped(op, dy, w, axes, group, pads)


def _flipped_conv(op: Builder, dy: ir.Value, w: ir.Value, axes: list[Window], group: int) -> ir.Value:
    before = [axis.reach - 1 - axis.pad for axis in axes]
    return _conv_flipped(op, dy, w, axes, group, [*before, *(_after(axis) for axis in axes)])


def _conv_flipped(
    op: Builder, dy: ir.Value, w: ir.Value, axes: list[Window], group: int, pads: Sequence[int]
) -> ir.Value:
    """Return dY, already spread, convolved with the flipped W at stride 1."""
    return op.Conv(
        dy,
        _flip(op, w, group),
        group=group,
        kernel_shape=[axis.kernel for axis in axes],
        dilations=[axis.dilation for axis in axes],
        pads=pads,
    )


def _flip(op: Builder, w: ir.Value, group: int) -> ir.Value:
    """Return a weight turned by `Flip`, in the graph where the weight is computed."""
    out_channels, per_group, *kernel = static_shape(w)
    shape = (group * per_group, out_channels // group, *kernel)
    if w.const_value is not None:
        return op.derived(w, shape, Flip(group))
    grouped = op.reshape(w, group, out_channels // group, per_group, *kernel)
    rows = op.reshape(op.Transpose(grouped, perm=[0, 2, 1, *range(3, 3 + len(kernel))]), *shape)
    axes = op.integers(*range(2, 2 + len(kernel)))
    steps = op.integers(*(-1 for _ in kernel))
    return op.Slice(rows, steps, op.integers(*(-1 - n for n in kernel)), axes, steps)


@dataclass(frozen=True)
class Flip:
    """Turns the weight of a Conv into that of the Conv of its gradient: flipped, channels transposed in each group."""

    group: int

    def __call__(self, weight: NDArray) -> NDArray:
        """Return `weight`, (C_out, C_in / group, ...), as (C_in, C_out / group, ...)."""
        out_channels, per_group, *kernel = weight.shape
        grouped = weight.reshape(self.group, out_channels // self.group, per_group, *kernel).swapaxes(1, 2)
        rows = grouped.reshape(self.group * per_group, out_channels // self.group, *kernel)
        return np.flip(rows, tuple(range(2, weight.ndim)))


def _conv_transpose(op: Builder, dy: ir.Value, w: ir.Value, axes: list[Window], group: int) -> ir.Value:
    output_padding = [max(-axis.pad_after, 0) for axis in axes]
    return op.ConvTranspose(dy, w, **_attributes(axes, group), output_padding=output_padding)


def _attributes(axes: list[Window], group: int) -> dict[str, Any]:
    """Return the attributes of a Conv over these windows."""
    return {
        "group": group,
        "kernel_shape": [axis.kernel for axis in axes],
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "pads": [*(axis.pad for axis in axes), *(max(axis.pad_after, 0) for axis in axes)],
    }


@adjoint("ConvTranspose")
def conv_transpose(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X spread by W, the adjoint of a Conv with W: dX = that Conv of dY."""
    attributes = _attributes(transposed_windows(node), node.attributes.get_int("group", 1))
    return [op.Conv(dy, tensor(node, 1), **attributes), *(None for _ in node.inputs[1:])]


@adjoint("Gemm")
def gemm(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = alpha A' B' + beta C: dA' = alpha dY B'^T, dC = beta dY; A' is A or its transpose, B' likewise."""
    a, b = tensor(node), tensor(node, 1)
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    trans_a, trans_b = node.attributes.get_int("transA", 0), node.attributes.get_int("transB", 0)
    seed = constant_array(dy)
    if seed is not None and seed.size == 1 and static_shape(a)[0] == 1 and not trans_a:
        da = op.scale(op.reshape_like(b, a), alpha * float(seed.item()))  # one chosen logit: B' is one column
    elif trans_a:
        da = op.Gemm(b, dy, transA=trans_b, transB=1, alpha=alpha)
    else:
        da = op.Gemm(dy, b, transB=1 - trans_b, alpha=alpha)
    if trans_b:
        db = op.Gemm(dy, a, transA=1, transB=trans_a, alpha=alpha)
    else:
        db = op.Gemm(a, dy, transA=1 - trans_a, alpha=alpha)
    dc = dy if beta == 1.0 else op.Mul(dy, float(beta))
    return [da, db, dc][: len(node.inputs)]


@adjoint("MatMul")
def matmul(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = A B, batched and broadcast: dA = dY B^T, dB = A^T dY; a vector is a matrix of one row (A) or column (B)."""
    return matmul_gradients(op, tensor(node), tensor(node, 1), dy)


def matmul_gradients(op: Builder, a: ir.Value, b: ir.Value, dy: ir.Value) -> list[ir.Value]:
    """Return the gradients dA and dB of Y = A B."""
    a_shape, b_shape = static_shape(a), static_shape(b)
    rows = a_shape if len(a_shape) > 1 else (1, *a_shape)
    columns = b_shape if len(b_shape) > 1 else (*b_shape, 1)
    batch = np.broadcast_shapes(rows[:-2], columns[:-2])
    dy = op.reshape(dy, *batch, rows[-2], columns[-1])
    if len(columns) == 2:  # a weight: Gemm reads it as it lies, without a transposed copy
        flat = op.reshape(dy, int(np.prod(batch, dtype=int)) * rows[-2], columns[-1])
        da = op.reshape(op.Gemm(flat, op.reshape(b, *columns), transB=1), *batch, *rows[-2:])
    else:
        da = op.MatMul(dy, transposed(op, op.reshape(b, *columns)))
    db = op.MatMul(transposed(op, op.reshape(a, *rows)), dy)
    return [op.reshape(op.sum_to(da, rows), *a_shape), op.reshape(op.sum_to(db, columns), *b_shape)]


def transposed(op: Builder, value: ir.Value) -> ir.Value:
    """Return `value` with its last two axes swapped."""
    rank = len(static_shape(value))
    return op.Transpose(value, perm=[*range(rank - 2), rank - 1, rank - 2])


@adjoint("Einsum")
def einsum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = the sum of products of entries, by an equation: dX_i = the Einsum of dY and the other X, with X_i as result.

    An index that X_i alone has was summed out: X_i's gradient is constant along it.
    """
    terms, result = _equation(node)
    operands = [(term, tensor(node, i)) for i, term in enumerate(terms)]
    gradients = []
    for i, (term, x) in enumerate(operands):
        others = [(result, dy), *operands[:i], *operands[i + 1 :]]
        kept = [index for index in term if any(index in other for other, _ in others)]
        equation = ",".join(other for other, _ in others) + "->" + "".join(kept)
        dx = op.Einsum(*(value for _, value in others), equation=equation)
        shape = static_shape(x)
        dx = op.reshape(dx, *(dim if index in kept else 1 for index, dim in zip(term, shape, strict=True)))
        gradients.append(op.expand(dx, shape))
    return gradients


def _equation(node: ir.Node) -> tuple[list[str], str]:
    """Return the indices of each operand of an Einsum, and of its result."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    sizes = {pair for i, term in enumerate(terms) for pair in zip(term, static_shape(tensor(node, i)), strict=False)}
    if "." in equation or any(len(set(term)) < len(term) for term in terms) or len(sizes) > len(dict(sizes)):
        raise refused(
            node,
            f"equation {equation!r} with sizes {sorted(sizes)}, one without '...', with no index"
            " twice in an operand and one size per index is expected",
        )
    if not arrow:
        result = "".join(sorted(index for index in set(left) - {","} if left.count(index) == 1))
    return terms, result
