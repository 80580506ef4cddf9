"""A classifier's score: the logit of a class."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores.contrast import choose_finer
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
from aerocam.export.tracing.selection import Choice, select

VIEWS = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of the logits behind an output (1, classes, ...), other axes 1; one logit means two classes."""
    value, activation = before_cast(output), "none"
    logits = output
    while (node := value.producer()) is not None and (node.op_type in VIEWS or node.op_type in OUTPUT_ACTIVATIONS):
        value = node.inputs[0]  # type: ignore[assignment]
        if node.op_type in OUTPUT_ACTIVATIONS:
            logits, activation = value, OUTPUT_ACTIVATIONS[node.op_type]
            break
    shape = static_shape(logits)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)):
        return None
    score = manifest.Score(str(output.name), activation, classes=max(shape[1], 2))  # type: ignore[arg-type]
    return ScoreSite("classify", logits, score)


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return one class's logit; the target is [class]."""
    if int(np.prod(static_shape(site.logits))) == 1:
        return _choose_side(op, site.logits, target)
    classes, (count,) = site.score.classes, static_shape(target)
    flat = op.reshape(site.logits, 1, classes)
    index = top_unless(op, flat, target)
    op.output(index, manifest.CHOSEN)
    if site.score.contrast == "finer":
        return choose_finer(op, site, index, keep)
    output_score(op, op.Gather(flat, index, axis=1), count)
    return one_each(op, select(op, site.logits, Choice(1, index, 0, classes, keep)), [1])


def _choose_side(op: Builder, logit: ir.Value, target: ir.Value) -> Chosen:
    """Return the one logit of a binary network, negated for class 0; -1 is the likelier class."""
    (count,) = static_shape(target)
    best = op.Cast(op.Greater(op.reshape(logit, 1), 0.0), to=ir.DataType.INT32)
    index = op.Where(op.Less(target, op.constant(np.int32(0))), best, target)
    op.output(index, manifest.CHOSEN)
    sign = op.Sub(op.Mul(op.Cast(index, to=logit.dtype), 2.0), 1.0)
    output_score(op, op.Mul(sign, op.reshape(logit, 1)), count)
    return Chosen(logit, op.reshape(sign, count, *static_shape(logit)[1:]))


TASKS["classify"] = Task(find, choose, "(1, classes)")
