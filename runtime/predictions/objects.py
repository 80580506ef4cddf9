"""Where an object of a detector is: its box, and the rotated box, keypoints or mask that the model has of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.geometry import Box, Point, Size
from aerocam.manifest import Boxes
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions.boxes import boxes_at
from aerocam.runtime.predictions.rotated import corners, rotated_at

ROUNDING = 0.05
"""How far apart the scales of the two sides can be by the rounding of a letterbox."""

Keypoint = tuple[float, ...]
"""x, y in px of the frame, and where the model says so how sure it is, 0 to 1."""


@dataclass(frozen=True)
class Place:
    """Says where an object is in the frame.

    Attributes:
        box: (left, top, right, bottom) in px, cut to the frame; around a rotated box.
        polygon: The corners of a rotated box in px, also outside of the frame; None for an upright one.
        keypoints: Its keypoints, cut to the frame; None where the model has none.
    """

    box: Box
    polygon: tuple[Point, ...] | None = None
    keypoints: tuple[Keypoint, ...] | None = None


def places_at(
    outputs: Mapping[str, NDArray[Any]], where: Boxes, anchors: NDArray[np.intp], placement: Placement
) -> list[Place]:
    """Return where the objects at these anchors are.

    Args:
        outputs: Of the model, by name; that which `where` names is read.
        where: The manifest's.
        anchors: (n,), in any order.
        placement: Where the frame lies in the input tensor.
    """
    points = _keypoints(outputs, where, anchors, placement)
    if where.angle is not None:
        polygons = _polygons(rotated_at(outputs, where, anchors), placement)
        pairs = zip(polygons, points, strict=True)
        return [Place(_around(polygon, placement), polygon, keypoints) for polygon, keypoints in pairs]
    found = []
    for box, keypoints in zip(boxes_at(outputs, where, anchors, placement.tensor_size), points, strict=True):
        left, top, right, bottom = box.tolist()
        found.append(Place(placement.to_frame((left, top, right, bottom)), None, keypoints))
    return found


def _polygons(rotated: NDArray[np.float32], placement: Placement) -> list[tuple[Point, ...]]:
    """Return the corners of rotated boxes in px of the frame.

    A letterbox has one scale, but for the rounding of its sides: there angles stay, as in Ultralytics' predict.
    """
    (x_zero, y_zero), (x_one, y_one) = placement.point_to_frame(0, 0), placement.point_to_frame(1, 1)
    scale, zero = np.array([x_one - x_zero, y_one - y_zero]), np.array([x_zero, y_zero])
    if math.isclose(*scale.tolist(), rel_tol=ROUNDING):
        moved = np.concatenate([rotated[:, :2] * scale + zero, rotated[:, 2:4] * scale, rotated[:, 4:]], axis=1)
        points = corners(moved.astype(np.float32))
    else:
        points = corners(rotated) * scale + zero
    return [tuple((x, y) for x, y in polygon) for polygon in points.tolist()]


def _around(polygon: tuple[Point, ...], placement: Placement) -> Box:
    """Return the upright box around a polygon, both in px of the frame, cut to it."""
    (height, width), (xs, ys) = placement.frame_size, zip(*polygon, strict=True)
    left, right = (min(max(x, 0.0), float(width)) for x in (min(xs), max(xs)))
    top, bottom = (min(max(y, 0.0), float(height)) for y in (min(ys), max(ys)))
    return left, top, right, bottom


def _keypoints(
    outputs: Mapping[str, NDArray[Any]], where: Boxes, anchors: NDArray[np.intp], placement: Placement
) -> Sequence[tuple[Keypoint, ...] | None]:
    points = where.keypoints
    if points is None:
        return [None] * len(anchors)
    table = np.moveaxis(outputs[where.output][0], where.axis - 1, -1)
    rows = np.asarray(table[anchors, points.offset : points.offset + points.count * points.numbers], np.float32)
    rows = rows.reshape(len(anchors), points.count, points.numbers)
    return [tuple((*_cut_to_frame(x, y, placement), *sure) for x, y, *sure in row) for row in rows.tolist()]


def _cut_to_frame(x: float, y: float, placement: Placement) -> Point:
    left, top, _, _ = placement.to_frame((x, y, x, y))
    return left, top


def masks_at(
    outputs: Mapping[str, NDArray[Any]], where: Boxes, anchors: NDArray[np.intp], size: Size
) -> list[NDArray[np.bool_]]:
    """Return the masks of the objects at these anchors, bool (H, W) over the input tensor each, within their boxes.

    Args:
        outputs: Of the model, by name.
        where: The manifest's, with masks.
        anchors: (n,), in any order.
        size: (height, width) of the input tensor, in px.
    """
    masks = where.masks
    assert masks is not None
    table = np.moveaxis(outputs[where.output][0], where.axis - 1, -1)
    coefficients = np.asarray(table[anchors, masks.offset : masks.offset + masks.count], np.float32)
    prototypes = np.asarray(outputs[masks.output][0], np.float32)
    logits = coefficients @ prototypes.reshape(masks.count, -1)
    found = []
    for row, box in zip(logits, boxes_at(outputs, where, anchors, size), strict=True):
        left, top, right, bottom = np.clip(np.ceil(box), 0, [size[1], size[0]] * 2).astype(int).tolist()
        resized = cv2.resize(row.reshape(prototypes.shape[1:]), size[::-1], interpolation=cv2.INTER_LINEAR)
        mask = np.zeros(size, np.bool_)
        mask[top:bottom, left:right] = resized[top:bottom, left:right] > 0
        found.append(mask)
    return found
