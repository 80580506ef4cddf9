"""A regression's score: one number of an output, as it is."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.scores.registry import TASKS, Chosen, Hints, ScoreSite, Task, one_each, output_score, top_unless
from aerocam.export.tracing.selection import Choice, select


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output (1, n) or (1, n, 1, ...), None for another form."""
    shape = static_shape(output)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)) or not is_float(output):
        return None
    return ScoreSite("regress", output, manifest.Score(str(output.name), "none", shape[1]))


def find_scalar(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output that holds one number, in whatever shape; None for others."""
    if int(np.prod(static_shape(output), dtype=int)) != 1 or not is_float(output):
        return None
    return ScoreSite("scalar", output, manifest.Score(str(output.name), "none", 1))


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return one number of the output; the target is [its index], or -1 for the number farthest from 0."""
    numbers, (count,) = site.score.classes, static_shape(target)
    flat = op.reshape(site.logits, 1, numbers)
    index = top_unless(op, op.Abs(flat), target)
    op.output(index, manifest.CHOSEN)
    output_score(op, op.Gather(flat, index, axis=1), count)
    if numbers == 1:
        shape = (count, *static_shape(site.logits)[1:]) if static_shape(site.logits) else ()
        return Chosen(site.logits, op.floats_like(site.logits, np.ones(shape)))
    return one_each(op, select(op, site.logits, Choice(1, index, 0, numbers, keep)), [1])


TASKS["regress"] = Task(find, choose, "(1, numbers)")
TASKS["scalar"] = Task(find_scalar, choose, "() or (1,), one number,")
