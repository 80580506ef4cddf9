"""A detector's score: the logit of a class at an anchor."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.builder import Builder
from aerocam.export.scores.registry import TASKS, Chosen, ScoreSite, Task, one_each, output_score
from aerocam.export.selection import Choice, select
from aerocam.export.shapes import static_shape

BOX_ROWS = 4
"""Rows before the class scores in an Ultralytics detection output (1, 4 + classes, anchors)."""


def find(output: ir.Value, model: ir.Model) -> ScoreSite | None:
    """The class logits before an output (1, 4 + classes, anchors) of Ultralytics' form."""
    node = output.producer()
    shape = static_shape(output)
    if len(shape) != 3 or shape[0] != 1 or node is None or node.op_type != "Concat" or len(node.inputs) != 2:
        return None
    if node.attributes["axis"].as_int() % 3 != 1:
        return None
    boxes, scores = node.inputs
    assert boxes is not None
    assert scores is not None
    last = scores.producer()
    if static_shape(boxes)[1] != BOX_ROWS or last is None or last.op_type != "Sigmoid" or last.inputs[0] is None:
        return None
    classes, anchors = static_shape(scores)[1:]
    score = manifest.Score(str(output.name), "sigmoid", classes, class_offset=BOX_ROWS, anchors=anchors)
    return ScoreSite("detect", last.inputs[0], score, boxes)


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """One class's logit at one anchor; the target is [class, anchor]."""
    classes, anchors, count = site.score.classes, site.score.anchors, site.score.targets
    wanted = op.reshape(target, count, 2)
    wanted_class, wanted_anchor = (op.reshape(op.slice_axis(wanted, 1, i, i + 1), count, 1, 1) for i in range(2))

    def allowed(wanted: ir.Value, count: int, *shape: int) -> ir.Value:
        positions = op.constant(np.arange(count, dtype=np.int32).reshape(shape))
        return op.Or(op.Equal(positions, wanted), op.Less(wanted, op.constant(np.int32(0))))

    mask = op.And(allowed(wanted_class, classes, classes, 1), allowed(wanted_anchor, anchors, 1, anchors))
    grid = op.reshape(site.logits, classes, anchors)
    lowest = op.floats_like(grid, np.finfo(np.float16 if grid.dtype == ir.DataType.FLOAT16 else np.float32).min)
    flat = op.reshape(op.Where(mask, grid, lowest), count, classes * anchors)
    best = op.ArgMax(flat, axis=1, keepdims=1)
    label = op.Div(best, op.integers(anchors))
    anchor = op.Sub(best, op.Mul(label, op.integers(anchors)))
    chosen = op.reshape(op.Concat(label, anchor, axis=1), 2 * count)
    op.output(op.Cast(chosen, to=ir.DataType.INT32), manifest.CHOSEN)
    output_score(op, op.GatherElements(flat, best, axis=1), count)
    label, anchor = op.reshape(label, count), op.reshape(anchor, count)
    row = select(op, site.logits, Choice(1, label, 0, classes, keep))
    return one_each(op, select(op, row, Choice(2, anchor, 0, anchors, keep)), [1, 2])


TASKS["detect"] = Task(
    find,
    choose,
    "(1, 4 + classes, anchors), boxes joined with sigmoids of class logits as Ultralytics has them",
    width=2,
)
