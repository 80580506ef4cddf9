"""The boxes of a detector at chosen anchors, as the manifest says where they are and what their numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import ModelError
from aerocam.geometry import Size
from aerocam.manifest import Boxes
from aerocam.runtime.predictions.rotated import corners, rotated_at


def boxes_at(
    outputs: Mapping[str, NDArray[Any]], where: Boxes, anchors: NDArray[np.intp], size: Size
) -> NDArray[np.float32]:
    """Return the boxes at these anchors.

    Args:
        outputs: Of the model, by name; that which `where` names is read.
        where: The manifest's.
        anchors: (n,), in any order.
        size: (height, width) of the input tensor, in px.

    Returns:
        float32 (n, 4): left, top, right, bottom in px of the input tensor; a model may have them outside of it. Around
        a rotated box: the upright one that holds it.

    Raises:
        ModelError: The anchors are not those of the grids that the manifest names.
    """
    if where.angle is not None:
        points = corners(rotated_at(outputs, where, anchors))
        return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    table = np.moveaxis(outputs[where.output][0], where.axis - 1, -1)
    numbers = np.asarray(table[anchors, where.offset : where.offset + 4], np.float32)
    if where.strides:
        # YOLOX: centres that count from a cell and logarithms of sizes, in cells.
        cells, strides = _cells(where, size, len(table), anchors)
        numbers = np.concatenate([(numbers[:, :2] + cells) * strides, np.exp(numbers[:, 2:]) * strides], axis=1)
    if where.form == "cxcywh":
        half = numbers[:, 2:] / 2
        edges = np.concatenate([numbers[:, :2] - half, numbers[:, :2] + half], axis=1)
    else:
        edges = numbers[:, [1, 0, 3, 2]] if where.form == "yxyx" else numbers
    if where.unit == "share":
        height, width = size
        edges = edges * np.array([width, height, width, height], np.float32)
    return edges


def _cells(
    where: Boxes, size: Size, count: int, anchors: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return column and row of each anchor's cell, (n, 2), and the px between cells there, (n, 1)."""
    places, steps = [], []
    for stride in where.strides:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.divmod(np.arange(rows * columns), columns)
        places.append(np.stack([x, y], axis=1))
        steps.append(np.full(rows * columns, stride))
    cells = np.concatenate(places)
    if len(cells) != count:
        raise ModelError(
            f"output {where.output!r}: {count} anchors, an input of {size[1]}x{size[0]} px has {len(cells)} cells at"
            f" strides {where.strides}; export the model again"
        )
    return cells[anchors].astype(np.float32), np.concatenate(steps)[anchors, None].astype(np.float32)


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    iou: float,
    most: int,
) -> NDArray[np.intp]:
    """Return the boxes that no better one of their class overlaps too much.

    Args:
        boxes: (n, 4), corners.
        scores: (n,).
        labels: (n,), classes that do not suppress each other; None: all are one.
        iou: Intersection over union above which the worse box goes; at it, both stay.
        most: How many boxes to keep.

    Returns:
        Their places, best first; boxes of one score in their own order.
    """
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.maximum(np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]), 0)
        high = np.maximum(np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]), 0)
        shared = wide * high
        with np.errstate(invalid="ignore"):  # two empty boxes: 0 / 0, which is not above the threshold
            overlap = shared / (areas[best] + areas[rest] - shared)
        goes = overlap.astype(np.float64) > iou  # as torchvision compares; float32 against float64 is not the same
        if labels is not None:
            goes &= labels[rest] == labels[best]
        order = rest[~goes]
    return np.array(kept, np.intp)
