"""Boxes (x0, y0, x1, y1) in px, edges: px they hold, boxes around parts of a map, and how well they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.runtime.frames.opencv import cv2

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float64]


def inside(boxes: Sequence[Box], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The px whose centres lie in one of the boxes, bool (H, W)."""
    y, x = np.arange(size[0])[:, None] + 0.5, np.arange(size[1]) + 0.5
    held = np.zeros(size, np.bool_)
    for x0, y0, x1, y1 in boxes:
        held |= (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)
    return held


def whole_picture(map_: Floats) -> Boxes:
    """The box around all of a map (H, W): (1, 4)."""
    return np.array([[0, 0, map_.shape[1], map_.shape[0]]], float)


def parts_above(map_: Floats, threshold: float, largest: bool) -> Boxes:
    """The boxes around the connected parts of a map (H, W) that reach a threshold, or the largest one's: (n, 4)."""
    above = (map_ >= np.float32(threshold)).astype(np.uint8)
    stats = cv2.connectedComponentsWithStats(above, connectivity=8)[2][1:]  # the first is what lies below
    if largest and len(stats):
        stats = stats[[stats[:, cv2.CC_STAT_AREA].argmax()]]
    corner, extent = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP]], stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
    return np.hstack([corner, corner + extent]).astype(float)


def best_iou(found: Boxes, true: Sequence[Box]) -> float:
    """The largest intersection over union of a found box (n, 4) and a true one; 0 without any."""
    if not len(found) or not len(true):
        return 0.0
    a, b = found[:, None], np.asarray(true, float)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (a, b)]
    return float((shared / (areas[0] + areas[1] - shared)).max())
