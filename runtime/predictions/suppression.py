"""Greedy non-maximum suppression, to the bit that of torchvision's `nms`.

It is written out because OpenCV's gives other boxes: `cv2.dnn.NMSBoxes` takes left, top, width and height and works on
those in float64, so that a box whose overlap is at the threshold may stay there and go here, and it knows no classes;
`cv2.dnn.NMSBoxesBatched` moves the classes apart by adding to the coordinates, which rounds them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppress(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    iou: float,
    most: int,
) -> NDArray[np.intp]:
    """The boxes that no better one of their class overlaps too much.

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
