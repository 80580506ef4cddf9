"""A classifier's score: the logit of a class."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.contrast import choose_finer
from aerocam.export.scores.logits import chosen_from, logits_behind
from aerocam.export.scores.registry import TASKS, Chosen, Hints, ScoreSite, Task, one_each, output_score, top_unless
from aerocam.export.scores.shares import logit, logit_ratio, logit_slope
from aerocam.export.tracing.selection import Choice, select


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of the logits behind an output (1, classes, ...), other axes 1; one logit means two classes.

    Of an output of the best classes alone, by TopK or ArgMax, it is that of the scores which these are the best of.
    """
    output = chosen_from(output)
    if not is_float(output) or not is_static(output) or len(static_shape(output)) < 2:
        return None
    behind = logits_behind(output)
    shape = static_shape(behind.value)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)) or behind.axis not in (None, 1):
        return None
    classes = len(behind.order) or shape[1]
    if classes != int(np.prod(static_shape(output))):
        return None
    score = manifest.Score(str(output.name), behind.activation, classes=max(classes, 2))
    return ScoreSite(
        "classify",
        behind.value,
        score,
        output=output,
        others=behind.others,
        order=behind.order,
        is_direct=behind.is_direct,
    )


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return one class's logit; the target is [class]."""
    if int(np.prod(static_shape(site.logits))) == 1:
        return _choose_side(op, site, target)
    entries, (count,) = static_shape(site.logits)[1], static_shape(target)
    order = op.constant(np.array(site.order, np.int64)) if site.order else None
    members = [op.reshape(value, 1, entries) for value in (site.logits, *site.others)]
    ranked = members[0]
    if site.others and site.output is not None:  # as the model itself ranks
        ranked = op.reshape(site.output, 1, site.score.classes)
    if order is not None and not site.others:
        ranked = op.Gather(ranked, order, axis=1)
    index = top_unless(op, ranked, target)
    op.output(index, manifest.CHOSEN)
    entry = op.Gather(order, index) if order is not None else index
    if site.score.contrast == "finer":
        return choose_finer(op, site, entry, keep)
    score = op.scale(op.total([op.Gather(member, entry, axis=1) for member in members]), 1 / len(members))
    output_score(op, logit(op, score) if site.is_share else score, count)
    chosen = [select(op, value, Choice(1, entry, 0, entries, keep)) for value in (site.logits, *site.others)]
    value = op.scale(op.total(chosen), 1 / len(chosen))
    if not site.is_share:
        return one_each(op, value, [1])
    slope, ratio = (one_each(op, value, [1], weight(op, value)) for weight in (logit_slope, logit_ratio))
    return Chosen(value, slope.seed, ratio.seed)


def _choose_side(op: Builder, site: ScoreSite, target: ir.Value) -> Chosen:
    """Return the one logit of a binary network, negated for class 0; -1 is the likelier class."""
    (count,), value = static_shape(target), site.logits
    best = op.Cast(op.Greater(op.reshape(value, 1), 0.5 if site.is_share else 0.0), to=ir.DataType.INT32)
    index = op.Where(op.Less(target, op.constant(np.int32(0))), best, target)
    op.output(index, manifest.CHOSEN)
    sign = op.Sub(op.Mul(op.Cast(index, to=value.dtype), 2.0), 1.0)
    shown = op.cast_like(logit(op, value), value) if site.is_share else value
    output_score(op, op.Mul(sign, op.reshape(shown, 1)), count)
    signs = op.reshape(sign, count, *static_shape(value)[1:])
    if not site.is_share:
        return Chosen(value, signs)
    return Chosen(value, *(op.Mul(signs, weight(op, value)) for weight in (logit_slope, logit_ratio)))


TASKS["classify"] = Task(find, choose, "(1, classes)")
