"""SSD layouts: class scores (1, anchors, classes) in one output, boxes (1, anchors, 4) in another.

The graph does not say what the four numbers of a box are: `measured` finds out once a layout is chosen.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detectors.columns import BOX, Table, score_site, tables
from aerocam.export.scores.registry import Hints, ScoreSite

BACKGROUND = ("background", "__background__")
"""Names of the class that means nothing is there."""


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
