"""Which four numbers a detector's boxes are: read off the boxes that it gives for a picture of noise."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, random_feeds
from aerocam.manifest import Boxes, BoxForm, BoxUnit

logger = logging.getLogger("aerocam.export")

SHARE_LIMIT = 4.0
"""Boxes whose median coordinate is below this are shares: in px they would all lie in the corner."""


def measured(model: ir.Model, boxes: Boxes) -> Boxes:
    """Return `boxes` with form and unit as the boxes (1, anchors, 4) for a picture of noise show them; log both."""
    feeds = random_feeds(model, np.random.default_rng(0))
    with SessionFolder() as sessions:
        (coordinates,) = sessions.open(LightModel.of(model)).run([boxes.output], feeds)
    form, unit = box_form(np.asarray(coordinates[0], np.float64))
    logger.info("boxes in output %r: %s in %ss, by those of a picture of noise", boxes.output, form, unit)
    return replace(boxes, form=form, unit=unit)


def box_form(boxes: NDArray[np.float64]) -> tuple[BoxForm, BoxUnit]:
    """Return the form and the unit of boxes (anchors, 4), which are in the order of the anchors.

    Corners are in order in nearly every box. Anchors go along rows first, so that x changes faster than y.
    """
    unit: BoxUnit = "share" if np.median(np.abs(boxes)) < SHARE_LIMIT else "pixel"
    if np.mean((boxes[:, 2:] >= boxes[:, :2]).all(axis=1)) < 0.9:
        return "cxcywh", unit
    first, second = ((boxes[:, i] + boxes[:, i + 2]) / 2 for i in range(2))
    return ("xyxy" if _variation(first) >= _variation(second) else "yxyx"), unit


def _variation(centres: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(centres)).sum())
