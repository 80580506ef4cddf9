"""Patterns of several nodes that are one function, whose derivative takes fewer steps than those of its nodes."""

from __future__ import annotations

from collections.abc import Collection, Container

import onnx_ir as ir

from aerocam.export.gradients.adjoints.gates import one_minus
from aerocam.export.gradients.adjoints.registry import Builder, operator_name, tensor


def swish_input(node: ir.Node, path: Container[ir.Node], layers: Collection[ir.Value]) -> ir.Value | None:
    """X where a node is X * Sigmoid(X); None elsewhere, and where the Sigmoid needs a gradient of its own.

    Args:
        node: Of the path.
        path: The nodes that are differentiated.
        layers: What they are differentiated with respect to.
    """
    if operator_name(node) != "Mul":
        return None
    for i in (0, 1):
        x, gate = node.inputs[i], tensor(node, 1 - i)
        inner = gate.producer()
        if inner is None or operator_name(inner) != "Sigmoid" or inner.inputs[0] is not x or gate in layers:
            continue
        if all(user is node or user not in path for user, _ in gate.uses()):
            return x
    return None


def swish_of_product(op: Builder, node: ir.Node, x: ir.Value, dy: ir.Value) -> ir.Value:
    """Y = X * S, S = 1 / (1 + exp(-X)): dX = dY * (S + Y * (1 - S)).

    X is not read, so that only S and Y have to be kept, and the factor of dY is worked out apart from it.
    """
    gate = tensor(node, 1) if node.inputs[0] is x else tensor(node)
    return op.Mul(dy, op.Add(gate, op.Mul(node.outputs[0], one_minus(op, gate))))
