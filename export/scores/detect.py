"""A detector's score: the logit of a class at an anchor, before sigmoid or softmax and before any suppression.

Where that logit is no tensor of the graph (YOLOv5 and YOLOX apply sigmoids scale by scale before they join them,
YOLOv10 chooses among probabilities), what was done behind the sigmoids is done again with the logits; see `presigmoid`.
Where no sigmoid is found, it is the logit of the probability; see `shares`.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores.detectors import find
from aerocam.export.scores.presigmoid import before_sigmoids
from aerocam.export.scores.registry import TASKS, Chosen, ScoreSite, Task, one_each, output_score
from aerocam.export.scores.shares import logit, logit_ratio, logit_slope
from aerocam.export.tracing.origins import Part
from aerocam.export.tracing.selection import Choice, select


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return one class's logit at one anchor; the target is [class, anchor].

    -1 is the class or anchor of the greatest probability, objectness included. Where each anchor has one class, the
    anchor decides, and a class that no anchor has leads to the best one of all; the output `CHOSEN` says so.
    """
    score, axes = site.score, [site.axis, 3 - site.axis]
    wanted = op.reshape(target, score.targets, 2)
    label, anchor = (op.slice_axis(wanted, 1, i, i + 1) for i in range(2))
    best = _best_entry(op, site, label, anchor) if score.label_at is None else _best_row(op, site, label, anchor)
    label, anchor, value = best
    shares, site = site.logits, _explained(op, site) if site.is_share else site
    classes = op.Add(label, op.integers(site.start)) if site.start else label
    start, stop = site.start, site.start + score.classes
    if score.label_at is not None:
        classes, stop, axes = op.integers(start), start + 1, axes[1:]
    row = select(op, site.logits, Choice(site.axis, classes, start, stop, keep))
    chosen = select(op, row, Choice(3 - site.axis, anchor, 0, score.anchors, keep))
    if site.logits is not shares:
        value = _own_entries(op, chosen, score.targets)
    output_score(op, logit(op, value) if site.is_share else value, score.targets)
    if not site.is_share:
        return one_each(op, chosen, axes)
    slope, ratio = (one_each(op, chosen, axes, weight(op, chosen)) for weight in (logit_slope, logit_ratio))
    return Chosen(chosen, slope.seed, ratio.seed)


def _explained(op: Builder, site: ScoreSite) -> ScoreSite:
    """Return a site of probabilities as one of the logits behind them, or as it is where they are not found."""
    stop = site.start + (site.score.classes if site.score.label_at is None else 1)
    logits = before_sigmoids(op, Part(site.logits, site.axis, site.start, stop))
    return site if logits is None else replace(site, logits=logits, start=0, is_share=False)


def _own_entries(op: Builder, chosen: ir.Value, count: int) -> ir.Value:
    """Return the entry of each target, (targets,), of those that were chosen for all: a row, or a diagonal."""
    flat = op.reshape(chosen, int(np.prod(static_shape(chosen))))
    (entries,) = static_shape(flat)
    return flat if entries == count else op.Gather(flat, op.integers(*range(0, entries, count + 1)), axis=0)


Best = tuple[ir.Value, ir.Value, ir.Value]
"""Class, int64 (targets,), anchor, int64 (targets,), and the entry of the logits there, (1, targets)."""


