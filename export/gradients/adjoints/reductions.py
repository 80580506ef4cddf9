"""Adjoint rules of reductions and of running sums."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.operator_tables import axes_of_reduction
from aerocam.export.nodes.shapes import static_shape


def reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """Return the axes that a reduction reduces, counted from the front and in order; see `axes_of_reduction`."""
    axes = axes_of_reduction(node)
    if axes is None:
        raise refused(node, "its axes are computed at run time, constants are expected")
    return tuple(sorted(axes))


def _kept(op: Builder, node: ir.Node, value: ir.Value) -> ir.Value:
    """Return `value`, of the output's shape, with the reduced axes as 1, so that it broadcasts against X."""
    axes = reduced_axes(node)
    return op.reshape(value, *(1 if axis in axes else dim for axis, dim in enumerate(static_shape(tensor(node)))))


def _spread(op: Builder, node: ir.Node, dy: ir.Value, factor: float = 1.0) -> ir.Value:
    """Return `dy` times `factor`, broadcast over the reduced axes."""
    return op.expand(_kept(op, node, dy), static_shape(tensor(node)), factor)


def _only_x(node: ir.Node, dx: ir.Value) -> Cotangents:
    return [dx, *(None for _ in node.inputs[1:])]


@adjoint("ReduceSum")
def reduce_sum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sum of X over axes: dX = dY broadcast."""
    return _only_x(node, _spread(op, node, dy))


@adjoint("ReduceMean")
def reduce_mean(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = mean of X over axes, n entries: dX = dY / n broadcast."""
    shape = static_shape(tensor(node))
    count = int(np.prod([shape[axis] for axis in reduced_axes(node)]))
    return _only_x(node, _spread(op, node, dy, 1.0 / count))


@adjoint("ReduceMax", "ReduceMin")
def reduce_extremum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = max or min of X over axes: dX = dY / n at the n entries that equal Y, else 0 (PyTorch's `amax`, `amin`)."""
    x, axes = tensor(node), reduced_axes(node)
    if not axes:
        return _only_x(node, dy)
    hits = op.Equal(x, _kept(op, node, node.outputs[0]))
    share = op.Div(_kept(op, node, dy), op.sum(op.Cast(hits, to=x.dtype), axes))
    return _only_x(node, op.masked(share, hits))


@adjoint("ReduceL1")
def reduce_l1(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sum of |X| over axes: dX = dY * sign X (0 at 0, as in PyTorch)."""
    return _only_x(node, op.Mul(op.Sign(tensor(node)), _kept(op, node, dy)))


@adjoint("ReduceL2")
def reduce_l2(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sqrt of the sum of X^2 over axes: dX = X * dY / Y, 0 where Y is 0."""
    y = node.outputs[0]
    ratio = op.Where(op.Greater(y, 0.0), op.Div(dy, y), 0.0)
    return _only_x(node, op.Mul(tensor(node), _kept(op, node, ratio)))


@adjoint("ReduceSumSquare")
def reduce_sum_square(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sum of X^2 over axes: dX = 2 X * dY."""
    return _only_x(node, op.Mul(tensor(node), _kept(op, node, op.Mul(dy, 2.0))))


@adjoint("ReduceLogSum")
def reduce_log_sum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = log of the sum of X over axes: dX = dY / exp(Y) broadcast."""
    return _only_x(node, _spread(op, node, op.Div(dy, op.Exp(node.outputs[0]))))


@adjoint("ReduceLogSumExp")
def reduce_log_sum_exp(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = log of the sum of exp(X) over axes: dX = dY * exp(X - Y)."""
    y = _kept(op, node, node.outputs[0])
    return _only_x(node, op.Mul(op.Exp(op.Sub(tensor(node), y)), _kept(op, node, dy)))


@adjoint("ReduceProd")
def reduce_prod(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = product of X over axes: dX = dY * product of the other entries.

    P is the product of the entries that are not 0. The product of the others is P / X, for an entry that is 0 it is P,
    and it is 0 where another entry is 0.
    """
    x, axes = tensor(node), reduced_axes(node)
    if not axes:
        return _only_x(node, dy)
    zero = op.Equal(x, 0.0)
    safe, ones = op.Where(zero, 1.0, x), op.Cast(zero, to=x.dtype)
    others = op.Sub(op.sum(ones, axes), ones)
    product = op.Mul(_kept(op, node, dy), op.reduce("ReduceProd", safe, axes))
    return _only_x(node, op.Where(op.Greater(others, 0.0), 0.0, op.Div(product, safe)))


@adjoint("CumSum")
def cumsum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y_i = sum of X_j over j <= i along an axis: dX_j = sum of dY_i over i >= j; the other way round if reversed.

    Exclusive sums leave out j = i in both.
    """
    exclusive, backward = node.attributes.get_int("exclusive", 0), node.attributes.get_int("reverse", 0)
    return [op.CumSum(dy, tensor(node, 1), exclusive=exclusive, reverse=1 - backward), None]
