"""What an order tells: order statistics, and the rows that a mask chooses, brought together in their order.

TensorRT's TopK returns 3840 values at most; a percentile of a million distances is counted down instead, by bisection.
TensorRT has no NonZero and no Compress; before 10.8 it builds CumSum as a loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

STEPS = 30
"""Halvings of a range of 44 powers of two after which its ends are neighbours in float32, wherever they lie."""


def in_order(op: Builder, values: ir.Value, count: int, axis: int = 0, largest: bool = False) -> ir.Value:
    """Return the `count` smallest values along an axis, in rising order; or the largest, falling."""
    ordered, _ = op.TopK(values, op.integers(count), axis=axis, largest=int(largest), sorted=1, _outputs=2)
    return ordered


def percentile(op: Builder, values: ir.Value, share: float) -> ir.Value:
    """Return `numpy.percentile(values, share)` of float32 (n,), linear, shape (1,); n - rank at most 3840."""
    (n,) = static_shape(values)
    position = (n - 1) * (share / 100)
    rank, part = math.floor(position), position % 1
    largest = in_order(op, values, n - rank, largest=True)
    low = op.slice_axis(largest, 0, n - rank - 1, n - rank)
    if not part:
        return low
    high = op.slice_axis(largest, 0, n - rank - 2, n - rank - 1)
    return op.Add(low, op.Mul(op.Sub(high, low), part))


def by_bisection(op: Builder, values: ir.Value, rank: ir.Value, least: float, most: float) -> tuple[ir.Value, ir.Value]:
    """Return `sorted(values)[rank]` and `[rank + 1]` of a matrix, float32, each (1, 1).

    The bracket (low, high] is halved on a logarithmic scale: [least, most] spans up to 44 powers of two. What is below
    `least` counts as alike. Counts are float32, exact to 2^24.

    Args:
        op: Builder of the graph.
        values: float32 (n, m), not negative.
        rank: float32 (1, 1), a whole number; that many values and one more are at most `most`.
        least: Lower end of the bracket, positive.
        most: Its upper end.
    """
    low, high = op.constant([[least]]), op.constant([[most]])
    for _ in range(STEPS):
        middle = op.Sqrt(op.Mul(low, high))
        enough = op.Greater(_count(op, _upto(op, values, middle)), rank)
        low, high = op.Where(enough, low, middle), op.Where(enough, middle, high)
    within = _upto(op, values, high)
    first = op.reduce("ReduceMax", op.Mul(values, within), [0, 1])
    above = op.reduce("ReduceMin", op.Add(values, op.Mul(within, 2 * most)), [0, 1])
    repeated = op.Greater(_count(op, within), op.Add(rank, 1.0))
    return first, op.Where(repeated, first, above)


def _upto(op: Builder, values: ir.Value, limit: ir.Value) -> ir.Value:
    """Return 1 where a value is at most `limit`, else 0."""
    return op.Cast(op.LessOrEqual(values, limit), to=ir.DataType.FLOAT)


def _count(op: Builder, mask: ir.Value) -> ir.Value:
    """Count the ones of a matrix, (1, 1); by rows first, which is faster on a CPU."""
    return op.sum(op.sum(mask, [1]), [0])


@dataclass(frozen=True)
class Partition:
    """The stable partition of n rows: those chosen first, each part in its order.

    Attributes:
        order: int64 (n,): the row that stands at each place.
        place: int64 (n,): the place where each row stands.
        count: float32 (1,): number of rows chosen.
    """

    order: ir.Value
    place: ir.Value
    count: ir.Value


def partition(op: Builder, chosen: ir.Value) -> Partition:
    """Return the stable partition by a mask of zeros and ones, float32 (n,)."""
    (n,) = static_shape(chosen)
    every = np.arange(n)
    upto = prefix_sums(op, chosen)
    count = op.slice_axis(upto, 0, n - 1, n)
    among_others = op.Add(op.Sub(op.constant(every.astype(np.float32)), upto), count)
    shift = op.Mul(chosen, op.Sub(op.Sub(upto, 1.0), among_others))
    place = op.Cast(op.Add(among_others, shift), to=ir.DataType.INT64)
    order = op.ScatterElements(op.constant(np.zeros(n, np.int64)), place, op.constant(every.astype(np.int64)), axis=0)
    return Partition(order, place, count)


def prefix_sums(op: Builder, values: ir.Value) -> ir.Value:
    """Return the sums y_i = x_0 + ... + x_i of whole numbers, float32 (n,), exact below 2^24.

    They come by two small products: within the rows of a square, and over the sums of its rows.
    """
    (n,) = static_shape(values)
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    square = op.reshape(op.pad(values, [0], [height * width - n]), height, width)
    within = op.MatMul(square, op.constant(np.triu(np.ones((width, width), np.float32))))
    rows = op.slice_axis(within, 1, width - 1, width)
    before = op.MatMul(op.constant(np.tril(np.ones((height, height), np.float32), -1)), rows)
    return op.slice_axis(op.reshape(op.Add(within, before), height * width), 0, 0, n)
