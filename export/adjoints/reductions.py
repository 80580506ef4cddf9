"""Adjoint rules of reductions and of softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.export.adjoints.registry import Builder, Cotangents, adjoint, tensor
from aerocam.export.builder import constant_array
from aerocam.export.shapes import static_shape


def reduced_axes(node: ir.Node) -> tuple[int, ...]:
    """The axes a reduction works over, counted from the front; from its attribute or its second input."""
    rank = len(static_shape(tensor(node)))
    axes = node.attributes.get_ints("axes", ())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        assert array is not None, f"{node.op_type} {node.name!r} has computed axes"
        axes = tuple(int(axis) for axis in array)
    return tuple(sorted(axis % rank for axis in axes)) or tuple(range(rank))


def _spread(op: Builder, node: ir.Node, dy: ir.Value, factor: float = 1.0) -> ir.Value:
    """`dy` times a number, broadcast over the reduced axes."""
    shape, axes = static_shape(tensor(node)), reduced_axes(node)
    kept = [1 if axis in axes else dim for axis, dim in enumerate(shape)]
    return op.expand(op.reshape(dy, *kept), shape, factor)


@adjoint("ReduceSum")
def reduce_sum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = sum of X over axes: dX = dY broadcast."""
    return [_spread(op, node, dy), *(None for _ in node.inputs[1:])]


@adjoint("ReduceMean")
def reduce_mean(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = mean of X over axes, n entries: dX = dY / n broadcast."""
    shape = static_shape(tensor(node))
    count = int(np.prod([shape[axis] for axis in reduced_axes(node)]))
    return [_spread(op, node, dy, 1.0 / count), *(None for _ in node.inputs[1:])]


@adjoint("Softmax")
def softmax(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = exp(X) / sum exp(X): dX = Y * (dY - sum(dY * Y)), summed over the softmax axis."""
    y, axis = node.outputs[0], node.attributes.get_int("axis", -1)
    return [op.Mul(y, op.Sub(dy, op.sum(op.Mul(dy, y), [axis])))]
