"""Adjoint rules of pools, rank-agnostic.

Max over a box is the max over one axis, then the next; so is "the first maximum of a tie" in row-major order. The rule
works axis by axis, which takes k1 + k2 masks where the box takes k1 * k2.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.movement import interleave_zeros
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, tensor
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.nodes.windows import Window, windows


@adjoint("MaxPool")
def max_pool(op: Builder, node: ir.Node, dy: ir.Value, indices: ir.Value | None = None) -> Cotangents:
    """Y = max of X over windows: each dY goes to the first maximum of its window, as in PyTorch."""
    axes = windows(node)
    x, y = tensor(node), node.outputs[0]
    if not is_float(x):  # quantised
        x, y = (op.Cast(value, to=dy.dtype) for value in (x, y))
    stages = [x]  # stages[i]: pooled along the last i spatial axes
    for i, window in reversed(list(enumerate(axes))):
        last = i == 0
        stages.append(y if last else _pool_axis(op, stages[-1], i, window, len(axes)))
    for i, window in enumerate(axes):
        dy = _max_axis(op, stages[-2 - i], stages[-1 - i], dy, i + 2, window)
    return [dy]


def _pool_axis(op: Builder, x: ir.Value, spatial: int, window: Window, rank: int) -> ir.Value:
    """Return X max-pooled along one spatial axis."""

    def along(value: int, other: int) -> list[int]:
        return [value if i == spatial else other for i in range(rank)]

    if window.kernel == 1 and window.stride == 1:
        return x
    before, after = [0] * (rank + 2), [0] * (rank + 2)
    before[spatial + 2], after[spatial + 2] = window.pad, window.pad_after
    return op.MaxPool(
        op.pad(x, before, after, fill=_lowest(x)),
        kernel_shape=along(window.kernel, 1),
        strides=along(window.stride, 1),
        dilations=along(window.dilation, 1),
    )


def _lowest(x: ir.Value) -> float:
    """Return the lowest finite number of X's type; not -inf, since engines may compute 0 * padding."""
    assert x.dtype is not None
    return float(x.dtype.min)


def _max_axis(op: Builder, x: ir.Value, y: ir.Value, dy: ir.Value, axis: int, window: Window) -> ir.Value:
    """Return the adjoint of a max along one axis: dY goes to the first tap that equals Y."""
    if window.kernel == 1 and window.stride == 1:
        return dy
    before, after = [0] * len(static_shape(x)), [0] * len(static_shape(x))
    before[axis], after[axis] = window.pad, window.pad_after
    padded = op.pad(x, before, after, fill=_lowest(x))
    free, routed = None, []
    for tap in range(window.kernel):
        start = tap * window.dilation
        values = op.slice_axis(padded, axis, start, start + (window.size_out - 1) * window.stride + 1, window.stride)
        equal = op.Equal(values, y)
        first = equal if free is None else op.And(equal, free)
        routed.append(op.masked(dy, first))
        if tap < window.kernel - 1:
            free = op.Not(equal) if free is None else op.And(free, op.Not(equal))
    return _scatter(op, routed, axis, window)


