"""Relevance rules of products and quotients of two tensors, and which factor of a product is a gate.

A gate is a constant to the walk: the other factor, the signal, takes all. Of two factors that both depend on the input,
the first of these that fits decides:

1. one is a function, entry by entry, of the tensor that the other is or is a multiple of: x Sigmoid(x), x (1 + Erf(x))
   and the like are activations written out;
2. exactly one is a Sigmoid, HardSigmoid, Softmax, Reciprocal or Clip to [0, 1], whatever views and constants follow it;
3. of an entrywise product, the one with fewer entries, which is spread over the other: one number per channel, per
   position.

Otherwise both are signals, and have half each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import NO_GRADIENT, STOPPED, Builder, Cotangents, operator_name, tensor
from aerocam.export.gradients.autodiff import carries_gradient, values_read
from aerocam.export.gradients.relevance.registry import passed, relevance, stabilised
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_float, static_shape

GATES = frozenset({"HardSigmoid", "Reciprocal", "Sigmoid", "Softmax"})
"""Operators whose results serve as weights of something else."""

SCALING = frozenset({"Cast", "Div", "Dropout", "Identity", "Mul", "Neg"})
"""Operators that give multiples of a tensor, if their other input is a constant."""

SHIFTING = SCALING | {"Add", "Sub", "Where"}
"""Operators after which a gate is still one: a Where puts a constant in place of what is no number."""

VIEWS = frozenset({"Expand", "Flatten", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"})

ENTRYWISE = SHIFTING | {
    "Abs", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Min",
    "Mish", "Pow", "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sum", "Swish", "Tanh",
}  # fmt: skip
"""Operators that activations written out consist of."""


def varies(value: ir.Value | None) -> bool:
    """Return whether a value depends on the picture, other than by steps (a row of a weight, chosen by an index)."""
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if value is None or value in seen:
            continue
        seen.add(value)
        if value.is_graph_input() and value.name not in (manifest.TARGET, manifest.REFERENCE):
            return True
        node = value.producer()
        if node is not None and not _is_step(node, value):
            waiting += values_read(node)
    return False


def _is_step(node: ir.Node, value: ir.Value) -> bool:
    """Return whether a node turns real numbers into integers, or has no gradient."""
    if operator_name(node) in NO_GRADIENT:
        return True
    return not carries_gradient(value) and any(x is not None and is_float(x) for x in node.inputs)


def shares(node: ir.Node, factors: Sequence[ir.Value]) -> list[float | None]:
    """Return the share of a product's relevance that each factor takes: 1, 1/2, ..., None for a constant or a gate."""
    varying = [i for i, factor in enumerate(factors) if varies(factor)]
    if len(varying) == 2 and node.op_type == "Mul":
        gate = _gate(*(factors[i] for i in varying))
        signals = [i for position, i in enumerate(varying) if position != gate]
    else:
        signals = [i for i in varying if not _is_gate(factors[i])] or varying
    return [1 / len(signals) if i in signals else None for i in range(len(factors))]


def _gate(a: ir.Value, b: ir.Value) -> int | None:
    """Return which factor of an entrywise product is the gate, 0 or 1; None where neither is."""
    for i, (signal, other) in enumerate(((a, b), (b, a))):
        if _is_function_of(other, _unscaled(signal)):
            return 1 - i
    if _is_gate(a) != _is_gate(b):
        return 0 if _is_gate(a) else 1
    entries = [int(np.prod(static_shape(value), dtype=int)) for value in (a, b)]
    return None if entries[0] == entries[1] else int(np.argmin(entries))


def _is_gate(value: ir.Value) -> bool:
    """Return whether a value is the result of a gate's function, followed by views and constants at most."""
    node = value.producer()
    while node is not None and not node.domain:
        if node.op_type in GATES or _is_unit_clip(node):
            return True
        following = _source(node, SHIFTING) if node.op_type not in VIEWS else tensor(node)
        node = following.producer() if following is not None else None
    return False


def _is_unit_clip(node: ir.Node) -> bool:
    """Return whether a node is a Clip to [0, 1]."""
    bounds = [constant_array(x) for x in node.inputs[1:]] if node.op_type == "Clip" else []
    return len(bounds) == 2 and all(b is not None and np.all(b == i) for i, b in enumerate(bounds))


def _source(node: ir.Node, operators: frozenset[str]) -> ir.Value | None:
    """Return the one input of a node of `operators` that depends on the picture; None for other nodes and forms."""
    if node.domain or node.op_type not in operators:
        return None
    varying = [x for x in node.inputs if x is not None and varies(x)]
    return varying[0] if len(varying) == 1 and (node.op_type != "Div" or varying[0] is node.inputs[0]) else None


def _unscaled(value: ir.Value) -> ir.Value:
    """Return the tensor that a value is a multiple of."""
    node = value.producer()
    while node is not None and (source := _source(node, SCALING)) is not None:
        value, node = source, source.producer()
    return value


def _is_function_of(value: ir.Value, x: ir.Value) -> bool:
    """Return whether each entry of `value` depends on the picture through the same entry of `x` alone."""
    seen, waiting = {x}, [value]
    while waiting:
        value = waiting.pop()
        if value in seen or not varies(value):
            continue
        seen.add(value)
        node = value.producer()
        if node is None or node.domain or node.op_type not in ENTRYWISE or static_shape(value) != static_shape(x):
            return False
        waiting += [read for read in node.inputs if read is not None]
    return True


def _shared(op: Builder, node: ir.Node, dy: ir.Value, factors: int) -> Cotangents:
    """Return the adjoint of a product with the cotangent of each factor times its share."""
    cotangents = ADJOINTS[node.op_type](op, node, dy)
    parts = shares(node, [tensor(node, i) for i in range(factors)])
    shared = [
        STOPPED if part is None or dx is None else op.scale(dx, part)
        for part, dx in zip(parts, cotangents, strict=False)
    ]
    return [*shared, *cotangents[factors:]]


@relevance("Mul")
def mul(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A B: M_A = B M_C for the signal A, nothing for the gate B; half of both for two signals."""
    return _shared(op, node, dy, 2)


@relevance("Div")
def div(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """C = A / B: M_A = M_C / B, B a constant; of a constant A: as a function of B."""
    if varies(tensor(node)):
        return [op.Div(dy, tensor(node, 1)), STOPPED]
    return [None, passed(op, node, dy, 1)]


@relevance("MatMul", "Gemm")
def matrix_product(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = A B + C: with the stabiliser, M_A = M_Y B^T and M_B = A^T M_Y, times their shares; C, if any, has M_Y."""
    return _shared(op, node, stabilised(op, node, dy), 2)


@relevance("Einsum")
def einsum(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = Einsum(A, B, ...): with the stabiliser, M_A is the adjoint times A's share, and so on for B, ..."""
    return _shared(op, node, stabilised(op, node, dy), len(node.inputs))


@relevance("Attention")
def attention(op: Builder, node: ir.Node, dy: ir.Value | None, *others: ir.Value | None) -> Cotangents:
    """Y = P V: M_V = P^T M_Y, P, the probabilities, a constant: nothing for queries, keys and mask."""
    multiplier = dy if dy is None else stabilised(op, node, dy)
    dv = ADJOINTS["Attention"](op, node, multiplier, *others)[2]
    return [dv if i == 2 else STOPPED for i in range(len(node.inputs))]
