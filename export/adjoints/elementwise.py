"""Adjoint rules of operators that work entry by entry. Broadcast inputs are summed down by the walk."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.adjoints.registry import Builder, Cotangents, adjoint, tensor


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
    """Y = X in another floating-point type: dX = dY in X's type."""
    return [op.Cast(dy, to=tensor(node).dtype)]


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


@adjoint("Relu")
def relu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max(X, 0): dX = dY where Y > 0, else 0 (0 at the kink, as in PyTorch)."""
    return [op.Where(op.Greater(node.outputs[0], 0.0), dy, 0.0)]


@adjoint("Clip")
def clip(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = min(max(X, lo), hi): dX = dY where lo <= X <= hi, else 0 (the bounds count as inside, as in PyTorch)."""
    x, *bounds = node.inputs
    low, high = (*bounds, None, None)[:2]
    inside = [op.GreaterOrEqual(x, low)] if low is not None else []
    inside += [op.LessOrEqual(x, high)] if high is not None else []
    if not inside:
        return [dy]
    mask = inside[0] if len(inside) == 1 else op.And(*inside)
    return [op.Where(mask, dy, 0.0), *(None for _ in bounds)]


@adjoint("Sigmoid")
def sigmoid(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = 1 / (1 + exp(-X)): dX = dY * Y * (1 - Y)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Mul(y, op.Sub(1.0, y)))]
