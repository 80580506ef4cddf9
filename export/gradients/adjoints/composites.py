"""Patterns of several nodes that are one function, whose derivative takes fewer steps than those of its nodes.

A further pattern is one more entry of `COMPOSITES`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from aerocam.export.gradients.adjoints.gates import one_minus
from aerocam.export.gradients.adjoints.registry import ADJOINTS, Builder, Rule, operator_name, tensor


@dataclass(frozen=True)
class Composite:
    """A pattern that ends at one node and is a function of one tensor.

    Attributes:
        operators: The operators of the pattern, that of its last node first.
        find: Returns X where a node of the first operator ends the pattern, and None elsewhere. Its arguments are the
            node, the nodes that are differentiated, and the values they are differentiated with respect to. A value
            within the pattern must be read by no other of these nodes, and be none of these values.
        adjoint: Appends the cotangent of X, of its shape; its arguments are the builder, the last node, X and the
            cotangent of the last node's output.
    """

    operators: tuple[str, ...]
    find: Callable[[ir.Node, Container[ir.Node], Collection[ir.Value]], ir.Value | None]
    adjoint: Callable[[Builder, ir.Node, ir.Value, ir.Value], ir.Value]


def find_composite(
    node: ir.Node, path: Container[ir.Node], layers: Collection[ir.Value], rules: Mapping[str, Rule]
) -> tuple[Composite, ir.Value] | None:
    """Return the pattern that ends at a node, and its X; None where there is none.

    Args:
        node: Of the path.
        path: The nodes that are differentiated.
        layers: What they are differentiated with respect to.
        rules: The table of rules of the walk. A composite stands for the adjoints of its operators, so it applies
            where the table has these for all of them.
    """
    for composite in COMPOSITES:
        if composite.operators[0] == operator_name(node) and all(
            rules.get(name) is ADJOINTS.get(name) for name in composite.operators
        ):
            x = composite.find(node, path, layers)
            if x is not None:
                return composite, x
    return None


def swish_input(node: ir.Node, path: Container[ir.Node], layers: Collection[ir.Value]) -> ir.Value | None:
    """Return X where a Mul is X * Sigmoid(X); None elsewhere, and where the Sigmoid needs a gradient of its own."""
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


COMPOSITES = (Composite(("Mul", "Sigmoid"), swish_input, swish_of_product),)
"""The patterns, the first that fits is taken."""
