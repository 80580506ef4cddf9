"""Dense outputs: channels at positions of the picture, explained by their means over a region of it.

The region is a run-time input of its own, weights at the positions: w = region / sum of region, and channel c has the
mean m_c = Σ_p w_p y_cp. A score s that is a function of the means has the cotangent ds / dy_cp = w_p ds / dm_c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.registry import Chosen, ScoreSite
from aerocam.export.tracing.axes import CHANNEL, Layout, Tokens
from aerocam.export.tracing.folding import Fold, fold_of
from aerocam.export.tracing.layout import layouts


def dense_site(task: manifest.Task, output: ir.Value, model: ir.Model) -> ScoreSite | None:
    """Return the site of an output with at most one axis of channels, and rows and columns or tokens of a picture.

    None for another form, and where nothing says which axis is which.
    """
    if not is_float(output) or not is_static(output):
        return None
    shape = static_shape(output)
    images = [image for image in model.graph.inputs if is_float(image)]
    fold = _fold(shape, layouts(model.graph, images).get(output))
    if fold is None or len(fold.grid) != 2 or int(np.prod(fold.grid)) == 1:
        return None
    axis = fold.channel_axis(shape)
    rest = [i for i in fold.order if shape[i] != 1 and (i != axis or fold.channels == 1)]
    if rest != sorted(rest):  # columns before rows
        return None
    score = manifest.Score(
        str(output.name),
        "none",
        fold.channels,
        anchors=int(np.prod(fold.grid)),
        class_axis=axis,
        positions=(fold.grid[0], fold.grid[1]),
        position_offset=fold.cut[1] if fold.cut is not None else 0,
    )
    return ScoreSite(task, output, score, axis=axis, fold=fold)


def _fold(shape: Sequence[int], layout: Layout | None) -> Fold | None:
    """Return how an output becomes (1, C, H, W).

    Of four axes, one of them of channels, the others are rows and columns; where nothing is known of these, all of them
    are (1, C, H, W).
    """
    fold = fold_of(tuple(shape), layout)
    if fold is not None or len(shape) != 4 or shape[0] != 1:
        return fold
    known = layout or ()
    channels = [axis for axis, label in enumerate(known) if label == CHANNEL]
    if len(channels) != 1:
        if any(label in ("H", "W") or isinstance(label, Tokens) for label in known):
            return None
        channels = [1]
    letters = iter("HW")
    return fold_of(tuple(shape), (None, *(CHANNEL if i == channels[0] else next(letters, None) for i in range(1, 4))))


@dataclass(frozen=True)
class Regional:
    """The means of an output's channels over a region, per target.

    Attributes:
        means: (targets, channels), float32 or wider.
        weights: (targets, h, w) of the type of `means`, each target's with a sum of 1.
    """

    means: ir.Value
    weights: ir.Value

    @classmethod
    def over_input(cls, op: Builder, site: ScoreSite, count: int) -> Regional:
        """Append the run-time input `manifest.REGION` and the means over it."""
        assert site.fold is not None
        _, channels, height, width = site.fold.shape
        region = ir.Value(
            name=manifest.REGION, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([count, height, width])
        )
        op.graph.inputs.append(region)
        values = op.widened(op.reshape(site.fold(op, site.logits), channels, height * width))
        given = op.cast_like(op.reshape(region, count, height * width), values)
        rows = op.Div(given, op.sum(given, [1]))
        return cls(op.MatMul(rows, op.Transpose(values, perm=[1, 0])), op.reshape(rows, count, height, width))

    def chosen(self, op: Builder, site: ScoreSite, slopes: ir.Value) -> Chosen:
        """Return the output with the cotangent of scores whose derivatives by the means are `slopes`, as `means`."""
        assert site.fold is not None
        (count, channels), (_, height, width) = static_shape(slopes), static_shape(self.weights)
        spread = op.Mul(op.reshape(slopes, count, channels, 1, 1), op.reshape(self.weights, count, 1, height, width))
        like = site.logits
        if site.fold.cut is not None:  # tokens that are no positions do not count
            like = op.floats_like(spread, np.zeros(static_shape(site.logits)))
        return Chosen(site.logits, site.fold.unfold(op, spread, like, count))
