"""The table of adjoint rules, one per ONNX operator.

A rule gets the builder, the forward node and the cotangent of each of its outputs (None where no gradient arrives), and
returns one cotangent per input. None for an input means that no gradient can flow there. Broadcasting is the walk's
business: a rule may return a cotangent in the broadcast shape, the walk sums it down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import onnx_ir as ir

from aerocam.export.builder import Builder

Cotangents: TypeAlias = Sequence[ir.Value | None]
Rule: TypeAlias = Callable[..., Cotangents]

ADJOINTS: dict[str, Rule] = {}
"""Adjoint rule per operator, filled by `@adjoint`."""

NO_GRADIENT = frozenset(
    {
        "And", "ArgMax", "ArgMin", "Bernoulli", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
        "BlackmanWindow", "Ceil", "Constant", "ConstantOfShape", "ConvInteger", "Equal", "EyeLike", "Floor", "Greater",
        "GreaterOrEqual", "HammingWindow", "HannWindow", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual",
        "MatMulInteger", "MelWeightMatrix", "Multinomial", "NonMaxSuppression", "NonZero", "Not", "OneHot",
        "OptionalHasElement", "Or", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Round",
        "SequenceLength", "Shape", "Sign", "Size", "TfIdfVectorizer", "Xor",
    }
)  # fmt: skip
"""Operators whose derivative is zero wherever it exists: no gradient flows, by decision and not by omission."""


def adjoint(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule `(op: Builder, node: ir.Node, *dy: ir.Value | None) -> Cotangents` for `operators`."""

    def register(rule: Rule) -> Rule:
        for operator in operators:
            if operator in ADJOINTS:
                raise ValueError(f"{operator} has an adjoint rule already: {ADJOINTS[operator].__name__}")
            ADJOINTS[operator] = rule
        return rule

    return register


def tensor(node: ir.Node, index: int = 0) -> ir.Value:
    """Input `index` of a node, which must be there."""
    value = node.inputs[index]
    assert value is not None, f"{node.op_type} {node.name!r} has no input {index}"
    return value


__all__ = ["ADJOINTS", "NO_GRADIENT", "Builder", "Cotangents", "Rule", "adjoint", "tensor"]
