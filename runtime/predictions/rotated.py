"""Rotated boxes of a detector: where they are, and which of them suppress one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Boxes

SMALL = np.float32(1e-7)


def rotated_at(outputs: Mapping[str, NDArray[Any]], where: Boxes, anchors: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the rotated boxes at these anchors.

    Args:
        outputs: Of the model, by name; that which `where` names is read.
        where: The manifest's, with an angle.
        anchors: (n,), in any order.

    Returns:
        float32 (n, 5): centre, width and height in px of the input tensor, and the angle in radians from x towards y.
    """
    assert where.angle is not None
    table = np.moveaxis(outputs[where.output][0], where.axis - 1, -1)
    columns = [*range(where.offset, where.offset + 4), where.angle]
    return np.asarray(table[anchors][:, columns], np.float32)


def corners(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the corners of rotated boxes (n, 5), float32 (n, 4, 2): x, y, one after the other around each box.

    The first edge, from corner 0 to corner 1, is as long as the width and has the box's angle.
    """
    middle, angle = rotated[:, None, :2], rotated[:, 4]
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None] * rotated[:, 2, None, None] / 2
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=1)[:, None] * rotated[:, 3, None, None] / 2
    found: NDArray[np.float32] = np.concatenate(
        [middle - along - across, middle + along - across, middle + along + across, middle - along + across], axis=1
    )
    return found


def suppress_rotated(
    rotated: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    iou: float,
    most: int,
) -> NDArray[np.intp]:
    """Return the rotated boxes that no better one of their class overlaps too much, as Ultralytics does it.

    Overlap is the probabilistic IoU of Llerena et al. (arXiv:2106.06072). Unlike upright boxes, a box that went itself
    makes others go (Fast NMS of YOLACT, arXiv:1904.02689).

    Args:
        rotated: (n, 5), see `rotated_at`.
        scores: (n,).
        labels: (n,), classes that do not suppress each other; None: all are one.
        iou: Overlap above which the worse box goes; at it, both stay.
        most: How many boxes to keep.

    Returns:
        Their places, best first; boxes of one score in their own order.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, spread = rotated[order], _spread(rotated[order])
    kept: list[int] = []
    for i, place in enumerate(order):
        if len(kept) == most:
            break
        overlap = _overlap(boxes[i], spread[i], boxes[:i], spread[:i])
        same = True if labels is None else labels[order[:i]] == labels[place]
        if not (same & (overlap > iou)).any():
            kept.append(int(place))
    return np.array(kept, np.intp)


def _spread(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the covariance of each box as a Gaussian: that of x, that of y, and of both, (n, 3)."""
    wide, high, angle = rotated[:, 2] ** 2 / 12, rotated[:, 3] ** 2 / 12, rotated[:, 4]
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack(
        [wide * cos**2 + high * sin**2, wide * sin**2 + high * cos**2, (wide - high) * cos * sin], axis=1
    ).astype(np.float32)


def _overlap(
    box: NDArray[np.float32], spread: NDArray[np.float32], others: NDArray[np.float32], spreads: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return 1 minus the Hellinger distance of one box's Gaussian and others', (n,)."""
    a, b, c = (spread + spreads).T
    x, y = (others[:, :2] - box[:2]).T
    whole = a * b - c**2
    apart = (a * y**2 + b * x**2) / (whole + SMALL) / 4 - c * x * y / (whole + SMALL) / 2
    own = np.maximum(spread[0] * spread[1] - spread[2] ** 2, 0)
    theirs = np.maximum(spreads[:, 0] * spreads[:, 1] - spreads[:, 2] ** 2, 0)
    shape = np.log(whole / (4 * np.sqrt(own * theirs) + SMALL) + SMALL) / 2
    distance = np.clip(apart + shape, SMALL, np.float32(100))
    found: NDArray[np.float32] = 1 - np.sqrt(1 - np.exp(-distance) + SMALL)
    return found
