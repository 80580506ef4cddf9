"""YOLO layouts: boxes and class scores as columns of one output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_float
from aerocam.export.scores.detectors.columns import BOX, Table, box_tensors, image_size, score_site, tables
from aerocam.export.scores.detectors.extras import class_count, with_extras
from aerocam.export.scores.registry import Hints, ScoreSite
from aerocam.export.tracing.origins import CHOOSING, MOVING

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Px between the cells of each scale, in the models that there are."""


def find_yolov8(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of ultralytics' form since v8: (1, 4 + classes + ..., anchors), or its transpose.

    It is that of v8, v9, 11, 12 and YOLOv5u. Boxes are decoded, centre and size in px; classes are sigmoids of a tensor
    of their own; an angle, coefficients of a mask or keypoints may follow.

    Raises:
        ModelError: The metadata contradict the columns.
    """
    forced = hints.layout == "yolov8"
    for table in tables(output, 1, 2):
        classes = class_count(table, model, forced, BOX)
        stop = BOX + classes
        if not classes:
            continue
        if not forced:
            parts = table.origins(BOX, stop)
            if not all(part.is_whole for part in parts):
                continue
            if _has_objectness(table, stop) or table.is_activated(0, BOX):
                continue
        name, axis = str(output.name), table.axis
        place = with_extras(manifest.Boxes(name, axis), table, stop, model, forced)
        if place is None:
            continue
        score = manifest.Score(name, "sigmoid", classes, BOX, table.anchors, class_axis=axis)
        return score_site(table, score, table, place)
    return None


def find_yolov5(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of YOLOv5 and v7, and YOLOX with decoded boxes: (1, anchors, 5 + classes + ...).

    Boxes are decoded, centre and size in px; then comes the objectness, then the classes, all sigmoids; coefficients
    of a mask may follow.

    Raises:
        ModelError: The layout is forced on columns of unknown meaning.
    """
    forced = hints.layout == "yolov5"
    for table in tables(output, 2):
        classes = class_count(table, model, forced, BOX + 1)
        stop = BOX + 1 + classes
        if not classes:
            return None
        if not forced:
            if not table.is_activated(BOX, stop) or not _has_objectness(table, stop):
                return None
            if _is_raw(table) or table.is_activated(0, BOX):
                return None
        place = with_extras(manifest.Boxes(str(output.name), table.axis), table, stop, model, forced)
        return None if place is None else _with_objectness(table, place, classes)
    return None


def find_yolox(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return YOLOX's site: (1, anchors, 5 + classes), boxes relative to the cells of its grids, as it exports them.

    Anchors are as many as there are cells at strides 8, 16 and 32 (and 64, or 4). Objectness and classes are sigmoids.

    Raises:
        ModelError: The layout is forced, but the number of anchors fits no known strides.
    """
    for table in tables(output, 2):
        if table.columns <= BOX + 1:
            return None
        size = image_size(model)
        strides = next((candidate for candidate in STRIDES if _cells(size, candidate) == table.anchors), None)
        if hints.layout == "yolox" and strides is None:
            counts = ", ".join(str(_cells(size, candidate)) for candidate in STRIDES)
            raise ModelError(
                f"`layout='yolox'`: output {output.name!r} has {table.anchors} anchors, an input of"
                f" {size[1]}x{size[0]} px has {counts} cells at the strides that are known; choose another layout"
            )
        fits = table.is_activated(BOX, table.columns) and _has_objectness(table, table.columns) and _is_raw(table)
        if strides is None or not (fits or hints.layout == "yolox"):
            return None
        place = manifest.Boxes(str(output.name), table.axis, strides=strides)
        return _with_objectness(table, place, table.columns - BOX - 1)
    return None


def find_yolov10(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of finished boxes (1, boxes, 6 + ...): box, score, class, and what an object has beside a box.

    It is that of YOLOv10, YOLO26 and Ultralytics' RT-DETR. Corners in px, or centre and size: in px for rotated boxes,
    in shares where boxes come from a sigmoid. The number of classes is that of the labels, or what the graph divides
    flat indices by.

    Raises:
        ModelError: Neither the labels nor the graph give the number of classes, or the metadata contradict the columns.
    """
    label, forced = BOX + 1, hints.layout == "yolov10"
    for table in tables(output, 2):
        if table.columns <= label:
            return None
        integral = all(part.op == "Cast" for part in table.origins(label, label + 1))
        if not (forced or integral):
            return None
        shares = all(part.op == "Sigmoid" for part in table.origins(0, BOX, MOVING | CHOOSING))
        name, axis = str(output.name), table.axis
        corners = manifest.Boxes(name, axis, form="xyxy", suppressed=True)
        place = with_extras(corners, table, label + 1, model, forced)
        if place is None:
            return None
        classes = len(hints.labels) or _divisor(table.origins(label, label + 1)[0].value)
        if not classes:
            raise ModelError(f"output {output.name!r} {list(output.shape or ())}: how many classes? give `labels`")
        if shares or place.angle is not None:
            place = replace(place, form="cxcywh", unit="share" if shares else "pixel")
        score = manifest.Score(name, "sigmoid", classes, BOX, table.anchors, axis, label_at=label)
        return ScoreSite("detect", output, score, box_tensors(table), axis, BOX, True, place)
    return None


def _with_objectness(table: Table, place: manifest.Boxes, classes: int) -> ScoreSite:
    name = str(table.value.name)
    score = manifest.Score(name, "sigmoid", classes, BOX + 1, table.anchors, table.axis, objectness=BOX)
    return score_site(table, score, table, place)


def _has_objectness(table: Table, stop: int) -> bool:
    """Return whether column 4 is the objectness of those before `stop`: it has a tensor of its own, or the box's."""
    if stop <= BOX + 1:
        return False
    first, others = table.origins(BOX, BOX + 1), table.origins(BOX + 1, stop)
    apart = {part.value for part in first}.isdisjoint(part.value for part in others)
    return apart or not all(part.is_whole for part in table.origins(BOX, stop))


def _is_raw(table: Table) -> bool:
    """Return whether the boxes leave the graph as a convolution gives them, not decoded."""
    return table.is_linear(0, BOX)


def _cells(size: tuple[int, int], strides: tuple[int, ...]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)


def _divisor(label: ir.Value) -> int:
    """Return the number of classes by which an index over anchors and classes is divided, 0 if none is found."""
    for value in ancestors(label):
        node = value.producer()
        if node is None or node.op_type not in ("Mod", "Div") or is_float(value):
            continue
        divisor = constant_array(node.inputs[1])
        if divisor is not None and divisor.size == 1:
            return int(np.ravel(divisor)[0])
    return 0
