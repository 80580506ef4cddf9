"""SSD layouts: class scores (1, anchors, classes) in one output, boxes (1, anchors, 4) in another.

The graph does not say what the four numbers of a box are: `measured` finds out once a layout is chosen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.export.nodes.builder import tensor_table
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.scores.detectors.columns import BOX, Table, score_site, tables
from aerocam.export.scores.registry import Hints, ScoreSite
from aerocam.export.sessions import SessionFolder, random_feeds

BACKGROUND = ("background", "__background__")
"""Names of the class that means nothing is there."""

SHARE_LIMIT = 4.0
"""Boxes whose median coordinate is below this are shares: in px they would all lie in the corner."""


def find_ssd(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return an SSD's site: a softmax, the background first, or sigmoids and a label that names the background."""
    for table in tables(output, 2):
        softmax = table.is_activated(0, table.columns, frozenset({"Softmax"}))
        if softmax or _named_background(table, hints) is not None or hints.layout == "ssd":
            return _site(table, model, hints, _named_background(table, hints) or 0)
    return None


def find_retinanet(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of RetinaNet, EfficientDet or YOLO-NAS: a sigmoid per class, or its logit; no background."""
    for table in tables(output, 2):
        softmax = table.is_activated(0, table.columns, frozenset({"Softmax"}))
        if hints.layout == "retinanet" or not (softmax or _named_background(table, hints) is not None):
            return _site(table, model, hints, None)
    return None


def beside(table: Table, model: ir.Model) -> ir.Value | None:
    """Return the output (1, anchors, 4) that holds the boxes of the anchors that `table` classifies, or None.

    Where `table` has four columns too, the one with an activation, or without "box" in its name, holds the classes.
    """
    for other in model.graph.outputs:
        if other is table.value or not is_float(other) or not is_static(other):
            continue
        if static_shape(other) != (1, table.anchors, BOX):
            continue
        if table.columns == BOX and _is_rather_box(table, Table(other, 2)):
            continue
        return other
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
    boxes = beside(table, model)
    if boxes is None:
        return None
    coordinates = Table(boxes, 2)
    sigmoids = all(part.op == "Sigmoid" for part in coordinates.origins(0, BOX))
    if sigmoids and hints.layout is None:  # the queries of a DETR
        return None
    place = None if coordinates.is_linear(0, BOX) else manifest.Boxes(str(boxes.name), 2)
    score = manifest.Score(
        str(table.value.name), "none", table.columns, 0, table.anchors, table.axis, background=background
    )
    return score_site(table, score, coordinates, place)


FINDERS = {"ssd": find_ssd, "retinanet": find_retinanet}
"""Finder by name of its layout; what its boxes mean is measured."""


def measured(model: ir.Model, boxes: manifest.Boxes) -> manifest.Boxes:
    """Return `boxes` with form and unit as those for a picture of noise show them."""
    feeds, light = random_feeds(model, np.random.default_rng(0)), LightModel.of(model)
    value = tensor_table(model)[boxes.output]
    if not value.is_graph_output():
        light.proto.graph.output.append(ir.to_proto(value))
    with SessionFolder() as sessions:
        (output,) = sessions.open(light).run([boxes.output], feeds)
    coordinates = np.moveaxis(np.asarray(output[0], np.float64), boxes.axis - 1, -1)
    form, unit = box_form(coordinates[:, boxes.offset : boxes.offset + BOX])
    return replace(boxes, form=form, unit=unit)


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
