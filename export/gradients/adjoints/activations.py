"""Adjoint rules of activation functions and of softmax."""

from __future__ import annotations

import math

import onnx_ir as ir

from aerocam.export.gradients.adjoints.gates import gated, one_minus
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, tensor


@adjoint("Relu")
def relu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max(X, 0): dX = dY where Y > 0, else 0 (0 at the kink, as in PyTorch)."""
    y = node.outputs[0]
    return [gated(op, dy, y, op.floats_like(y, 0.0), None)]


@adjoint("Sigmoid")
def sigmoid(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = 1 / (1 + exp(-X)): dX = dY * Y * (1 - Y)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Mul(y, one_minus(op, y)))]


@adjoint("Tanh")
def tanh_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = tanh(X): dX = dY * (1 - Y^2)."""
    y = node.outputs[0]
    return [op.Mul(dy, op.Sub(1.0, op.Mul(y, y)))]


@adjoint("LeakyRelu")
def leaky_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X where X > 0, else alpha X: dX = dY where X > 0, else alpha dY (also at the kink, as in PyTorch)."""
    alpha = node.attributes.get_float("alpha", 0.01)
    positive = op.Cast(op.Greater(tensor(node), 0.0), to=dy.dtype)
    return [op.Mul(dy, op.Add(op.Mul(positive, 1.0 - float(alpha)), float(alpha)))]


@adjoint("PRelu")
def prelu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X where X > 0, else slope * X: dX = dY or slope * dY; dslope = 0 or X * dY."""
    x, slope = tensor(node), tensor(node, 1)
    positive = op.Greater(x, 0.0)
    return [op.Where(positive, dy, op.Mul(dy, slope)), op.Where(positive, 0.0, op.Mul(dy, x))]


@adjoint("ThresholdedRelu")
def thresholded_relu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X where X > alpha, else 0: dX = dY where X > alpha, else 0."""
    alpha = node.attributes.get_float("alpha", 1.0)
    x = tensor(node)
    return [gated(op, dy, x, op.floats_like(x, float(alpha)), None)]


@adjoint("Elu")
def elu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X where X > 0, else alpha (exp(X) - 1): dX = dY where X > 0, else dY * (Y + alpha)."""
    alpha = node.attributes.get_float("alpha", 1.0)
    return [_exponential(op, node, dy, 1.0, float(alpha))]


@adjoint("Selu")
def selu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = gamma X where X > 0, else gamma alpha (exp(X) - 1): dX = gamma dY, else dY * (Y + gamma alpha)."""
    alpha = node.attributes.get_float("alpha", 1.67326319217681884765625)
    gamma = node.attributes.get_float("gamma", 1.05070102214813232421875)
    return [_exponential(op, node, dy, float(gamma), float(gamma * alpha))]


def _exponential(op: Builder, node: ir.Node, dy: ir.Value, slope: float, floor: float) -> ir.Value:
    """Return `dy` times `slope` where X > 0, else times Y + `floor`."""
    x, y = tensor(node), node.outputs[0]
    above = op.floats_like(x, slope)
    return op.Mul(dy, op.Where(op.Greater(x, 0.0), above, op.Add(y, floor)))


@adjoint("Celu")
def celu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X where X > 0, else alpha (exp(X / alpha) - 1): dX = dY * (1 + min(Y, 0) / alpha)."""
    y = node.outputs[0]
    alpha = node.attributes.get_float("alpha", 1.0)
    return [op.Mul(dy, op.Add(op.scale(op.Min(y, 0.0), 1.0 / alpha), 1.0))]


