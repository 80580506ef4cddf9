"""DETR layouts: a fixed number of queries, each with a box as shares of the picture; nothing is left to suppress."""

from __future__ import annotations

import onnx_ir as ir

from aerocam import manifest
from aerocam.export.scores.detectors.columns import BOX, Table, are_queries, is_deformable, score_site, tables
from aerocam.export.scores.detectors.pairs import beside
from aerocam.export.scores.registry import Hints, ScoreSite


def find_rtdetr(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of RT-DETR and others with sigmoids: (1, queries, 4 + classes), or classes beside boxes."""
    for table in tables(output, 2):
        if _is_joined(table, hints.layout == "rtdetr") and not beside(table, model, hints):
            name, classes = str(output.name), table.columns - BOX
            place = manifest.Boxes(name, table.axis, unit="share", suppressed=True)
            score = manifest.Score(name, "sigmoid", classes, BOX, table.anchors, table.axis)
            return score_site(table, score, table, place)
        return _beside(table, model, hints, "rtdetr")
    return None


def find_detr(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return DETR's site: classes and, last, "no object" (1, queries, classes + 1), softmax or logits, beside boxes."""
    for table in tables(output, 2):
        return _beside(table, model, hints, "detr")
    return None


def _is_joined(table: Table, forced: bool) -> bool:
    """Return whether boxes and classes are columns of one table, each a sigmoid of its own."""
    if table.columns <= BOX or forced:
        return forced and table.columns > BOX
    parts = [*table.origins(0, BOX), *table.origins(BOX, table.columns)]
    return len(parts) > 1 and all(part.op == "Sigmoid" and part.is_whole for part in parts)


def _beside(table: Table, model: ir.Model, hints: Hints, layout: str) -> ScoreSite | None:
    boxes = beside(table, model, hints)
    if boxes is None or (table.columns < 2 and layout == "detr"):
        return None
    if hints.layout is None and (not are_queries(boxes, model) or layout != _kind(table, model, hints)):
        return None
    background = table.columns - 1 if layout == "detr" else None
    classes = table.columns - (layout == "detr")
    score = manifest.Score(str(table.value.name), "none", classes, 0, table.anchors, table.axis, background=background)
    place = manifest.Boxes(str(boxes.value.name), boxes.axis, unit="share", suppressed=True)
    return score_site(table, score, boxes, place)


def _kind(table: Table, model: ir.Model, hints: Hints) -> str:
    """Return `rtdetr` or `detr`: sigmoids, or a softmax with "no object" behind the classes.

    Logits alone do not say which. The number of labels does; else deformable attention (GridSample) speaks for
    sigmoids, as everything since Deformable DETR has them.
    """
    activations = {part.op for part in table.origins(0, table.columns)}
    if activations == {"Sigmoid"}:
        return "rtdetr"
    if activations == {"Softmax"}:
        return "detr"
    if len(hints.labels) in (table.columns, table.columns - 1):
        return "rtdetr" if len(hints.labels) == table.columns else "detr"
    return "rtdetr" if is_deformable(model) else "detr"
