"""Adjoint rules of operators that pick or place numbers by index.

Sums by index: where the indices are constants, by tables made here (`collect`); where they are computed and no index
comes twice, by a ScatterElements; otherwise by a one-hot mask, since TensorRT takes no scatter that adds. That one is
left for masks of more than `LARGEST_ONE_HOT` entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.gradients.adjoints.resize import along_axis
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

LARGEST_ONE_HOT = 1 << 22
"""Entries of the largest one-hot mask that is computed in the graph."""

LARGEST_MATRIX = 1 << 20
"""Entries of the largest constant matrix that sums by index."""

DEEPEST_TABLE = 4
"""Most numbers per entry that a table sums before a matrix is tried."""


@adjoint("Gather")
def gather(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X[..., indices, ...]: dX collects dY by index."""
    x, indices = tensor(node), tensor(node, 1)
    shape, count = static_shape(x), math.prod(static_shape(indices))
    axis = node.attributes.get_int("axis", 0) % len(shape)
    before, n, after = shape[:axis], shape[axis], shape[axis + 1 :]
    constant = constant_array(indices)
    if constant is not None:
        return [collect(op, op.reshape(dy, *before, count, *after), axis, constant.reshape(-1) % n, n), None]
    if count == 1:
        mask = _one_hot(op, op.reshape(indices, 1, 1), n)
        mask = op.reshape(mask, *([1] * len(before)), n, *([1] * len(after)))
        return [op.masked(op.reshape(dy, *before, 1, *after), mask), None]
    flat = op.reshape(dy, math.prod(before), count, math.prod(after))
    return [op.reshape(_sum_by_index(op, flat, op.reshape(indices, 1, count), n), *shape), None]


