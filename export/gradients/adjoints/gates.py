"""Derivatives of functions that pass a value on between two bounds and cut it off at them: 1 inside, else 0.

In float32 they are written without comparisons, by HardSigmoid(X) = min(max(alpha X + beta, 0), 1). ONNX Runtime runs
it in the layout that its convolutions use among themselves; for an operator with truth values it turns activations and
gradients into ONNX's layout and back, which takes longer than the operator itself. Slopes are small enough for float16.
"""

from __future__ import annotations

import math

import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.nodes.builder import Builder, constant_array

STEEPEST = 15
"""Exponent of two of the steepest slope."""

DIGITS = 24
"""Binary digits of a float32."""

FINE = 2.0 ** (DIGITS - 2 * STEEPEST)
"""Bounds smaller than this in size have neighbours nearer than two slopes can tell apart: they take a third."""


def gated(op: Builder, dy: ir.Value, y: ir.Value, low: ir.Value | None, high: ir.Value | None) -> ir.Value:
    """Return dY where low < Y < high, else 0; a bound may be None.

    In float32 with constant bounds, slopes in sequence take even the number next to a bound to 1; where a bound is
    smaller than 2^-6 in size, every number from 2^-45 inside. Other types and computed bounds are compared.
    """
    bounds = {sign: bound for sign, bound in ((1, low), (-1, high)) if bound is not None}
    numbers = {sign: array.item() for sign, array in _known(bounds).items() if array.size == 1}
    if y.dtype != ir.DataType.FLOAT or numbers.keys() != bounds.keys():
        inside = [op.Greater(y, low)] if low is not None else []
        inside += [op.Less(y, high)] if high is not None else []
        return op.masked(dy, op.And(*inside) if len(inside) == 2 else inside[0]) if inside else dy
    slopes = [_slope(op, y, sign, bound) for sign, bound in numbers.items() if math.isfinite(bound)]
    if not slopes:
        return dy
    gate = op.Mul(*slopes) if len(slopes) == 2 else slopes[0]
    for _ in range(2 if min(map(abs, numbers.values())) < FINE else 1):
        gate = op.HardSigmoid(gate, alpha=2.0**STEEPEST, beta=0.0)
    return op.Mul(dy, gate)


def one_minus(op: Builder, share: ir.Value) -> ir.Value:
    """Return 1 - `share`, for a share in [0, 1]."""
    if share.dtype != ir.DataType.FLOAT:
        return op.Sub(1.0, share)
    return op.HardSigmoid(share, alpha=-1.0, beta=1.0)


def _known(bounds: dict[int, ir.Value]) -> dict[int, NDArray]:
    """Return the values of those bounds that are constants."""
    arrays = {sign: constant_array(bound) for sign, bound in bounds.items()}
    return {sign: array for sign, array in arrays.items() if array is not None}


def _slope(op: Builder, y: ir.Value, sign: int, bound: float) -> ir.Value:
    """Return a slope of Y: 0 at the bound, at least 2^-15 at the next number inside it, 1 soon after.

    It is steep by a power of two, so that the product is exact, and so is the difference near the bound.
    """
    exponent = STEEPEST if bound == 0 else min(DIGITS - STEEPEST - math.frexp(bound)[1] + 1, STEEPEST)
    slope = sign * 2.0**exponent
    return op.HardSigmoid(y, alpha=slope, beta=-slope * bound)
