"""DETR layouts: a fixed number of queries, each with a box as shares of the picture; nothing is left to suppress."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detectors.columns import BOX, Table, are_queries, is_deformable, score_site, tables
from aerocam.export.scores.detectors.pairs import beside
from aerocam.export.scores.detectors.scales import TABLE, named
from aerocam.export.scores.detectors.yolo import find_yolov10
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


def find_finished(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of labels (1, boxes), boxes (1, boxes, 4) and scores (1, boxes), as RT-DETR and D-FINE deploy.

    Joined they are a list of finished boxes, as YOLOv10 has it.
    """
    outputs = [value for value in model.graph.outputs if is_static(value)]
    boxes = [value for value in outputs if is_float(value) and static_shape(value)[2:] == (BOX,)]
    rest = [value for value in outputs if len(static_shape(value)) == 2]
    labels = [value for value in rest if not is_float(value)]
    scores = [value for value in rest if is_float(value)]
    if len(outputs) != 3 or not len(boxes) == len(labels) == len(scores) == 1:
        return None
    shape = static_shape(boxes[0])[:2]
    if shape[0] != 1 or static_shape(labels[0]) != shape or static_shape(scores[0]) != shape:
        return None
    if any(
        node.op_type == "NonMaxSuppression" for node in model.graph.all_nodes()
    ):  # which rows depends on the picture
        return None
    op = Builder(model.graph, "table")
    columns = [op.reshape(op.single(value), *shape, 1) for value in (scores[0], labels[0])]
    table = named(op.Concat(op.single(boxes[0]), *columns, axis=2), TABLE)
    site = find_yolov10(table, model, replace(hints, layout="yolov10"))
    evidence = (
        f"boxes {boxes[0].name!r}, scores {scores[0].name!r} and labels {labels[0].name!r}, one of each per object"
    )
    layout = "rtdetr" if is_deformable(model) else "yolov10"
    return site and replace(site, output=table, layout=layout, evidence=evidence)
