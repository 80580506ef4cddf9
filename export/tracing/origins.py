"""Where entries of a tensor come from: back through operators that only move or choose numbers."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_float, is_static, static_shape

MOVING = frozenset(
    {
        "Cast", "Concat", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Slice",
        "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators whose outputs hold entries of their inputs, each at a known position, as they are or rounded."""

CHOOSING = frozenset({"Gather", "GatherElements", "ReduceMax", "TopK"})
"""Operators whose first output holds entries of their first input, at positions computed at run time."""

ACTIVATIONS = frozenset({"Sigmoid", "Softmax"})

ARITHMETIC = frozenset({"Add", "Div", "Exp", "Mul", "Pow", "Sqrt", "Sub"})
"""Operators whose output is computed entry by entry, as a box is from what a head gives out."""


@dataclass(frozen=True)
class Part:
    """Some entries of a tensor.

    Attributes:
        value: The tensor.
        axis: The axis along which the entries are chosen; None: all of the tensor.
        start: Their first index on that axis.
        stop: One more than the last.
    """

    value: ir.Value
    axis: int | None = None
    start: int = 0
    stop: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether nothing of the tensor is left out."""
        return self.axis is None or (self.start, self.stop) == (0, static_shape(self.value)[self.axis])

    @property
    def op(self) -> str:
        """Return the operator that computes the tensor; "" for an input or a constant."""
        node = self.value.producer()
        return node.op_type if node is not None and node.domain == "" else ""


def origins(part: Part, through: Set[str] = MOVING) -> list[Part]:
    """Return the parts that `part` is made of, each computed by an operator that is not in `through`.

    Args:
        part: A part of a tensor with a static shape.
        through: Operators to look behind, of `MOVING`, `CHOOSING`, `ACTIVATIONS` and `ARITHMETIC`. Where one of them
            mixes positions up, so that the part has no counterpart in its input, its output is an origin.
    """
    seen, waiting, ends = {part}, [part], []
    while waiting:
        current = waiting.pop()
        before = parts_read(current) if current.op in through else None
        if before is None:
            ends.append(current)
            continue
        new = [other for other in dict.fromkeys(before) if other not in seen]
        seen.update(new)
        waiting += reversed(new)
    return ends


def parts_read(part: Part) -> list[Part] | None:
    """Return the parts of the node's inputs that a part of its output is made of, None where they are not known."""
    node = part.value.producer()
    if node is None or not all(x is None or is_static(x) for x in node.inputs):
        return None
    return STEPS.get(node.op_type, _same)(node, part)


Step: TypeAlias = Callable[[ir.Node, Part], "list[Part] | None"]


def _same(node: ir.Node, part: Part) -> list[Part] | None:
    """Return the same entries of the first input."""
    return [Part(_first(node), part.axis, part.start, part.stop)]


def _first(node: ir.Node) -> ir.Value:
    assert node.inputs[0] is not None
    return node.inputs[0]


def _cast(node: ir.Node, part: Part) -> list[Part] | None:
    """Return the same entries, of a Cast between floats alone: a class that becomes a float was no score before."""
    return _same(node, part) if is_float(_first(node)) and is_float(part.value) else None


def _arithmetic(node: ir.Node, part: Part) -> list[Part] | None:
    """Return the same entries of every computed input that is as long; all of one that is broadcast."""
    parts, rank = [], len(static_shape(part.value))
    for x in node.inputs:
        if x is None or constant_array(x) is not None:
            continue
        axis = None if part.axis is None else part.axis - (rank - len(static_shape(x)))
        cut = axis is not None and axis >= 0 and static_shape(x)[axis] == static_shape(part.value)[part.axis]  # type: ignore[index]
        parts.append(Part(x, axis, part.start, part.stop) if cut else Part(x))
    return parts or None


def _transpose(node: ir.Node, part: Part) -> list[Part] | None:
    if part.axis is None:
        return [Part(_first(node))]
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(static_shape(part.value))))))
    return [Part(_first(node), perm[part.axis], part.start, part.stop)]