def _scatter(op: Builder, taps: list[ir.Value], axis: int, window: Window) -> ir.Value:
    """Return the sum of the taps, tap t of output o put where it was read: at `o * stride + t * dilation - pad`.

    Taps whose positions agree modulo the stride are shifted by whole strides and added; then the residues interleave.
    """
    stride = window.stride
    length = -(-max(window.size_in + window.pad, window.covered) // stride)  # in strides
    shape = static_shape(taps[0])
    residues: list[list[ir.Value]] = [[] for _ in range(stride)]
    for tap, value in enumerate(taps):
        shift, residue = divmod(tap * window.dilation, stride)
        before, after = [0] * len(shape), [0] * len(shape)
        before[axis], after[axis] = shift, length - shift - window.size_out
        residues[residue].append(op.pad(value, before, after))
    whole = (*shape[:axis], length, *shape[axis + 1 :])
    zeros = op.floats_like(taps[0], 0.0)
    lanes = [op.total(lane) if lane else op.expand(zeros, whole) for lane in residues]
    if stride > 1:
        columns = [op.reshape(lane, *whole[: axis + 1], 1, *whole[axis + 1 :]) for lane in lanes]
        joined = op.Concat(*columns, axis=axis + 1)
        result = op.reshape(joined, *shape[:axis], length * stride, *shape[axis + 1 :])
    else:
        result = lanes[0]
    return op.slice_axis(result, axis, window.pad, window.pad + window.size_in)


@adjoint("GlobalAveragePool")
def global_average_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = mean of X over the H * W positions: dX = dY / (H * W), broadcast."""
    shape = static_shape(tensor(node))
    return [op.expand(dy, shape, 1.0 / float(np.prod(shape[2:])))]


@adjoint("AveragePool")
def average_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sum of a window / its count: dX = the sum of dY / count over the windows that hold the position."""
    axes = windows(node)
    shape = static_shape(tensor(node))
    if all(axis.size_out == 1 and axis.pad == 0 and axis.kernel == axis.size_in for axis in axes):
        return [op.expand(dy, shape, 1.0 / float(np.prod(shape[2:])))]
    return [_sum_of_windows(op, op.Mul(dy, op.floats_like(dy, 1.0 / _counts(node, axes))), axes)]


def _counts(node: ir.Node, axes: list[Window]) -> np.ndarray:
    """Return how many entries each output of an AveragePool averages, float64 (1, 1, spatial ...)."""
    include = node.attributes.get_int("count_include_pad", 0)
    behind = [max(axis.pad_after, 0) for axis in axes]  # of an auto_pad: as far as the windows reach
    if node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET":
        behind = list(node.attributes.get_ints("pads", (0,) * (2 * len(axes)))[len(axes) :])
    per_axis = []
    for i, axis in enumerate(axes):
        taps = np.add.outer(np.arange(axis.size_out) * axis.stride - axis.pad, np.arange(axis.kernel) * axis.dilation)
        low, high = (-axis.pad, axis.size_in + behind[i]) if include else (0, axis.size_in)
        per_axis.append(((taps >= low) & (taps < high)).sum(1))
    counts = np.ones((1, 1, *(1 for _ in axes)))
    for i, count in enumerate(per_axis):
        counts = counts * count.reshape([-1 if j == i + 2 else 1 for j in range(counts.ndim)])
    return counts


def _sum_of_windows(op: Builder, dy: ir.Value, axes: list[Window]) -> ir.Value:
    """Spread dY to stride 1, then add up `kernel` neighbours: an AveragePool times the kernel's size.

    Windows with gaps are put together tap by tap.
    """
    if any(axis.dilation != 1 for axis in axes):
        for i, axis in enumerate(axes):
            dy = _scatter(op, [dy] * axis.kernel, i + 2, axis)
        return dy
    for i, axis in enumerate(axes):
        if axis.stride > 1:
            dy = interleave_zeros(op, dy, i + 2, axis.stride)
    before = [0, 0, *(axis.kernel - 1 - axis.pad for axis in axes)]
    after = [0, 0, *(axis.size_in + axis.pad - (axis.size_out - 1) * axis.stride - 1 for axis in axes)]
    size = float(np.prod([axis.kernel for axis in axes]))
    return op.Mul(op.AveragePool(op.pad(dy, before, after), kernel_shape=[axis.kernel for axis in axes]), size)


@adjoint("GlobalMaxPool")
def global_max_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max of X over its positions: dY goes to the first maximum, as in PyTorch."""
    x = tensor(node)
    shape = static_shape(x)
    flat = (*shape[:2], int(np.prod(shape[2:], dtype=int)))
    first = op.ArgMax(op.reshape(x, *flat), axis=2)
    chosen = op.Equal(first, op.constant(np.arange(flat[2])[None, None]))
    return [op.reshape(op.masked(op.reshape(dy, *shape[:2], 1), chosen), *shape)]


@adjoint("LpPool")
def lp_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (sum of |X|^p over a window)^(1/p): dX = sign(X) |X|^(p-1) * sum of dY Y^(1-p) over the windows that hold X.

    Where Y is 0, so is dX for p > 1.
    """
    x, axes = tensor(node), windows(node)
    p = node.attributes.get_int("p", 2)
    dy = _lp_outer(op, node.outputs[0], dy, p)
    if all(axis.size_out == 1 and axis.pad == 0 and axis.kernel == axis.size_in for axis in axes):
        return [_lp_inner(op, x, dy, p)]
    return [_lp_inner(op, x, _sum_of_windows(op, dy, axes), p)]


@adjoint("GlobalLpPool")
def global_lp_pool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (sum of |X|^p over its positions)^(1/p): dX = sign(X) |X|^(p-1) * dY Y^(1-p)."""
    p = node.attributes.get_int("p", 2)
    return [_lp_inner(op, tensor(node), _lp_outer(op, node.outputs[0], dy, p), p)]


def _lp_outer(op: Builder, y: ir.Value, dy: ir.Value, p: int) -> ir.Value:
    """Return dY Y^(1-p), dY where Y is 0: `dy` times the factor of a p-norm's gradient that its result gives."""
    if p == 1:
        return dy
    norm = op.Where(op.Greater(y, 0.0), y, 1.0)
    return op.Div(dy, norm if p == 2 else op.Pow(norm, float(p - 1)))


def _lp_inner(op: Builder, x: ir.Value, dy: ir.Value, p: int) -> ir.Value:
    """Return `dy` times sign(X) |X|^(p-1), the factor of a p-norm's gradient that its entries give."""
    if p <= 2:
        return op.Mul(dy, op.Sign(x) if p == 1 else x)
    power = op.Abs(x) if p == 3 else op.Pow(op.Abs(x), float(p - 2))
    return op.Mul(dy, op.Mul(x, power))


@adjoint("MaxUnpool")
def max_unpool(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y[I] = X, 0 elsewhere, with I counted over the whole of Y: dX = dY[I].

    Of two entries with one index, both get the gradient, as in PyTorch.
    """
    flat = op.reshape(dy, int(np.prod(static_shape(dy), dtype=int)))
    return [op.Gather(flat, tensor(node, 1)), *(None for _ in node.inputs[1:])]
