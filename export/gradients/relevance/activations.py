"""Relevance rules of functions that work entry by entry on one tensor: all relevance passes, M_X = Y / X M_Y."""

from __future__ import annotations

import math

import onnx_ir as ir

from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import STOPPED, Builder, Cotangents, tensor
from aerocam.export.gradients.relevance.products import varies
from aerocam.export.gradients.relevance.registry import passed, relevance
from aerocam.export.nodes.builder import constant_array


@relevance(
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "HardSigmoid", "Log",
    "Reciprocal", "Selu", "Sigmoid", "Sin", "Sinh", "Softplus", "Sqrt", "Tan", "Tanh",
)  # fmt: skip
def function_of_one(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = f(X): M_X = Y / (X + ε sign X) M_Y."""
    return [passed(op, node, dy)]


@relevance("Clip")
def clip(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = min(max(X, lo), hi): M_X = Y / (X + ε sign X) M_Y, of ReLU6 6 / X from X = 6 on; without hi from 0: ReLU."""
    low, high = (*node.inputs[1:], None, None)[:2]
    bound = constant_array(low)
    from_zero = bound is not None and not bound.any()
    if high is None and (low is None or from_zero):
        return ADJOINTS["Clip"](op, node, dy)
    return [passed(op, node, dy, nonnegative=from_zero), *(None for _ in node.inputs[1:])]


@relevance("Pow")
def power(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X^P: M_X = Y / (X + ε sign X) M_Y, P a constant; of a constant X: as a function of P."""
    if varies(tensor(node)):
        return [passed(op, node, dy), STOPPED]
    return [None, passed(op, node, dy, 1)]


@relevance("Max", "Min")
def extremum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max or min of X and constants: M_X = Y / (X + ε sign X) M_Y; of several tensors the winner takes all."""
    varying = [i for i in range(len(node.inputs)) if varies(tensor(node, i))]
    if len(varying) != 1 or len(node.inputs) == 1:
        return ADJOINTS[node.op_type](op, node, dy)
    return [passed(op, node, dy, i) if i in varying else None for i in range(len(node.inputs))]


@relevance("HardSwish")
def hard_swish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * min(max(X / 6 + 1/2, 0), 1): M_X = M_Y times the second factor."""
    return [op.Mul(dy, op.HardSigmoid(tensor(node), alpha=1 / 6, beta=0.5))]


@relevance("Swish")
def swish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / (1 + exp(-alpha X)): M_X = M_Y times the Sigmoid."""
    return [op.Mul(dy, op.Sigmoid(op.scale(tensor(node), float(node.attributes.get_float("alpha", 1.0)))))]


@relevance("Mish")
def mish(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * tanh(log(1 + exp(X))): M_X = M_Y times the second factor."""
    return [op.Mul(dy, op.Tanh(op.Softplus(tensor(node))))]


@relevance("Gelu")
def gelu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X * P, P = (1 + erf(X / sqrt 2)) / 2, or, approximated, (1 + tanh(k (X + c X^3))) / 2: M_X = M_Y P."""
    x = tensor(node)
    if node.attributes.get_string("approximate", "none") == "tanh":
        k, c = math.sqrt(2 / math.pi), 0.044715
        square = op.Min(op.Mul(x, x), 100.0)  # P is 0 or 1 from there on
        p = op.Tanh(op.Mul(x, op.Add(op.Mul(square, k * c), k)))
    else:
        p = op.Erf(op.Mul(x, math.sqrt(0.5)))
    return [op.Mul(dy, op.Add(op.Mul(p, 0.5), 0.5))]


@relevance("Softsign")
def softsign(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X / (1 + |X|): M_X = M_Y / (1 + |X|)."""
    return [op.Div(dy, op.Add(op.Abs(tensor(node)), 1.0))]
