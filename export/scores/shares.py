"""The logit of a probability, where that logit is no tensor of the graph.

The probability p is differentiated in its place, with the seed 1 / (p (1 - p)): the derivative of logit(p), so that a
sigmoid's own derivative on the way cancels. The score that leaves the graph is logit(p) then, and relevance starts with
the multiplier logit(p) / p.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.nodes.builder import NARROW, Builder

SMALLEST, SMALLEST_NARROW = 1e-30, 2.0**-14
"""Least p and p (1 - p) to divide by, in float32 and in float16; below, gradients fade instead of overflowing."""

LARGEST = 1 - 2.0**-24
"""Largest p below 1 in float32."""


def logit(op: Builder, p: ir.Value) -> ir.Value:
    """Return log(p / (1 - p)), finite."""
    p = op.Clip(op.widened(p), SMALLEST, LARGEST)
    return op.Sub(op.Log(p), op.Log(op.Sub(1.0, p)))


def logit_slope(op: Builder, p: ir.Value) -> ir.Value:
    """Return 1 / (p (1 - p)), finite."""
    return op.Reciprocal(op.Max(op.Mul(p, op.Sub(1.0, p)), _smallest(p)))


def logit_ratio(op: Builder, p: ir.Value) -> ir.Value:
    """Return log(p / (1 - p)) / p, finite."""
    return op.cast_like(op.Div(logit(op, p), op.Max(op.widened(p), _smallest(p))), p)


def _smallest(value: ir.Value) -> float:
    return SMALLEST_NARROW if value.dtype in NARROW else SMALLEST
