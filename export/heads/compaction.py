"""Rows that a mask chooses, brought together in their order: without NonZero, Compress or CumSum.

TensorRT has no NonZero and no Compress; before 10.8 it builds CumSum as a loop.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape


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
    """The stable partition by a mask of zeros and ones, float32 (n,)."""
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
    """y_i = x_0 + ... + x_i of whole numbers, float32 (n,), exact below 2^24.

    By two small products: within the rows of a square, and over the sums of its rows.
    """
    (n,) = static_shape(values)
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    square = op.reshape(op.pad(values, [0], [height * width - n]), height, width)
    within = op.MatMul(square, op.constant(np.triu(np.ones((width, width), np.float32))))
    rows = op.slice_axis(within, 1, width - 1, width)
    before = op.MatMul(op.constant(np.tril(np.ones((height, height), np.float32), -1)), rows)
    return op.slice_axis(op.reshape(op.Add(within, before), height * width), 0, 0, n)