def _reshape(node: ir.Node, part: Part) -> list[Part] | None:
    """Follow an axis that survives: as many entries lie before it, and it is as long."""
    x = _first(node)
    if part.is_whole:
        return [Part(x)]
    assert part.axis is not None
    before, after = static_shape(x), static_shape(part.value)
    lead = int(np.prod(after[: part.axis], dtype=int))
    for axis, length in enumerate(before):
        if length == after[part.axis] and int(np.prod(before[:axis], dtype=int)) == lead:
            return [Part(x, axis, part.start, part.stop)]
    return None


def _concat(node: ir.Node, part: Part) -> list[Part] | None:
    axis = node.attributes["axis"].as_int() % len(static_shape(part.value))
    inputs = [x for x in node.inputs if x is not None]
    if part.axis != axis:
        return [Part(x, part.axis, part.start, part.stop) for x in inputs]
    parts, offset = [], 0
    for x in inputs:
        length = static_shape(x)[axis]
        start, stop = max(part.start - offset, 0), min(part.stop - offset, length)
        if start < stop:
            parts.append(Part(x, axis, start, stop))
        offset += length
    return parts


def _split(node: ir.Node, part: Part) -> list[Part] | None:
    axis = node.attributes.get_int("axis", 0) % len(static_shape(part.value))
    first = sum(static_shape(y)[axis] for y in node.outputs[: node.outputs.index(part.value)])
    return [_cut(part, _first(node), axis, first)]


def _cut(part: Part, x: ir.Value, axis: int, first: int) -> Part:
    """Return what `part` of a piece of `x` is in `x`; the piece begins at `first` on `axis`."""
    if part.axis not in (None, axis):
        return Part(x, part.axis, part.start, part.stop)
    start, stop = (0, static_shape(part.value)[axis]) if part.axis is None else (part.start, part.stop)
    return Part(x, axis, first + start, first + stop)


def _slice(node: ir.Node, part: Part) -> list[Part] | None:
    x = _first(node)
    bounds = [constant_array(value) for value in node.inputs[1:]]
    if len(bounds) < 3 or any(array is None for array in bounds) or len(np.ravel(bounds[2])) != 1:  # type: ignore[arg-type]
        return None
    start, stop, axis, *step = (int(np.ravel(array)[0]) for array in bounds)  # type: ignore[arg-type]
    axis %= len(static_shape(x))
    picked = range(static_shape(x)[axis])[start : stop : step[0] if step else 1]
    return [_cut(part, x, axis, picked.start)] if picked.step == 1 else None


def _choosing(node: ir.Node, part: Part) -> list[Part] | None:
    """Return the whole input, or the same part of it where the choice is along another axis; no index is followed."""
    x = _first(node)
    axis = node.attributes.get_int("axis", -1 if node.op_type == "TopK" else 0) % len(static_shape(x))
    if part.value is not node.outputs[0]:
        return None
    if node.op_type == "Gather" and (index := constant_array(node.inputs[1])) is not None and index.size == 1:
        position = range(static_shape(x)[axis])[int(index.ravel()[0])]
        return [Part(x, axis, position, position + 1)] if part.is_whole else None
    if part.is_whole:
        return [Part(x)]
    same_rank = len(static_shape(x)) == len(static_shape(part.value))
    return [Part(x, part.axis, part.start, part.stop)] if same_rank and part.axis != axis else None


def _largest(node: ir.Node, part: Part) -> list[Part] | None:
    return [Part(_first(node))] if part.is_whole else None


STEPS: dict[str, Step] = {
    **dict.fromkeys(ARITHMETIC, _arithmetic),
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _choosing,
    "GatherElements": _choosing,
    "ReduceMax": _largest,
    "TopK": _choosing,
}
"""How to look behind an operator; None where positions are mixed up. Others hold the same entries."""
