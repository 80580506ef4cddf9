"""Adjoint rules of operators that move numbers without changing them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.adjoints.registry import Builder, Cotangents, adjoint, tensor
from aerocam.export.builder import constant_array
from aerocam.export.shapes import static_shape


@adjoint("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X in another shape: dX = dY in X's shape."""
    return [op.reshape_like(dy, tensor(node)), *(None for _ in node.inputs[1:])]


@adjoint("Transpose")
def transpose(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with axes permuted: dX = dY with axes permuted back."""
    rank = len(static_shape(tensor(node)))
    perm = node.attributes.get_ints("perm", tuple(reversed(range(rank))))
    return [op.Transpose(dy, perm=[int(axis) for axis in np.argsort(perm)])]


@adjoint("Concat")
def concat(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X1 | X2 | ... along an axis: each dX is its slice of dY."""
    axis = node.attributes["axis"].as_int() % len(static_shape(tensor(node)))
    ends = np.cumsum([static_shape(tensor(node, i))[axis] for i in range(len(node.inputs))])
    starts = [0, *ends[:-1]]
    return [op.slice_axis(dy, axis, int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


@adjoint("Split")
def split(op: Builder, node: ir.Node, *dys: ir.Value | None) -> Cotangents:
    """Y1 | Y2 | ... = X along an axis: dX = dY1 | dY2 | ..., zeros where no gradient arrives."""
    axis = node.attributes.get_int("axis", 0) % len(static_shape(tensor(node)))
    parts = [
        op.expand(op.floats_like(tensor(node), 0.0), static_shape(y)) if dy is None else dy
        for y, dy in zip(node.outputs, dys, strict=True)
    ]
    return [op.Concat(*parts, axis=axis), *(None for _ in node.inputs[1:])]


@adjoint("Slice")
def slice_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X[start:end:step]: dX is dY put back in its place, zeros elsewhere. Positive steps, constant bounds."""
    x = static_shape(tensor(node))
    before, after = [0] * len(x), [0] * len(x)
    for axis, start, end, step in _slice_bounds(node, x):
        picked = range(x[axis])[start:end:step]
        if step > 1:
            dy = interleave_zeros(op, dy, axis, step)
        before[axis] = picked.start
        after[axis] = x[axis] - picked.start - static_shape(dy)[axis]
    return [op.pad(dy, before, after), *(None for _ in node.inputs[1:])]


def _slice_bounds(node: ir.Node, shape: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """(axis, start, end, step) per sliced axis."""
    given = [None if value is None else constant_array(value) for value in node.inputs[1:]]
    if any(array is None and value is not None for array, value in zip(given, node.inputs[1:], strict=True)):
        raise UnsupportedOperatorError(
            f"Slice {node.name!r}: its bounds are computed at run time, constants are expected;"
            " choose a target layer behind it"
        )
    starts, ends, axes, steps = (*given, None, None)[:4]
    assert starts is not None
    assert ends is not None
    if axes is None:
        axes = np.arange(len(starts))
    if steps is None:
        steps = np.ones_like(starts)
    if (steps < 1).any():
        raise UnsupportedOperatorError(
            f"Slice {node.name!r}: step {int(steps.min())}, steps from 1 up are expected;"
            " choose a target layer behind it"
        )
    return [
        (int(axis) % len(shape), int(start), int(end), int(step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]


def interleave_zeros(op: Builder, value: ir.Value, axis: int, step: int) -> ir.Value:
    """`value` with `step - 1` zeros between its entries along `axis`: length (n - 1) * step + 1."""
    shape = static_shape(value)
    n = shape[axis]
    column = op.reshape(value, *shape[: axis + 1], 1, *shape[axis + 1 :])
    after = [0] * (len(shape) + 1)
    after[axis + 1] = step - 1
    spread = op.reshape(op.pad(column, [0] * len(after), after), *shape[:axis], n * step, *shape[axis + 1 :])
    return op.slice_axis(spread, axis, 0, (n - 1) * step + 1)


@adjoint("Pad")
def pad(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with a constant border: dX = dY without it. Mode `constant`, constant pads."""
    mode, pads = node.attributes.get_string("mode", "constant"), constant_array(tensor(node, 1))
    if mode != "constant" or pads is None or len(node.inputs) > 3:
        raise UnsupportedOperatorError(
            f"Pad {node.name!r}: mode {mode!r} with {'constant' if pads is not None else 'computed'} pads;"
            " only mode 'constant' with constant pads on all axes has a rule; choose a target layer behind it"
        )
    rank = len(pads) // 2
    before, after = [-int(n) for n in pads[:rank]], [-int(n) for n in pads[rank:]]
    return [op.pad(dy, before, after), *(None for _ in node.inputs[1:])]


@adjoint("Expand")
def expand(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X broadcast: dX = dY, which the walk sums down to X's shape."""
    return [dy, None]


@adjoint("Gather")
def gather(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X[..., indices, ...]: dX collects dY by index.

    One index: a mask; several: a product with a one-hot matrix.
    """
    x, indices = tensor(node), tensor(node, 1)
    shape, picked = static_shape(x), static_shape(indices)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    count = int(np.prod(picked, dtype=int))
    before, after = shape[:axis], shape[axis + 1 :]
    rows = op.Cast(op.reshape(indices, count, 1), to=ir.DataType.INT64)
    rows = op.Where(op.Less(rows, op.integers(0)), op.Add(rows, op.integers(shape[axis])), rows)
    chosen = op.Equal(rows, op.constant(np.arange(shape[axis])[None]))  # (count, shape[axis])
    if count == 1:
        mask = op.reshape(chosen, *([1] * len(before)), shape[axis], *([1] * len(after)))
        return [op.Where(mask, op.reshape(dy, *before, 1, *after), 0.0), None]
    one_hot = op.Cast(op.Transpose(chosen, perm=[1, 0]), to=x.dtype)
    flat = op.reshape(dy, int(np.prod(before, dtype=int)), count, int(np.prod(after, dtype=int)))
    return [op.reshape(op.MatMul(one_hot, flat), *shape), None]
