"""A segmenter's score: the mean logit of a class over the positions where it is predicted."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, may_be_image, static_shape
from aerocam.export.scores.logits import chosen_from, logits_behind
from aerocam.export.scores.registry import TASKS, Chosen, Hints, ScoreSite, Task, one_each, output_score, top_unless
from aerocam.export.tracing.layout import CHANNEL, layouts
from aerocam.export.tracing.selection import Choice, select


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of the logits behind an output with one axis of classes and one or more of positions."""
    output = chosen_from(output)
    rank = len(static_shape(output)) if is_static(output) else 0
    if rank < 3 or not is_float(output):
        return None
    channel = _channel_axis(output, model)
    behind = logits_behind(output, 1 if channel is None else channel)
    shape, axes = static_shape(behind.value), behind.axes
    axis = behind.axis if behind.axis is not None else -1 if channel is None else axes[channel]
    if axis not in axes or shape[0] != 1 or axis == 0 or behind.others:
        return None
    positions, class_axis = int(np.prod(shape)) // shape[axis], axes.index(axis)
    score = manifest.Score(str(output.name), behind.activation, shape[axis], anchors=positions, class_axis=class_axis)
    return ScoreSite("segment", behind.value, score, axis=axis, output=output, is_direct=behind.is_direct)


def _channel_axis(value: ir.Value, model: ir.Model) -> int | None:
    """Return the one axis that is known to hold channels, 1 where nothing is known of the axes, else None."""
    layout_of = layouts(model.graph, [image for image in model.graph.inputs if may_be_image(image)])
    labels = layout_of.get(value) or ()
    axes = [axis for axis, label in enumerate(labels) if label == CHANNEL]
    return axes[0] if len(axes) == 1 else None if labels and not axes else 1


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


FORM = "(1, classes, H, W) with logits or probabilities (numbers at positions are `task='regress'`)"
"""What an output has to be, for the error message."""

TASKS["segment"] = Task(find, choose, FORM)
