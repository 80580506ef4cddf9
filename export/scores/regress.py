"""A regression's score: one number of an output, or of a dense one the mean of a channel over a region, as it is."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.scores.dense import Regional, dense_site
from aerocam.export.scores.registry import TASKS, Chosen, Hints, ScoreSite, Task, one_each, output_score, top_unless
from aerocam.export.tracing.selection import Choice, select


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output (1, n) or (1, n, 1, ...), or of a dense one; None for another form."""
    shape = static_shape(output)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)) or not is_float(output):
        return dense_site("regress", output, model)
    return ScoreSite("regress", output, manifest.Score(str(output.name), "none", shape[1]))


def find_scalar(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output that holds one number, in whatever shape; None for others."""
    if int(np.prod(static_shape(output), dtype=int)) != 1 or not is_float(output):
        return None
    return ScoreSite("scalar", output, manifest.Score(str(output.name), "none", 1))


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return one number of the output; the target is [its index], or -1 for the number farthest from 0."""
    if site.fold is not None:
        return _choose_channel(op, site, target)
    numbers, (count,) = site.score.classes, static_shape(target)
    flat = op.reshape(site.logits, 1, numbers)
    index = top_unless(op, op.Abs(flat), target)
    op.output(index, manifest.CHOSEN)
    output_score(op, op.Gather(flat, index, axis=1), count)
    if numbers == 1:
        shape = (count, *static_shape(site.logits)[1:]) if static_shape(site.logits) else ()
        return Chosen(site.logits, op.floats_like(site.logits, np.ones(shape)))
    return one_each(op, select(op, site.logits, Choice(1, index, 0, numbers, keep)), [1])


def _choose_channel(op: Builder, site: ScoreSite, target: ir.Value) -> Chosen:
    """Return a dense output, weighted so that the score is the mean of one channel over the region."""
    channels, (count,) = site.score.classes, static_shape(target)
    regional = Regional.over_input(op, site, count)
    index = top_unless(op, op.Abs(regional.means), target)
    op.output(index, manifest.CHOSEN)
    column = op.reshape(index, count, 1)
    output_score(op, op.GatherElements(regional.means, column, axis=1), count)
    own = op.Equal(op.constant(np.arange(channels, dtype=np.int32)[None]), column)
    return regional.chosen(op, site, op.Cast(own, to=regional.means.dtype))


TASKS["regress"] = Task(find, choose, "(1, numbers), (1, channels, H, W) or (1, H, W)")
TASKS["scalar"] = Task(find_scalar, choose, "() or (1,), one number,")
