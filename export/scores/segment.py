"""A segmenter's score: the mean logit of a class over the positions where it is predicted."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, may_be_image, static_shape
from aerocam.export.scores.registry import (
    OUTPUT_ACTIVATIONS,
    TASKS,
    Chosen,
    Hints,
    ScoreSite,
    Task,
    before_cast,
    one_each,
    output_score,
    top_unless,
)
from aerocam.export.tracing.layout import CHANNEL, layouts
from aerocam.export.tracing.selection import Choice, select


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of the logits behind an output with one axis of classes and one or more of positions."""
    logits, activation, axis = before_cast(output), "none", None
    order = list(range(len(static_shape(output))))  # which axis of `logits` each axis of `output` is
    while (node := logits.producer()) is not None and node.op_type in ("Identity", "Transpose", *OUTPUT_ACTIVATIONS):
        logits = node.inputs[0]  # type: ignore[assignment]
        if node.op_type == "Transpose":
            perm = node.attributes.get_ints("perm", tuple(reversed(range(len(order)))))
            order = [perm[i] for i in order]
        elif node.op_type in OUTPUT_ACTIVATIONS:
            activation = OUTPUT_ACTIVATIONS[node.op_type]
            axis = node.attributes.get_int("axis", -1) % len(order) if node.op_type == "Softmax" else None
            break
    shape = static_shape(logits)
    if len(shape) < 3 or not is_float(logits):
        return None
    if axis is None:
        axis = order[_channel_axis(output, model)]
    if shape[0] != 1 or axis == 0:
        return None
    positions = int(np.prod(shape)) // shape[axis]
    class_axis = order.index(axis)
    score = manifest.Score(str(output.name), activation, shape[axis], anchors=positions, class_axis=class_axis)  # type: ignore[arg-type]
    return ScoreSite("segment", logits, score, axis=axis)


def _channel_axis(value: ir.Value, model: ir.Model) -> int:
    """Return the axis that is known to hold channels, 1 where none or several are."""
    layout_of = layouts(model.graph, [image for image in model.graph.inputs if may_be_image(image)])
    axes = [axis for axis, label in enumerate(layout_of.get(value) or ()) if label == CHANNEL]
    return axes[0] if len(axes) == 1 else 1


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return the logits of one class, weighted 1 / n at the n positions where it is predicted; if none, at the best."""
    classes, axis, count = site.score.classes, site.axis, site.score.targets
    rank = len(static_shape(site.logits))
    positions = [i for i in range(rank) if i != axis]
    best = op.reduce("ReduceMax", site.logits, positions)
    index = top_unless(op, op.reshape(best, 1, classes), target)
    op.output(index, manifest.CHOSEN)
    logits = select(op, site.logits, Choice(axis, index, 0, classes, keep))
    if classes == 1:
        predicted = op.Greater(logits, 0.0)
    else:
        winners = op.ArgMax(site.logits, axis=axis, keepdims=1)
        wanted = op.reshape(index, *(count if i == axis else 1 for i in range(rank)))
        predicted = op.Equal(op.Cast(winners, to=ir.DataType.INT32), wanted)
    mask = op.Cast(predicted, to=logits.dtype)
    best_position = op.Cast(op.Equal(logits, op.reduce("ReduceMax", logits, positions)), to=logits.dtype)
    mask = op.Where(op.Greater(op.sum(mask, positions), 0.0), mask, best_position)
    weights = op.Div(mask, op.sum(mask, positions))
    output_score(op, op.sum(op.Mul(logits, weights), positions), count)
    return one_each(op, logits, [axis], weights)


TASKS["segment"] = Task(find, choose, "(1, classes, H, W) with logits or probabilities")
