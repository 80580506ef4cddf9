"""SSD layouts: class scores (1, anchors, classes) in one output, boxes (1, anchors, 4) in another, axes in any order.

The graph does not say what the four numbers of a box are: `measured` finds out once a layout is chosen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.reading.plugins import read_suppression
from aerocam.export.scores.detectors.columns import BOX, Table, are_queries, score_site, tables
from aerocam.export.scores.registry import Hints, ScoreSite

BACKGROUND = ("background", "__background__")
"""Names of the class that means nothing is there."""

SHARE_LIMIT = 4.0
"""Boxes whose median coordinate is below this are shares: in px they would all lie in the corner."""


def find_ssd(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return an SSD's site: a softmax, the background first, or sigmoids and a label that names the background."""
    cut = read_suppression(model.metadata_props)
    for table in tables(output, 2, 1):
        softmax = table.is_activated(0, table.columns, frozenset({"Softmax"}))
        if cut is not None and cut.scores == output.name and cut.background is not None:
            return _site(table, model, hints, cut.background)
        if softmax or _named_background(table, hints) is not None or hints.layout == "ssd":
            site = _site(table, model, hints, _named_background(table, hints) or 0)
            if site is not None:
                return site
    return None


def find_retinanet(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of RetinaNet, EfficientDet or YOLO-NAS: a sigmoid per class, or its logit; no background."""
    for table in tables(output, 2, 1):
        softmax = table.is_activated(0, table.columns, frozenset({"Softmax"}))
        if hints.layout == "retinanet" or not (softmax or _named_background(table, hints) is not None):
            site = _site(table, model, hints, None)
            if site is not None:
                return site
    return None


def beside(table: Table, model: ir.Model, hints: Hints) -> Table | None:
    """Return the boxes of the anchors that `table` classifies, (1, anchors, 4) or (1, 4, anchors), or None.

    Where `table` has four columns too, the one with an activation, or without "box" in its name, holds the classes.
    Within the graph, neither is computed from the other, as boxes moved apart by their class are.
    """
    for other in (*model.graph.outputs, *hints.tables):
        if other is table.value or not is_float(other) or not is_static(other):
            continue
        shape = static_shape(other)
        axis = 2 if shape == (1, table.anchors, BOX) else 1 if shape == (1, BOX, table.anchors) else None
        inner = axis is not None and other in hints.tables
        if axis is None or (inner and (table.value in ancestors(other) or other in ancestors(table.value))):
            continue
        boxes = Table(other, axis)
        if table.columns == BOX and _is_rather_box(table, boxes):
            continue
        return boxes
    return None


def _is_rather_box(table: Table, other: Table) -> bool:
    def evidence(candidate: Table) -> tuple[bool, bool]:
        activated = candidate.is_activated(0, BOX, frozenset({"Sigmoid", "Softmax"}))
        return "box" in str(candidate.value.name).lower(), not activated

    return evidence(table) > evidence(other)


def _named_background(table: Table, hints: Hints) -> int | None:
    if len(hints.labels) != table.columns:
        return None
    return next((i for i, label in enumerate(hints.labels) if label.lower() in BACKGROUND), None)


def _site(table: Table, model: ir.Model, hints: Hints, background: int | None) -> ScoreSite | None:
    coordinates = beside(table, model, hints)
    if coordinates is None:
        return None
    if hints.layout is None and are_queries(coordinates, model):
        return None
    place = None if coordinates.is_linear(0, BOX) else manifest.Boxes(str(coordinates.value.name), coordinates.axis)
    score = manifest.Score(
        str(table.value.name), "none", table.columns, 0, table.anchors, table.axis, background=background
    )
    return score_site(table, score, coordinates, place)


FINDERS = {"ssd": find_ssd, "retinanet": find_retinanet}
"""Finder by name of its layout; what its boxes mean is measured."""


def measured(model: ir.Model, boxes: manifest.Boxes, hints: Hints) -> manifest.Boxes:
    """Return `boxes` with form and unit as those for a few pictures show them.

    Raises:
        ModelError: The model cannot be run.
    """
    numbers = boxes_seen(tensor_table(model)[boxes.output], boxes, hints)
    if numbers is None:
        raise ModelError(
            f"boxes {boxes.output!r}: what their numbers mean is measured, but ONNX Runtime cannot run the model as far"
            " as there; mend the model"
        )
    form, unit = box_form(numbers)
    cut = read_suppression(model.metadata_props)
    if cut is not None and cut.boxes == boxes.output and cut.form is not None:
        form = cut.form
    return replace(boxes, form=form, unit=unit)


def boxes_seen(value: ir.Value, boxes: manifest.Boxes, hints: Hints) -> NDArray[np.float64] | None:
    """Return the boxes (anchors, 4) that a tensor holds for an input of zeros; None where it cannot be run.

    Whatever the weights, they are nearest to the anchors then.
    """
    arrays = hints.values(value)
    if arrays is None:
        return None
    table = np.moveaxis(arrays[0][0], boxes.axis - 1, -1)
    return table[:, boxes.offset : boxes.offset + BOX].astype(np.float64)


def box_form(boxes: NDArray[np.float64]) -> tuple[manifest.BoxForm, manifest.BoxUnit]:
    """Return the form and the unit of boxes (anchors, 4), which are in the order of the anchors.

    Corners are in order in nearly every box. Anchors go along rows first, so that x changes faster than y.
    """
    unit: manifest.BoxUnit = "share" if np.median(np.abs(boxes)) < SHARE_LIMIT else "pixel"
    if np.mean((boxes[:, 2:] >= boxes[:, :2]).all(axis=1)) < 0.9:
        return "cxcywh", unit
    first, second = ((boxes[:, i] + boxes[:, i + 2]) / 2 for i in range(2))
    return ("xyxy" if _variation(first) >= _variation(second) else "yxyx"), unit


def _variation(centres: NDArray[np.float64]) -> float:
    return float(np.abs(np.diff(centres)).sum())
