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
from aerocam.export.scores.detectors.pairs import box_form, boxes_seen
from aerocam.export.scores.registry import Hints, ScoreSite
from aerocam.export.tracing.origins import ACTIVATIONS, CHOOSING, MOVING, Part, origins

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""Px between the cells of each scale, in the models that there are."""


def find_yolov8(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of ultralytics' form since v8: (1, 4 + classes + ..., anchors), or its transpose.

    It is that of v8, v9, 11, 12 and YOLOv5u. Boxes are decoded, centre and size in px; classes are sigmoids of a tensor
    of their own; an angle, coefficients of a mask or keypoints may follow. Where the graph shows no sigmoids, since
    logits are left to the host or an objectness is multiplied in, what it gives out for a few pictures must be boxes.

    Raises:
        ModelError: The metadata contradict the columns.
    """
    forced = hints.layout == "yolov8"
    for table in _seen_first(output, model, hints) if forced else tables(output, 1, 2):
        classes = class_count(table, model, forced, BOX)
        stop = BOX + classes
        if not classes:
            if (unshown := _without_sigmoids(table, model, hints)) is not None:
                return unshown
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


def _without_sigmoids(table: Table, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of a table whose class columns are logits, or products of sigmoids."""
    if table.columns <= BOX or table.is_activated(0, BOX) or _has_objectness(table, table.columns):
        return None
    place = _place_seen(table, model, hints) if _are_scores(table) else None
    if place is None or (hints.labels and len(hints.labels) != table.columns - BOX):
        return None
    score = manifest.Score(place.output, "none", table.columns - BOX, BOX, table.anchors, table.axis)
    return score_site(table, score, table, place)


def _seen_first(output: ir.Value, model: ir.Model, hints: Hints) -> list[Table]:
    """Return an output as tables, those first whose first columns are boxes for a few pictures."""
    return sorted(tables(output, 1, 2), key=lambda table: _place_seen(table, model, hints) is None)


def find_yolov5(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of YOLOv5 and v7, and YOLOX with decoded boxes: (1, anchors, 5 + classes + ...).

    Boxes are decoded, centre and size in px; then comes the objectness, then the classes, all sigmoids; coefficients
    of a mask may follow.

    Raises:
        ModelError: The layout is forced on columns of unknown meaning.
    """
    forced = hints.layout == "yolov5"
    for table in tables(output, 2):
        left = not forced and table.columns > BOX + 1 and _is_left_to_host(table)
        classes = table.columns - BOX - 1 if left else class_count(table, model, forced, BOX + 1)
        stop = BOX + 1 + classes
        if classes < 1:
            return None
        if not forced:
            if not _has_objectness(table, stop) or _is_raw(table) or table.is_activated(0, BOX):
                return None
            if not (_place_seen(table, model, hints) if left else table.is_activated(BOX, stop)):
                return None
        place = with_extras(manifest.Boxes(str(output.name), table.axis), table, stop, model, forced)
        return None if place is None else with_objectness(table, place, classes)
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
        shown = table.is_activated(BOX, table.columns) or _is_left_to_host(table)
        fits = shown and _has_objectness(table, table.columns) and _is_raw(table)
        if strides is None or not (fits or hints.layout == "yolox"):
            return None
        place = manifest.Boxes(str(output.name), table.axis, strides=strides)
        return with_objectness(table, place, table.columns - BOX - 1)
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
        kinds = table.origins(label, label + 1, MOVING | CHOOSING)
        integral = all(part.op == "Cast" for part in kinds)
        if not (forced or integral):
            return None
        shares = all(part.op == "Sigmoid" for part in table.origins(0, BOX, MOVING | CHOOSING))
        name, axis = str(output.name), table.axis
        corners = manifest.Boxes(name, axis, form="xyxy", suppressed=True)
        place = with_extras(corners, table, label + 1, model, forced)
        if place is None:
            return None
        classes = len(hints.labels) or _divisor(kinds[0].value)
        if not classes:
            raise ModelError(f"output {output.name!r} {list(output.shape or ())}: how many classes? give `labels`")
        if shares or place.angle is not None:
            place = replace(place, form="cxcywh", unit="share" if shares else "pixel")
        score = manifest.Score(name, "sigmoid", classes, BOX, table.anchors, axis, label_at=label)
        return ScoreSite("detect", output, score, box_tensors(table), axis, BOX, True, place)
    return None


def with_objectness(table: Table, place: manifest.Boxes, classes: int) -> ScoreSite:
    """Return the site of a table with boxes, then the objectness, then classes."""
    name = str(table.value.name)
    activation: manifest.Activation = "none" if _is_left_to_host(table) else "sigmoid"
    score = manifest.Score(name, activation, classes, BOX + 1, table.anchors, table.axis, objectness=BOX)
    return score_site(table, score, table, place)


def _is_left_to_host(table: Table) -> bool:
    """Return whether objectness and classes leave the graph as logits, straight from linear layers."""
    return table.is_linear(BOX, table.columns)


def _are_scores(table: Table) -> bool:
    """Return whether class columns are logits, straight from linear layers, or products of sigmoids."""
    parts = table.origins(BOX, table.columns)
    return _is_left_to_host(table) or all(part.op == "Mul" and part.is_whole and _is_product(part) for part in parts)


def _is_product(part: Part) -> bool:
    return all(factor.op in ACTIVATIONS for factor in origins(part, MOVING | {"Mul"}))


def _place_seen(table: Table, model: ir.Model, hints: Hints) -> manifest.Boxes | None:
    """Return where the boxes are, if those for a few pictures are boxes all over the input; None otherwise."""
    place, size = manifest.Boxes(str(table.value.name), table.axis), image_size(model)
    numbers = boxes_seen(table.value, place, hints)
    if numbers is None or not np.isfinite(numbers).all() or 0 in size:
        return None
    form, unit = box_form(numbers)
    span = np.array([1.0, 1.0]) if unit == "share" else np.array(size[::-1] if form != "yxyx" else size, float)
    centres = numbers[:, :2] if form == "cxcywh" else (numbers[:, :2] + numbers[:, 2:]) / 2
    inside = np.mean(((centres >= -span / 2) & (centres <= span * 1.5)).all(axis=1)) > 0.9
    wide = np.all(np.ptp(centres, axis=0) > span / 2)
    sized = form != "cxcywh" or np.mean((numbers[:, 2:] >= 0).all(axis=1)) > 0.9
    return replace(place, form=form, unit=unit) if inside and wide and sized else None


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
