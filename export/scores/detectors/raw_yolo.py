"""YOLO heads that leave the graph as their convolutions give them out, scale by scale.

What is missing of boxes is the same for every YOLOX; YOLOv5 and v7 need the sizes of their anchors, which no graph
holds: the layout says whose they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores.detectors import scales
from aerocam.export.scores.detectors.columns import BOX, Table, image_size
from aerocam.export.scores.detectors.scales import FEWEST, Groups, Prediction
from aerocam.export.scores.detectors.yolo import with_objectness
from aerocam.export.scores.registry import Hints, ScoreSite

PER_CELL = 3
"""Anchors of a cell."""

LARGE = (
    (19, 27, 44, 40, 38, 94),
    (96, 68, 86, 152, 180, 137),
    (140, 301, 303, 264, 238, 542),
    (436, 615, 739, 380, 925, 792),
)
"""Anchors of the models of four scales, in px: YOLOv5-P6 and YOLOv7-W6."""

ANCHORS = {
    "yolov5": {3: ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)), 4: LARGE},
    "yolov7": {3: ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401)), 4: LARGE},
}
"""Width and height of the anchors of a cell, in px, scale by scale; by layout and number of scales."""


def find_anchored(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of YOLOv5's and v7's heads: (1, 3, h, w, 5 + classes) or (1, 3 * (5 + classes), h, w) per scale.

    Raises:
        ModelError: No layout says which anchors are meant, or they are those of another number of scales.
    """
    kinds = scales.groups(model)
    heads = next(iter(kinds.values()), [])
    if len(kinds) != 1 or len(heads) < FEWEST or heads[0].stride < 8 or not all(map(_is_anchored, heads)):
        return None
    shapes = ", ".join(f"{head.value.name!r} {static_shape(head.value)}" for head in heads)
    if hints.layout not in ANCHORS:
        if len(static_shape(heads[0].value)) != 5 and heads[-1].stride != 32 and heads[-1].stride != 64:
            return None
        raise ModelError(
            f"outputs {shapes}: heads of a YOLO with three anchors per cell, whose sizes the graph does not hold;"
            f" `layout` says whose they are, {' or '.join(ANCHORS)}; for others, let the graph decode the boxes, or"
            " give `task` if it is no detector"
        )
    sizes = ANCHORS[hints.layout].get(len(heads))
    if sizes is None:
        raise ModelError(f"`layout={hints.layout!r}`: outputs {shapes}; its anchors are of three or four scales")
    op, parts = Builder(model.graph, "table"), []
    for head, anchors in zip(heads, sizes, strict=True):
        rows = head.rows(op, PER_CELL)
        shares = rows if Table(rows, 2).is_activated(0, static_shape(rows)[2]) else op.Sigmoid(rows)
        corners, step = scales.cells_of([(head.grid, head.stride)], [PER_CELL], -0.5, outer=True)
        per_anchor = np.repeat(np.reshape(anchors, (PER_CELL, 2)), head.grid[0] * head.grid[1], axis=0)
        centre = op.Add(op.Mul(op.slice_axis(shares, 2, 0, 2), op.constant(2 * step)), op.constant(corners))
        wide = op.slice_axis(shares, 2, 2, BOX)
        size = op.Mul(op.Mul(wide, wide), op.constant(4 * per_anchor[None].astype(np.float32)))
        parts.append(op.Concat(centre, size, op.slice_axis(shares, 2, BOX, static_shape(shares)[2]), axis=2))
    evidence = f"heads at strides {scales.strides_in_words(heads)}, with the anchors of {hints.layout}"
    return _site(op, parts, hints.layout, evidence)


def _is_anchored(head: Prediction) -> bool:
    """Return whether an output holds box, objectness and at least one class for each of three anchors."""
    shape = static_shape(head.value)
    if len(shape) == 5:
        return shape[1] == PER_CELL and shape[4] > BOX + 1
    return len(shape) == 4 and head.columns % PER_CELL == 0 and head.columns // PER_CELL > BOX + 1


def find_cells(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of YOLOX's heads: box, objectness and classes at every cell, joined per scale or apart."""
    kinds = scales.groups(model)
    heads = _joined_heads(kinds, hints) or _heads_apart(kinds)
    size = image_size(model)
    if not heads or len(heads) < FEWEST or any(side % head[0].stride for side in size for head in heads):
        return None
    op = Builder(model.graph, "table")
    rows = [[part.rows(op) for part in head] for head in heads]
    parts = [head[0] if len(head) == 1 else op.Concat(*head, axis=2) for head in rows]
    first = [head[0] for head in heads]
    site = _site(op, parts, "yolox", f"heads of one anchor per cell at strides {scales.strides_in_words(first)}")
    assert site.place is not None
    return replace(site, place=replace(site.place, strides=tuple(head.stride for head in first)))


def _joined_heads(kinds: Groups, hints: Hints) -> list[list[Prediction]]:
    """Return heads with box, objectness and classes as columns, which three convolutions have made."""
    heads = next(iter(kinds.values()), [])
    if len(kinds) != 1 or not heads or heads[0].columns <= BOX + 1:
        return []
    if any(len(static_shape(head.value)) == 5 for head in heads):  # several anchors per cell
        return []
    fits = all(_is_of_three(Table(head.value, head.axis)) for head in heads)
    return [[head] for head in heads] if fits or hints.layout == "yolox" else []


def _is_of_three(table: Table) -> bool:
    bounds = (0, BOX, BOX + 1, table.columns)
    parts = [{part.value for part in table.origins(*ends)} for ends in pairwise(bounds)]
    return len(set().union(*parts)) == sum(map(len, parts))


def _heads_apart(kinds: Groups) -> list[list[Prediction]]:
    """Return heads whose boxes (a convolution's), objectness and classes are outputs of their own."""
    if len(kinds) != 3 or not {1, BOX} < kinds.keys():
        return []
    (classes,) = kinds.keys() - {1, BOX}
    heads = [list(head) for head in zip(kinds[BOX], kinds[1], kinds[classes], strict=True)]
    return heads if all(Table(head[0].value, head[0].axis).is_linear(0, BOX) for head in heads) else []


def _site(op: Builder, parts: Sequence[ir.Value], layout: str, evidence: str) -> ScoreSite:
    """Return the site of a table with boxes, objectness and classes, appended scale by scale."""
    table = Table(scales.named(op.Identity(scales.joined(op, parts)), scales.TABLE), 2)
    site = with_objectness(table, manifest.Boxes(scales.TABLE, 2), table.columns - BOX - 1)
    return replace(site, output=table.value, layout=layout, evidence=evidence)
