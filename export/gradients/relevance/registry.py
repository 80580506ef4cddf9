"""The table of relevance rules, and the two steps that many of them have in common."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, Rule, refused, tensor
from aerocam.export.nodes.operator_tables import decorator_of

EPSILON = 1e-9
"""The stabiliser ε, absolute, in units of the tensor, as captum's `EpsilonRule` has it by default.

In float32 it may be so small: no weighted sum divides by z alone, and what is 0 stays 0. The shares of float16 models
are computed in float32.
"""

RELEVANCE: dict[str, Rule] = {}
"""Relevance rule per operator, filled by `@relevance`; as a table of rules for `differentiate`."""

WITHOUT_RULE: dict[str, str] = {
    "Mod": "the rest of a division is no sum that its inputs make up",
    "QLinearConv": "export the model with QuantizeLinear and DequantizeLinear instead",
    "QLinearMatMul": "export the model with QuantizeLinear and DequantizeLinear instead",
    "ReduceLogSum": "a logarithm of a sum has no shares",
    "ReduceLogSumExp": "a logarithm of a sum has no shares",
    "ReduceProd": "a product of many has no shares",
    "Softmax": "what it weighs takes the relevance, and here that does not depend on the picture",
}
"""Operators with an adjoint but no relevance rule, and why."""


relevance = decorator_of(RELEVANCE)
"""Registers a rule for some operators; it is of the form of an adjoint rule and carries multipliers."""


def stabilised(op: Builder, node: ir.Node, dy: ir.Value) -> ir.Value:
    """Return the multiplier of Y times |Y| / (|Y| + ε): the share of its relevance that a weighted sum passes on.

    Where a ReLU alone reads Y, its output is read in place of Y: it differs only where the multiplier is 0, and a
    runtime may fuse the two.
    """
    y = node.outputs[0]
    users = list(y.uses())
    if len(users) == 1 and users[0][0].op_type == "Relu" and not users[0][0].domain:
        size = op.widened(users[0][0].outputs[0])
    else:
        size = op.Abs(op.widened(y))
    return op.Mul(dy, op.cast_like(op.Div(size, op.Add(size, EPSILON)), dy))


def passed(op: Builder, node: ir.Node, dy: ir.Value, i: int = 0, nonnegative: bool = False) -> ir.Value:
    """Return the multiplier of X, input `i` of Y = f(X): that of Y times Y / (X + ε sign X), 0 where X is 0.

    Args:
        op: Builder of the graph.
        node: The node that computes Y.
        dy: Multiplier of Y.
        i: Index of the input.
        nonnegative: Whether Y is 0 wherever X is negative; the sign is left out then.
    """
    x, y = op.widened(tensor(node, i)), op.widened(node.outputs[0])
    signed = y if nonnegative else op.Mul(y, op.Sign(x))
    return op.Mul(dy, op.cast_like(op.Div(signed, op.Add(op.Abs(x), EPSILON)), dy))


def no_rule(op: Builder, node: ir.Node, *dys: ir.Value | None) -> Cotangents:
    """Raise UnsupportedOperatorError for an operator in `WITHOUT_RULE`."""
    raise refused(node, f"relevance has no rule for it ({WITHOUT_RULE[node.op_type]}); export without `relevance`")


RELEVANCE.update(dict.fromkeys(WITHOUT_RULE, no_rule))
