"""Adjoint rules of operators that work entry by entry. Broadcast inputs are summed down by the walk."""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.gates import gated
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_float


@adjoint("Identity")
def identity(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X: dX = dY."""
    return [dy]


@adjoint("Dropout")
def dropout(op: Builder, node: ir.Node, dy: ir.Value, _mask: ir.Value | None = None) -> Cotangents:
    """Y = X at inference: dX = dY."""
    return [dy, *(None for _ in node.inputs[1:])]


@adjoint("Cast")
def cast(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X in another floating-point type: dX = dY in X's type; of integers that stand for real numbers, dX = dY."""
    return [op.Cast(dy, to=tensor(node).dtype) if is_float(tensor(node)) else dy]


@adjoint("Add")
def add(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A + B: dA = dB = dC."""
    return [dy, dy]


@adjoint("Sum")
def sum_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X1 + X2 + ...: every dX = dY."""
    return [dy for _ in node.inputs]


@adjoint("Sub")
def sub(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A - B: dA = dC, dB = -dC."""
    return [dy, op.Neg(dy)]


@adjoint("Mul")
def mul(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A * B: dA = dC * B, dB = dC * A."""
    a, b = node.inputs
    return [op.Mul(dy, b), op.Mul(dy, a)]


@adjoint("Div")
def div(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A / B: dA = dC / B, dB = -dC * C / B."""
    b, c = tensor(node, 1), node.outputs[0]
    da = op.Div(dy, b)
    return [da, op.Neg(op.Mul(da, c))]


@adjoint("Neg")
def neg(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = -X: dX = -dY."""
    return [op.Neg(dy)]


@adjoint("Clip")
def clip(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = min(max(X, lo), hi): dX = dY where lo < Y < hi, else 0 (0 at the bounds, as of relu6).

    So in PyTorch and TensorFlow; PyTorch's `clamp` passes dY at the bounds themselves, and ONNX writes both as Clip.
    X is not read: a runtime may fuse the Clip with the Conv before it.
    """
    _, *bounds = node.inputs
    y = node.outputs[0]
    low, high = (*bounds, None, None)[:2]
    return [gated(op, dy, y, low, high), *(None for _ in bounds)]


@adjoint("Pow")
def pow_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X^P: dX = dY * P * X^(P - 1), 0 where P is 0; dP = dY * Y * log X where X > 0, else 0."""
    x, p, y = tensor(node), tensor(node, 1), node.outputs[0]
    constant = constant_array(p)
    if constant is not None:
        return [_times_power(op, dy, x, constant.astype(np.float64)), None]
    exponent = p if p.dtype == x.dtype else op.Cast(p, to=x.dtype)
    slope = op.Mul(exponent, op.Pow(x, op.Sub(exponent, 1.0)))
    dx = op.Mul(dy, op.Where(op.Equal(exponent, 0.0), 0.0, slope))
    if not is_float(p):
        return [dx, None]
    return [dx, op.Where(op.Greater(x, 0.0), op.Mul(dy, op.Mul(y, op.Log(x))), 0.0)]


def _times_power(op: Builder, dy: ir.Value, x: ir.Value, p: np.ndarray) -> ir.Value:
    """Return `dy` times the derivative of x^p, p constant; where p is 0 the power is x^0, to avoid 0 * inf at 0."""
    if (p == 1).all():
        return dy
    scaled = op.Mul(dy, op.floats_like(x, p))
    if (p == 2).all():
        return op.Mul(scaled, x)
    return op.Mul(scaled, op.Pow(x, op.floats_like(x, np.where(p == 0, 0, p - 1))))


@adjoint("Sqrt")
def sqrt_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sqrt(X): dX = dY / (2 Y)."""
    return [op.Div(dy, op.Mul(node.outputs[0], 2.0))]


@adjoint("Reciprocal")
def reciprocal(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = 1 / X: dX = -dY * Y^2."""
    y = node.outputs[0]
    return [op.Neg(op.Mul(op.Mul(dy, y), y))]


@adjoint("Exp")
def exp_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = exp(X): dX = dY * Y."""
    return [op.Mul(dy, node.outputs[0])]


@adjoint("Log")
def log_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = log(X): dX = dY / X."""
    return [op.Div(dy, tensor(node))]


@adjoint("Erf")
def erf_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = erf(X): dX = dY * 2 / sqrt(pi) * exp(-X^2)."""
    x = tensor(node)
    return [op.Mul(dy, op.Mul(op.Exp(op.Neg(op.Mul(x, x))), 2 / math.sqrt(math.pi)))]


@adjoint("Abs")
def abs_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = |X|: dX = dY * sign X (0 at 0, as in PyTorch)."""
    return [op.Mul(dy, op.Sign(tensor(node)))]


@adjoint("Mod")
def mod(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A - B * trunc(A / B), for floats (fmod=1): dA = dC, dB = -dC * trunc(A / B) = dC * (C - A) / B."""
    a, b, c = tensor(node), tensor(node, 1), node.outputs[0]
    return [dy, op.Mul(dy, op.Div(op.Sub(c, a), b))]


@adjoint("Where")
def where(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = A where the condition holds, else B: dA = dY where it holds, else 0; dB the other way round."""
    condition = tensor(node)
    return [None, op.masked(dy, condition), op.masked(dy, op.Not(condition))]


@adjoint("Mean")
def mean(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = (X1 + ... + Xn) / n: every dX = dY / n."""
    share = op.scale(dy, 1.0 / len(node.inputs))
    return [share for _ in node.inputs]


@adjoint("Max", "Min")
def extremum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max(X1, ..., Xn) or min: dY goes to the input that is Y, in equal parts to inputs that tie.

    PyTorch's `maximum` and `minimum` halve a tie of two, too; they take no more inputs.
    """
    inputs = [tensor(node, i) for i in range(len(node.inputs))]
    if len(inputs) == 1:
        return [dy]
    if len(inputs) == 2:
        a, b = inputs
        a_wins, tie = op.Greater(a, b) if node.op_type == "Max" else op.Less(a, b), op.Equal(a, b)
        share = op.Add(op.Cast(a_wins, to=dy.dtype), op.Mul(op.Cast(tie, to=dy.dtype), 0.5))
        return [op.Mul(dy, share), op.Mul(dy, op.Sub(1.0, share))]
    wins = op.GreaterOrEqual if node.op_type == "Max" else op.LessOrEqual
    # not Equal(x, Y): where a runtime computes float16 in float32, x may reach the two differently rounded
    hits = [functools.reduce(op.And, [wins(x, other) for other in inputs if other is not x]) for x in inputs]
    share = op.Div(dy, op.Sum(*(op.Cast(hit, to=dy.dtype) for hit in hits)))
    return [op.masked(share, hit) for hit in hits]


@adjoint("Sin")
def sin_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sin(X): dX = dY * cos X."""
    return [op.Mul(dy, op.Cos(tensor(node)))]


@adjoint("Cos")
def cos_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = cos(X): dX = -dY * sin X."""
    return [op.Neg(op.Mul(dy, op.Sin(tensor(node))))]


@adjoint("Tan")
def tan_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = tan(X): dX = dY * (1 + Y^2)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Add(op.Mul(y, y), 1.0))]


@adjoint("Sinh")
def sinh_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sinh(X): dX = dY * cosh X."""
    return [op.Mul(dy, op.Cosh(tensor(node)))]


@adjoint("Cosh")
def cosh_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = cosh(X): dX = dY * sinh X."""
    return [op.Mul(dy, op.Sinh(tensor(node)))]


@adjoint("Asin", "Acos")
def asin_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = asin(X) or acos(X): dX = dY / sqrt(1 - X^2), for acos with the other sign."""
    x = tensor(node)
    dx = op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x))))
    return [dx if node.op_type == "Asin" else op.Neg(dx)]


@adjoint("Atan")
def atan_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = atan(X): dX = dY / (1 + X^2)."""
    x = tensor(node)
    return [op.Div(dy, op.Add(op.Mul(x, x), 1.0))]


@adjoint("Asinh", "Acosh")
def asinh_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = asinh(X) or acosh(X): dX = dY / sqrt(X^2 + 1), for acosh dY / sqrt(X^2 - 1)."""
    x = tensor(node)
    return [op.Div(dy, op.Sqrt(op.Add(op.Mul(x, x), 1.0 if node.op_type == "Asinh" else -1.0)))]


@adjoint("Atanh")
def atanh_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = atanh(X): dX = dY / (1 - X^2)."""
    x = tensor(node)
    return [op.Div(dy, op.Sub(1.0, op.Mul(x, x)))]
