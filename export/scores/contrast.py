"""Finer-CAM's score: what a class has that its neighbours lack."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores.registry import Chosen, ScoreSite, output_score
from aerocam.export.tracing.selection import Choice, select

ALPHA = 1.0
COMPARED = 3
EPSILON = 1e-9


def choose_finer(op: Builder, site: ScoreSite, index: ir.Value, keep: Set[ir.Value]) -> Chosen:
    """Return Finer-CAM's score (arXiv:2501.11309), S = Σ_i p_i (l_t - α l_i) / (Σ_i p_i + 1e-9).

    i runs over the three classes whose logits are nearest to that of the target t. p is the softmax of the logits, and
    its derivative counts, as in pytorch-grad-cam. The seed is d S / d l of t and of those classes; see
    `aerocam.runtime.methods.contrast`.

    Args:
        op: Builder of the graph.
        site: Where the logits are.
        index: The target, int32 (1,).
        keep: The target layers.
    """
    classes = site.score.classes
    flat = op.widened(op.reshape(site.logits, 1, classes))
    compared = min(COMPARED, classes - 1)
    logit = op.Gather(flat, index, axis=1)
    own = op.Equal(op.constant(np.arange(classes, dtype=np.int32)[None]), index)
    # Below every distance, so that the target itself comes first.
    distance = op.Sub(op.Abs(op.Sub(flat, logit)), op.Cast(own, to=ir.DataType.FLOAT))
    _, order = op.TopK(distance, op.integers(1 + compared), axis=1, largest=0, _outputs=2)
    others = op.slice_axis(order, 1, 1, 1 + compared)
    shares = op.Softmax(flat, axis=1)
    p = op.GatherElements(shares, others, axis=1)
    margins = op.Sub(logit, op.scale(op.GatherElements(flat, others, axis=1), ALPHA))
    total = op.sum(p, [1])
    whole = op.Add(total, EPSILON)
    score = op.Div(op.sum(op.Mul(p, margins), [1]), whole)
    output_score(op, score, 1)
    slopes = op.Concat(total, op.Mul(p, op.Sub(op.Sub(margins, score), ALPHA)), axis=1)
    rest = op.Mul(op.GatherElements(shares, order, axis=1), op.scale(score, EPSILON))
    seed = op.Div(op.Sub(slopes, rest), whole)
    chosen = select(op, site.logits, Choice(1, op.reshape(order, 1 + compared), 0, classes, keep))
    return Chosen(chosen, op.cast_like(op.reshape_like(seed, chosen), chosen))


def require_contrast(site: ScoreSite) -> None:
    """Make sure that a score can be contrasted.

    Raises:
        UsageError: The score is not that of a classifier with several logits, or it is of several targets.
    """
    logits = int(np.prod(static_shape(site.logits)))
    if site.task != "classify" or logits < 2:
        raise UsageError(
            f"`contrast='finer'`: task {site.task} with {logits} logits; a classifier with at least two is expected,"
            " export without it"
        )
    if site.score.targets > 1:
        raise UsageError(
            f"`contrast='finer'`: it compares one target, not {site.score.targets}; export without `targets`"
        )
