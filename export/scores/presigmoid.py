"""The logits of probabilities that were moved, chosen or joined behind their sigmoids, as further nodes of the graph.

A probability near 1 is 1 in float32, and the logit behind it is lost. What moved the probabilities is repeated on the
logits: a choice by TopK of probabilities takes the logits at its indices.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores.logits import reduced_axes
from aerocam.export.tracing.origins import CHOOSING, Part, parts_read

RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
KEEPING = frozenset({"Cast", "Dropout", "Identity"})
REPEATED = RESHAPING | KEEPING | CHOOSING | {"Concat", "Slice", "Split", "Transpose"}


def before_sigmoids(op: Builder, part: Part) -> ir.Value | None:
    """Return the logits of probabilities, shaped as they are; None where not all come from sigmoids.

    Args:
        op: Builder of the graph; nodes are appended also where there are no such logits.
        part: The probabilities.
    """
    node = part.value.producer()
    if part.op == "Sigmoid":
        return _cut(op, node.inputs[0], part)  # type: ignore[union-attr, arg-type]
    if node is None or part.op not in REPEATED or (before := parts_read(part)) is None:
        return None
    logits = [before_sigmoids(op, each) for each in before]
    if not logits or any(value is None for value in logits):
        return None
    return _repeated(op, node, part, before, logits)  # type: ignore[arg-type]


def _repeated(op: Builder, node: ir.Node, part: Part, before: list[Part], logits: list[ir.Value]) -> ir.Value | None:
    """Return what a node makes of logits in place of the probabilities that it reads."""
    first, axis = logits[0], _axis(node, part)
    if node.op_type in KEEPING:
        return op.cast_like(first, part.value)
    if node.op_type in RESHAPING:
        return op.reshape(first, *_shape(part))
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm", tuple(reversed(range(len(static_shape(first))))))
        return op.Transpose(first, perm=list(perm))
    if node.op_type == "Concat":
        return first if len(logits) == 1 else op.Concat(*logits, axis=axis)
    if node.op_type in ("Slice", "Split"):
        whole = static_shape(before[0].value)[axis] == static_shape(part.value)[axis]
        return first if whole or before[0].axis == axis else None
    if node.op_type == "ReduceMax":  # at equal ones that of the first, as ArgMax names it
        shares, axes = before[0].value, reduced_axes(node)
        if len(axes) != 1:
            return None
        best = op.ArgMax(shares, axis=axes[0], keepdims=1)
        return op.reshape(op.GatherElements(first, best, axis=axes[0]), *_shape(part))
    indices = node.outputs[1] if node.op_type == "TopK" else node.inputs[1]
    if node.op_type == "Gather":
        if before[0].axis == axis and constant_array(indices) is not None:  # of one position, which is cut out already
            return op.reshape(first, *_shape(part))
        return op.Gather(first, indices, axis=axis)
    return op.GatherElements(first, _cut(op, indices, part), axis=axis)  # type: ignore[arg-type]


def _axis(node: ir.Node, part: Part) -> int:
    """Return the axis along which a node joins, cuts or chooses, counted from the front; 0 for others."""
    if node.op_type == "Slice":
        return int(constant_array(node.inputs[3]).ravel()[0]) % len(static_shape(part.value))  # type: ignore[union-attr]
    rank = len(static_shape(node.inputs[0]))  # type: ignore[arg-type]
    return node.attributes.get_int("axis", -1 if node.op_type == "TopK" else 0) % rank


def _shape(part: Part) -> list[int]:
    shape = list(static_shape(part.value))
    if part.axis is not None:
        shape[part.axis] = part.stop - part.start
    return shape


def _cut(op: Builder, value: ir.Value, part: Part) -> ir.Value:
    """Return of a value what a part takes of its own."""
    return value if part.axis is None else op.slice_axis(value, part.axis, part.start, part.stop)
