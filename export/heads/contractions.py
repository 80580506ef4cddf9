"""Linear operators in which channels meet for the first time: what each channel alone adds to the result.

One run of the operator has it for all channels together, where a batch of them would take one run each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import operator_name, tensor
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

Contraction: TypeAlias = Callable[[Builder, ir.Node, ir.Value, int], "ir.Value | None"]

CONTRACTIONS: dict[str, Contraction] = {}
"""Per operator: from a value of the form of input 0 and the axis of its channels to what each of them adds to the
output, (channels, *output); None where the node is of another form."""


def contraction(*operators: str) -> Callable[[Contraction], Contraction]:
    """Register what channels add to the output of `operators`."""

    def register(function: Contraction) -> Contraction:
        CONTRACTIONS.update(dict.fromkeys(operators, function))
        return function

    return register


def each_channel(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """What each channel of a value in the place of input 0 adds to the output, (channels, *output), or None.

    Args:
        op: Builder of the graph.
        node: A node; its other inputs are the same whatever the channels hold.
        value: Of the shape of input 0.
        axis: The axis of its channels.
    """
    rule = CONTRACTIONS.get(operator_name(node))
    return rule(op, node, value, axis) if rule is not None and len(node.outputs) == 1 else None


@contraction("Gemm", "MatMul")
def _product(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """Column c of A times row c of B."""
    shape, weight = static_shape(value), tensor(node, 1)
    turned = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]
    if axis != len(shape) - 1 or len(shape) < 2 or len(static_shape(weight)) != 2 or turned[0]:
        return None
    rows = op.Transpose(weight, perm=[1, 0]) if turned[1] else weight
    channels, columns = static_shape(rows)
    first = op.reshape(op.Transpose(value, perm=[axis, *range(axis)]), channels, *shape[:-1], 1)
    added = op.Mul(first, op.reshape(rows, channels, *(1,) * axis, columns))
    return op.scale(added, float(node.attributes.get_float("alpha", 1.0)))


@contraction("Conv")
def _conv(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """A group per channel, with that channel's part of every kernel."""
    weight, (n, channels) = tensor(node, 1), static_shape(value)[:2]
    if axis != 1 or n != 1 or node.attributes.get_int("group", 1) != 1:
        return None
    filters, _, *kernel = static_shape(weight)
    turned = op.Transpose(weight, perm=[1, 0, *range(2, len(kernel) + 2)])
    own = op.reshape(turned, channels * filters, 1, *kernel)
    attributes = {name: item.value for name, item in node.attributes.items()}
    found = op.Conv(value, own, **attributes | {"group": channels, "kernel_shape": kernel})
    return op.reshape(found, channels, *static_shape(node.outputs[0]))
