"""What the finders share: columns of an output, and the tensor of logits behind them."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_channels_last, is_float, may_be_image, static_shape
from aerocam.export.scores.logits import OUTPUT_ACTIVATIONS
from aerocam.export.scores.registry import ScoreSite
from aerocam.export.tracing.origins import ACTIVATIONS, ARITHMETIC, CHOOSING, MOVING, Part, origins

BOX = 4
"""Columns of a box, in front of all others."""

LINEAR = frozenset({"Conv", "MatMul", "Gemm", "Add"})
"""Operators whose output is a prediction as a head gives it out, not decoded yet (Add: a bias)."""


@dataclass(frozen=True)
class Table:
    """An output (1, columns, anchors) or (1, anchors, columns).

    Attributes:
        value: The output.
        axis: The axis of the columns, 1 or 2.
    """

    value: ir.Value
    axis: int

    @property
    def columns(self) -> int:
        """Return the number of columns."""
        return static_shape(self.value)[self.axis]

    @property
    def anchors(self) -> int:
        """Return the number of anchors."""
        return static_shape(self.value)[3 - self.axis]

    def origins(self, start: int, stop: int, through: Set[str] = MOVING) -> list[Part]:
        """Return the parts that columns `start` to `stop` are made of."""
        return origins(Part(self.value, self.axis, start, stop), through)

    def is_activated(self, start: int, stop: int, by: Set[str] = frozenset({"Sigmoid"})) -> bool:
        """Return whether columns `start` to `stop` all come from activations in `by`, or are constant."""
        parts = self.origins(start, stop)
        return all(part.op in by or constant_array(part.value) is not None for part in parts)

    def is_linear(self, start: int, stop: int) -> bool:
        """Return whether columns `start` to `stop` all come straight from linear layers."""
        return all(
            part.op in LINEAR and all(_is_weighted(y) for y in _terms(part.value)) for part in self.origins(start, stop)
        )


def _terms(value: ir.Value) -> list[ir.Value]:
    """Return the terms of a sum without its constants, or the value alone where it is no sum."""
    node = value.producer()
    if node is None or node.op_type != "Add":
        return [value]
    return [x for x in node.inputs if x is not None and constant_array(x) is None]


def _is_weighted(value: ir.Value) -> bool:
    """Return whether a layer with constant weights computes a value."""
    node = value.producer()
    return node is not None and node.op_type in LINEAR and any(constant_array(x) is not None for x in node.inputs)


def tables(output: ir.Value, *axes: int) -> list[Table]:
    """Return an output as tables, with its columns on each of `axes`; none where it has another form."""
    shape = static_shape(output)
    if len(shape) != 3 or shape[0] != 1 or not is_float(output):
        return []
    return [Table(output, axis) for axis in axes if shape[axis] > 1]


def box_tensors(table: Table) -> tuple[ir.Value, ...]:
    """Return the tensors that the boxes, the first columns of a table, are computed from."""
    through = MOVING | CHOOSING | ACTIVATIONS | ARITHMETIC
    return tuple(part.value for part in table.origins(0, BOX, through))


def are_queries(boxes: Table, model: ir.Model) -> bool:
    """Return whether boxes are those of queries: sigmoids, or computed behind deformable attention (D-FINE)."""
    sigmoids = all(part.op == "Sigmoid" for part in boxes.origins(0, BOX))
    return sigmoids or is_deformable(model)


def is_deformable(model: ir.Model) -> bool:
    """Return whether anything is sampled at computed places, as deformable attention does."""
    return any(node.op_type == "GridSample" for node in model.graph)


def image_size(model: ir.Model) -> tuple[int, int]:
    """Return (height, width) of the input, (0, 0) where it is no picture."""
    shapes = [static_shape(value) for value in model.graph.inputs if may_be_image(value)]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        return 0, 0
    _, first, second, third = shapes[0]
    return (first, second) if is_channels_last(shapes[0]) else (second, third)


def score_site(table: Table, score: manifest.Score, boxes: Table, place: manifest.Boxes | None) -> ScoreSite:
    """Return the site of the class scores that are columns of a table from `score.class_offset` on.

    Its logits are the tensor before the activation where there is one tensor for all anchors and classes, else the
    table itself: its logits, or its probabilities. Where the graph shows no activation, `score` has the last word.
    """
    columns = score.classes if score.background is None else max(score.classes, score.background + 1)
    parts = table.origins(score.class_offset, score.class_offset + columns)
    activations = {OUTPUT_ACTIVATIONS[part.op] for part in parts if part.op in ACTIVATIONS}
    whole = len(activations) == 1 and all(part.op in ACTIVATIONS for part in parts)
    if whole:
        score = replace(score, activation=next(iter(activations)))
    is_share = score.activation != "none"
    at_output = ScoreSite(
        "detect", table.value, score, box_tensors(boxes), table.axis, score.class_offset, is_share, place
    )
    node = parts[0].value.producer()
    shape = static_shape(parts[0].value)
    if not whole or len(parts) > 1 or node is None or score.objectness is not None or not parts[0].is_whole:
        return at_output
    axis = parts[0].axis
    if axis is None:  # reshaped on the way: the axis with as many entries as there are columns, if it is one of two
        axis = next((i for i in (1, 2) if shape[i] == columns), 0) if len(shape) == 3 else 0
    fits = len(shape) == 3 and axis > 0 and shape[axis] == columns and shape[3 - axis] == table.anchors
    if node.op_type == "Softmax" and node.attributes.get_int("axis", -1) % len(shape) != axis:
        fits = False
    if not fits or node.inputs[0] is None:
        return at_output
    return replace(at_output, logits=node.inputs[0], axis=axis, start=0, is_share=False, is_direct=True)
