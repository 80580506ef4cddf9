"""Distances between the maps of channels, in float32 as exact as their float64 reference.

Maps are scaled so that the longest has the norm `UNIT`. A coordinate x is then split into a whole number k and the
rest l, |l| <= 1/2: all products and sums of k are whole numbers below 2^24, exact in float32 in any order, and what
the rest adds is small. So |x - y|² comes out to about its last bit; x·x + y·y - 2 x·y in one product would lose the
distances of maps that are alike.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.cfcam_config import FLAT
from aerocam.export.nodes.builder import Builder

UNIT = 2.0**11
"""Norm of the longest map. Squared distances are at most 2^24."""

FAR = 2.0**25
"""Added to squared distances from rows that do not count: beyond every eps."""

ROUNDING = 2.0**-20
"""Squared distances below this share of what rounding could make of them count as zero."""

TINY = 1e-30
"""In place of a zero that is divided by."""


def shapes(op: Builder, maps: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return maps (C, P) less their means, at the norm `UNIT`; and (C, 1): 1 for a map that has a shape, else 0.

    The mean is taken off twice, so that what is left of a nearly constant map is right to its own last bits.
    """
    centred = _less_mean(op, _less_mean(op, maps))
    peak, length, unit = _normalised(op, centred)
    top, norm, _ = _normalised(op, maps)
    shaped = op.Greater(op.Mul(peak, length), op.Mul(op.Mul(top, norm), FLAT))
    return op.Mul(unit, op.Div(UNIT, op.Max(length, 1.0))), op.Cast(shaped, to=ir.DataType.FLOAT)


def scaled(op: Builder, rows: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Scale rows (n, P) by a power of two so that the longest norm is `UNIT` / 2 or more; return that too, (1, 1)."""
    peak = power_of_two(op, op.reduce("ReduceMax", op.Abs(rows), [0, 1]))
    unit = op.Mul(rows, peak)
    longest = op.Sqrt(op.reduce("ReduceMax", op.sum(op.Mul(unit, unit), [1]), [0]))
    factor = op.Mul(power_of_two(op, op.Max(longest, 1.0)), UNIT / 2)
    return op.Mul(unit, factor), op.Mul(factor, peak)


def squared_distances(op: Builder, rows: ir.Value, valid: ir.Value) -> ir.Value:
    """Return squared distances (n, n), symmetric, of rows (n, P) of norms up to `UNIT`; of invalid ones `FAR` or more.

    With x = k + l and y = p + q: |x - y|² = |k - p|² + (c_x - (2k + l)·q) + (c_y - (2p + q)·l), c_x = (2k + l)·l.
    The two brackets are one product and its transpose.
    """
    rows = op.Mul(rows, valid)
    whole = op.Round(rows)
    rest = op.Sub(rows, whole)
    ones = op.Add(op.Mul(valid, 0.0), 1.0)
    squares, small = op.sum(op.Mul(whole, whole), [1]), op.sum(op.Mul(rest, rest), [1])
    norms = op.Add(squares, op.Mul(op.Sub(1.0, valid), FAR))
    left = op.Concat(op.Mul(whole, -2.0), norms, ones, axis=1)
    exact = op.MatMul(left, op.Transpose(op.Concat(whole, ones, norms, axis=1), perm=[1, 0]))
    double = op.Add(op.Mul(whole, 2.0), rest)
    noise = op.Mul(op.Add(op.Sqrt(op.Mul(squares, small)), small), ROUNDING)
    own = op.Sub(op.sum(op.Mul(double, rest), [1]), noise)
    left = op.Concat(op.Neg(double), own, axis=1)
    half = op.MatMul(left, op.Transpose(op.Concat(rest, ones, axis=1), perm=[1, 0]))
    both = op.Sum(half, op.Transpose(half, perm=[1, 0]))
    return op.Max(
        op.Sum(exact, both), 0.0
    )  # ONNX Runtime would work an Add into the product, which loses its exactness


def power_of_two(op: Builder, peak: ir.Value) -> ir.Value:
    """Return the power of two that brings `peak`, (1, 1), to between 1 and 2: products with it are exact."""
    exponents = np.arange(-126, 127)
    reached = op.Cast(
        op.LessOrEqual(op.constant(np.exp2(exponents, dtype=np.float32)[None]), peak), to=ir.DataType.FLOAT
    )
    index = op.Cast(op.sum(reached, [1], keepdims=False), to=ir.DataType.INT64)
    return op.Gather(op.constant(np.exp2(-np.arange(-127, 127), dtype=np.float32)[:, None]), index, axis=0)


def _less_mean(op: Builder, rows: ir.Value) -> ir.Value:
    return op.Sub(rows, op.reduce("ReduceMean", rows, [1]))


def _normalised(op: Builder, rows: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return per row its largest magnitude, and norm and row in units of that; zeros stay zeros."""
    peak = op.reduce("ReduceMax", op.Abs(rows), [1])
    unit = op.Div(rows, op.Max(peak, TINY))
    return peak, op.Sqrt(op.sum(op.Mul(unit, unit), [1])), unit