def _best_entry(op: Builder, site: ScoreSite, label: ir.Value, anchor: ir.Value) -> Best:
    """Return the best of the entries that the target allows; `label` and `anchor` are int32 (targets, 1)."""
    score, count = site.score, site.score.targets
    sizes = [score.classes, score.anchors] if site.axis == 1 else [score.anchors, score.classes]

    def allowed(wanted: ir.Value, axis: int, never: int | None = None) -> ir.Value:
        shape = [sizes[i] if i == axis - 1 else 1 for i in range(2)]
        positions = op.constant(np.arange(sizes[axis - 1], dtype=np.int32).reshape(1, *shape))
        wanted = op.reshape(wanted, count, 1, 1)
        free = op.Less(wanted, op.constant(np.int32(0)))
        if never is not None and never < sizes[axis - 1]:
            free = op.And(free, op.Not(op.Equal(positions, op.constant(np.int32(never)))))
        return op.Or(op.Equal(positions, wanted), free)

    mask = op.And(allowed(label, site.axis, score.background), allowed(anchor, 3 - site.axis))
    key, entries = _preference(op, site)
    lowest = op.floats_like(key, np.finfo(np.float16 if key.dtype == ir.DataType.FLOAT16 else np.float32).min)
    flat = op.reshape(op.Where(mask, key, lowest), count, sizes[0] * sizes[1])
    best = op.reshape(op.ArgMax(flat, axis=1, keepdims=1), count)
    first = op.Div(best, op.integers(sizes[1]))
    second = op.Sub(best, op.Mul(first, op.integers(sizes[1])))
    chosen = (first, second) if site.axis == 1 else (second, first)
    _output_choice(op, *chosen, count)
    return *chosen, op.Gather(op.reshape(entries, 1, sizes[0] * sizes[1]), best, axis=1)


def _preference(op: Builder, site: ScoreSite) -> tuple[ir.Value, ir.Value]:
    """Return what the model ranks entries by, and the entries themselves; both hold the classes alone."""
    score = site.score
    entries = op.slice_axis(site.logits, site.axis, site.start, site.start + score.classes)
    key = entries
    if score.objectness is not None:  # it stands in the same tensor as the classes
        sure = op.slice_axis(site.logits, site.axis, score.objectness, score.objectness + 1)
        key = op.Mul(*((op.Sigmoid(x) if score.link == "sigmoid" else x) for x in (entries, sure)))
    elif not site.is_share and "softmax" in (score.activation, score.link):
        key = op.slice_axis(op.LogSoftmax(site.logits, axis=site.axis), site.axis, 0, score.classes)
    return key, entries


def _best_row(op: Builder, site: ScoreSite, label: ir.Value, anchor: ir.Value) -> Best:
    """Return the best row that the target allows, of a list of boxes with one class and one probability each."""
    count, label_column = site.score.targets, site.score.label_at
    assert label_column is not None
    rows = static_shape(site.logits)[3 - site.axis]
    shares, labels = (
        op.reshape(op.slice_axis(site.logits, site.axis, i, i + 1), 1, rows) for i in (site.start, label_column)
    )
    labels = op.Cast(labels, to=ir.DataType.INT32)
    zero = op.constant(np.int32(0))

    def refused(positions: ir.Value, wanted: ir.Value) -> ir.Value:
        other = op.Not(op.Equal(positions, wanted))
        return op.Cast(op.And(other, op.GreaterOrEqual(wanted, zero)), to=shares.dtype)

    numbers = op.constant(np.arange(rows, dtype=np.int32).reshape(1, rows))
    # A probability is at most 1: another class weighs more than that, another anchor more than both.
    key = op.Sub(shares, op.Add(op.scale(refused(labels, label), 2.0), op.scale(refused(numbers, anchor), 4.0)))
    best = op.reshape(op.ArgMax(key, axis=1, keepdims=1), count)
    best_label = op.Cast(op.Gather(op.reshape(labels, rows), best, axis=0), to=ir.DataType.INT64)
    _output_choice(op, best_label, best, count)
    return best_label, best, op.Gather(shares, best, axis=1)


def _output_choice(op: Builder, label: ir.Value, anchor: ir.Value, count: int) -> None:
    pairs = op.Concat(op.reshape(label, count, 1), op.reshape(anchor, count, 1), axis=1)
    op.output(op.Cast(op.reshape(pairs, 2 * count), to=ir.DataType.INT32), manifest.CHOSEN)


TASKS["detect"] = Task(
    find,
    choose,
    "(1, 4 + classes, anchors), (1, anchors, 5 + classes) or (1, boxes, 6) with boxes and scores, or"
    " (1, anchors, classes) beside boxes (1, anchors, 4),",
    width=2,
)