@adjoint("HardSigmoid")
def hard_sigmoid(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = min(max(alpha X + beta, 0), 1): dX = alpha dY where 0 < Y < 1, else 0 (0 at the kinks, as in PyTorch)."""
    y = node.outputs[0]
    alpha = node.attributes.get_float("alpha", 0.2)
    return [gated(op, op.Mul(dy, float(alpha)), y, op.floats_like(y, 0.0), op.floats_like(y, 1.0))]


@adjoint("HardSwish")
def hard_swish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * min(max(X / 6 + 1/2, 0), 1): dX = dY * (X / 3 + 1/2) where -3 < X < 3, 0 below and dY above.

    0 at -3 and dY at 3, as in PyTorch; its versions up to 2.6 give -dY / 2 at -3.
    """
    x = tensor(node)
    middle = op.And(op.Greater(x, -3.0), op.Less(x, 3.0))
    slope = op.masked(op.Add(op.Mul(x, 1.0 / 3.0), 0.5), middle)
    return [op.Mul(dy, op.Add(slope, op.Cast(op.GreaterOrEqual(x, 3.0), to=dy.dtype)))]


@adjoint("Softplus")
def softplus(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = log(1 + exp(X)): dX = dY / (1 + exp(-X))."""
    return [op.Mul(dy, op.Sigmoid(tensor(node)))]


@adjoint("Softsign")
def softsign(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / (1 + |X|): dX = dY / (1 + |X|)^2."""
    below = op.Add(op.Abs(tensor(node)), 1.0)
    return [op.Div(op.Div(dy, below), below)]


@adjoint("Mish")
def mish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * T, T = tanh(log(1 + exp(X))): dX = dY * (T + (X - Y * T) / (1 + exp(-X)))."""
    x, y = tensor(node), node.outputs[0]
    t = op.Tanh(op.Softplus(x))
    return [op.Mul(dy, op.Add(t, op.Mul(op.Sub(x, op.Mul(y, t)), op.Sigmoid(x))))]


@adjoint("Swish")
def swish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * S, S = 1 / (1 + exp(-alpha X)): dX = dY * (S + alpha Y * (1 - S))."""
    x, y = tensor(node), node.outputs[0]
    alpha = float(node.attributes.get_float("alpha", 1.0))
    s = op.Sigmoid(op.scale(x, alpha))
    return [op.Mul(dy, op.Add(s, op.Mul(op.scale(y, alpha), one_minus(op, s))))]


@adjoint("Gelu")
def gelu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * P, P = (1 + erf(X / sqrt 2)) / 2: dX = dY * (P + X * exp(-X^2 / 2) / sqrt(2 pi)).

    With approximate="tanh" P = (1 + T) / 2, T = tanh(k (X + c X^3)): dX = dY * (P + Y * (1 - T) * k (1 + 3 c X^2)).
    """
    x, y = tensor(node), node.outputs[0]
    square = op.Mul(x, x)
    if node.attributes.get_string("approximate", "none") == "tanh":
        k, c = math.sqrt(2 / math.pi), 0.044715
        square = op.Min(square, 100.0)  # T is 1 or -1 from there on; no infinity in float16, of which 0 times is NaN
        t = op.Tanh(op.Mul(x, op.Add(op.Mul(square, k * c), k)))
        bell = op.Mul(op.Mul(y, op.Sub(1.0, t)), op.Add(op.Mul(square, 3 * k * c), k))
    else:
        t = op.Erf(op.Mul(x, math.sqrt(0.5)))
        bell = op.Mul(op.Mul(x, 1 / math.sqrt(2 * math.pi)), op.Exp(op.Mul(square, -0.5)))
    return [op.Mul(dy, op.Add(op.Add(op.Mul(t, 0.5), 0.5), bell))]


@adjoint("Softmax")
def softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = exp(X) / sum exp(X): dX = Y * (dY - sum(dY * Y)), summed over the softmax axis.

    Attention whose rows may be masked as a whole gets NaN there, and a Where behind it takes that out again: Y is 0.
    """
    y, axis = node.outputs[0], node.attributes.get_int("axis", -1)
    readers = [user for user, _ in y.uses()]
    casts = [user for reader in readers if reader.op_type == "Cast" for user, _ in reader.outputs[0].uses()]
    if any(reader.op_type == "Where" for reader in (*readers, *casts)):
        y = op.Where(op.IsNaN(y), 0.0, y)
    return [op.Mul(y, op.Sub(dy, op.sum(op.Mul(dy, y), [axis])))]


@adjoint("LogSoftmax")
def log_softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X - log sum exp(X): dX = dY - exp(Y) * sum(dY), summed over the softmax axis."""
    y, axis = node.outputs[0], node.attributes.get_int("axis", -1)
    return [op.Sub(dy, op.Mul(op.Exp(y), op.sum(dy, [axis])))]
