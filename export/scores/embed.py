"""An embedding's score: its cosine similarity to a reference; of a dense one, that of its mean over a region."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.scores.dense import Regional, dense_site
from aerocam.export.scores.registry import TASKS, Chosen, Hints, ScoreSite, Task, output_score

LENGTH = "aerocam_length"
"""Tensor with the length of the embedding, which is held constant where the score is differentiated."""

SMALLEST = 1e-6
"""Length, and product of lengths, below which embeddings have no angle."""


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output (1, numbers) or (1, numbers, 1, ...), or of a dense one; None for another form."""
    shape = static_shape(output)
    if len(shape) < 2 or shape[0] != 1 or shape[1] != int(np.prod(shape)) or not is_float(output):
        return dense_site("embed", output, model)
    return ScoreSite("embed", output, manifest.Score(str(output.name), "none", shape[1]))


def choose(op: Builder, site: ScoreSite, target: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return the embedding and the seed of its cosine to a reference, an input of its own; the target is not read.

    s = <e, r> / (|e| |r|), and its derivative is taken with |e| held constant: ds/de = r / (|r| |e|). The cosine does
    not change with the length of e, so by Euler's theorem its true gradient gives a map whose sum is 0 wherever e is
    linear in a layer: it says where directions differ, not where the two are alike.
    """
    size, (count,) = site.score.classes, static_shape(target)
    shape = ir.Shape([count, size])
    reference = ir.Value(name=manifest.REFERENCE, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
    op.graph.inputs.append(reference)
    op.output(op.Identity(target), manifest.CHOSEN)
    regional = Regional.over_input(op, site, count) if site.fold is not None else None
    e = regional.means if regional is not None else op.widened(op.reshape(site.logits, 1, size))
    own, other = _direction(op, e), _direction(op, reference)
    cosine = op.sum(op.Mul(own[0], other[0]), [1])
    output_score(op, cosine, count)
    own[1].name = LENGTH
    slopes = op.Div(other[0], own[1])
    if regional is not None:
        return regional.chosen(op, site, slopes)
    return Chosen(site.logits, op.reshape(slopes, count, *static_shape(site.logits)[1:]))


def _direction(op: Builder, rows: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return rows (n, size) scaled to length 1, and their lengths (n, 1)."""
    lengths = op.Max(op.Sqrt(op.sum(op.Mul(rows, rows), [1])), SMALLEST)
    return op.Div(rows, lengths), lengths


TASKS["embed"] = Task(find, choose, "(1, numbers), (1, channels, H, W) or (1, tokens, channels)")