@adjoint("GatherElements")
def gather_elements(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y[i, j] = X[index[i, j], j], for axis 0: dX collects dY by index along the axis."""
    x, indices = tensor(node), tensor(node, 1)
    shape, picked = static_shape(x), static_shape(indices)
    axis = node.attributes.get_int("axis", 0) % len(shape)
    constant = constant_array(indices)
    if constant is not None:
        coordinates = [*np.indices(picked)]
        coordinates[axis] = constant % shape[axis]
        flat = np.ravel_multi_index(tuple(coordinates), shape).reshape(-1)
        return [op.reshape(collect(op, op.reshape(dy, flat.size), 0, flat, math.prod(shape)), *shape), None]
    if math.prod(picked) * shape[axis] > LARGEST_ONE_HOT:
        dy = op.widened(dy)
        total = op.ScatterElements(op.expand(op.floats_like(dy, 0.0), shape), indices, dy, axis=axis, reduction="add")
        return [op.cast_like(total, x), None]
    row = (*picked[:axis], 1, *picked[axis:])
    mask = _one_hot(op, op.reshape(indices, *row), shape[axis], axis)
    total = op.sum(op.masked(op.reshape(dy, *row), mask), [axis + 1], keepdims=False)
    rest = [0 if i == axis else n - m for i, (n, m) in enumerate(zip(shape, picked, strict=True))]
    return [op.pad(total, [0] * len(shape), rest), None]


@adjoint("GatherND")
def gather_nd(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y[b, i] = X[b, index[b, i]], an index of several axes, `batch_dims` axes b: dX collects dY by index."""
    x, indices = tensor(node), tensor(node, 1)
    shape, picked = static_shape(x), static_shape(indices)
    batch_dims, depth = node.attributes.get_int("batch_dims", 0), picked[-1]
    sizes = shape[batch_dims : batch_dims + depth]
    batch, n, rest = (math.prod(part) for part in (shape[:batch_dims], sizes, shape[batch_dims + depth :]))
    count = math.prod(picked[batch_dims:-1])
    strides = np.array([math.prod(sizes[i + 1 :]) for i in range(depth)], np.int64)
    constant = constant_array(indices)
    if constant is not None:
        flat = (constant.reshape(batch, count, depth) % np.array(sizes)) @ strides + n * np.arange(batch)[:, None]
        total = collect(op, op.reshape(dy, batch * count, rest), 0, flat.reshape(-1), batch * n)
        return [op.reshape(total, *shape), None]
    positive = op.Cast(op.reshape(indices, batch, count, depth), to=ir.DataType.INT64)
    positive = op.Where(op.Less(positive, op.integers(0)), op.Add(positive, op.integers(*sizes)), positive)
    flat = op.sum(op.Mul(positive, op.constant(strides)), [2], keepdims=False)
    return [op.reshape(_sum_by_index(op, op.reshape(dy, batch, count, rest), flat, n), *shape), None]


@adjoint("TopK")
def top_k(op: Builder, node: ir.Node, dy: ir.Value, _indices: ir.Value | None = None) -> Cotangents:
    """Y = the k largest or smallest along an axis: dX is dY at their places, which are another output."""
    x, indices = tensor(node), node.outputs[1]
    axis = node.attributes.get_int("axis", -1) % len(static_shape(x))
    return [op.ScatterElements(_zeros(op, x), indices, dy, axis=axis), None]


@adjoint("ScatterElements")
def scatter_elements(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with updates U put in, added or compared by index: dU = dY at the index, dX = dY, zero where U is in Y."""
    axis = node.attributes.get_int("axis", 0) % len(static_shape(tensor(node)))
    return _scattered(op, node, dy, partial(op.ScatterElements, axis=axis), partial(op.GatherElements, axis=axis))


@adjoint("ScatterND")
def scatter_nd(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with slices U put in, added or compared by index: dU = dY at the index, dX = dY, zero where U is in Y."""
    return _scattered(op, node, dy, op.ScatterND, op.GatherND)


def _scattered(
    op: Builder, node: ir.Node, dy: ir.Value, scatter: Callable[..., ir.Value], gather: Callable[..., ir.Value]
) -> Cotangents:
    """Return dX and dU of a scatter; `gather` reads what it writes. Equal candidates of a max or min all get dY."""
    reduction = node.attributes.get_string("reduction", "none")
    x, indices, updates = (tensor(node, i) for i in range(3))
    if reduction == "mul":
        raise refused(node, "reduction 'mul', 'none', 'add', 'max' or 'min' is expected")
    du = gather(dy, indices)
    if reduction == "none":
        return [scatter(dy, indices, _zeros(op, updates)), None, du]
    if reduction == "add":
        return [dy, None, du]
    y = node.outputs[0]
    return [op.masked(dy, op.Equal(x, y)), None, op.masked(du, op.Equal(updates, gather(y, indices)))]


@adjoint("ReverseSequence")
def reverse_sequence(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with the first entries of each sequence in reverse: dX = dY with the same ones in reverse."""
    axes = {name: node.attributes.get_int(name, default) for name, default in (("time_axis", 0), ("batch_axis", 1))}
    return [op.ReverseSequence(dy, tensor(node, 1), **axes), None]


def collect(op: Builder, value: ir.Value, axis: int, index: NDArray, size: int) -> ir.Value:
    """Return `value` summed by a constant index along `axis`, which gets `size` entries: the adjoint of a Gather.

    Consecutive indices take a Pad. Where none comes often, a Gather by a table, from `value` with a zero behind it, and
    a sum; otherwise a product with a constant matrix, where that is small.
    """
    rank, count = len(static_shape(value)), len(index)
    start = int(index[0]) if count else 0
    if np.array_equal(index, np.arange(start, start + count)):
        before, after = ([n if i == axis else 0 for i in range(rank)] for n in (start, size - start - count))
        return op.pad(value, before, after)
    times = np.bincount(index, minlength=size)
    depth = int(times.max())
    if depth > DEEPEST_TABLE and size * count <= LARGEST_MATRIX:
        return along_axis(op, value, axis, np.equal.outer(np.arange(size), index).astype(np.float32))
    order = np.argsort(index, kind="stable")
    turn = np.arange(count) - np.repeat(np.cumsum(times) - times, times)  # how many of the same index came before
    table = np.full((size, depth), count)
    table[index[order], turn] = order
    if (table == count).any():
        value = op.pad(value, [0] * rank, [int(i == axis) for i in range(rank)])
    if depth == 1:
        return op.Gather(value, op.integers(*table[:, 0]), axis=axis)
    return op.sum(op.Gather(value, op.constant(table), axis=axis), [axis + 1], keepdims=False)


def _sum_by_index(op: Builder, value: ir.Value, indices: ir.Value, size: int) -> ir.Value:
    """Return `value` (batch, count, rest) summed by computed indices (batch or 1, count), as (batch, size, rest)."""
    batch, count, rest = static_shape(value)
    rows = static_shape(indices)[0]
    if rows * count * size > LARGEST_ONE_HOT:
        expanded = op.Expand(op.reshape(indices, rows, count, 1), op.integers(batch, count, rest))
        updates = op.widened(value)
        zeros = op.expand(op.floats_like(updates, 0.0), (batch, size, rest))
        return op.cast_like(op.ScatterElements(zeros, expanded, updates, axis=1, reduction="add"), value)
    one_hot = _one_hot(op, op.reshape(indices, rows, 1, count), size, 1)
    return op.MatMul(op.Cast(op.reshape(one_hot, rows, size, count), to=value.dtype), value)


def _one_hot(op: Builder, indices: ir.Value, size: int, axis: int = -1) -> ir.Value:
    """Return the mask of indices, negative ones too, over 0 ... size - 1 along `axis`, where they have one entry."""
    rank = len(static_shape(indices))
    shape = [1] * rank
    shape[axis] = size
    positive = op.Cast(indices, to=ir.DataType.INT64)
    positive = op.Where(op.Less(positive, op.integers(0)), op.Add(positive, op.integers(size)), positive)
    return op.Equal(positive, op.constant(np.arange(size).reshape(shape)))


def _zeros(op: Builder, like: ir.Value) -> ir.Value:
    """Return zeros of the type and shape of `like`."""
    return op.expand(op.floats_like(like, 0.0), static_shape(like))
