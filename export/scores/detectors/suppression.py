"""Detectors that suppress overlapping boxes themselves: what is explained is the table in front of that.

Which boxes are left depends on the picture, so the rows of such an output are those of changing anchors. The table in
front holds each anchor in its place, with a logit behind its score; the runtime suppresses as it does for any detector.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, is_static, may_be_image, static_shape
from aerocam.export.scores.detectors.columns import BOX, Table, score_site
from aerocam.export.scores.detectors.pairs import measured
from aerocam.export.scores.detectors.scales import BOXES, SCORES, named
from aerocam.export.scores.logits import WEIGHTED
from aerocam.export.scores.registry import Hints, ScoreSite
from aerocam.export.tracing.origins import Part, origins

SELECTING = frozenset({"NonMaxSuppression", "NonZero"})
"""Operators that say which entries are left, as many as the data have it."""


def pairs_before(output: ir.Value, model: ir.Model) -> list[tuple[ir.Value, tuple[ir.Value, ...]]]:
    """Return what may hold class scores in front of a suppression, each with what may hold its boxes.

    What NonMaxSuppression reads is known: boxes, then scores, which hold the best class alone where a maximum has made
    them. Else it is the last tables in front that are no boxes themselves, and boxes that do not depend on the scores.
    """
    behind = ancestors(output)
    read: list[tuple[ir.Value, tuple[ir.Value, ...]]] = []
    for node in model.graph:
        if node.op_type == "NonMaxSuppression" and node.outputs[0] in behind:
            boxes, scores = node.inputs[:2]
            if boxes is not None and scores is not None and _is_table(boxes) and not _is_maximum(scores):
                read.append((scores, (boxes,)))
    tables = tables_before(output, model)
    of_boxes = tuple(table for table in tables if BOX in static_shape(table) and not _is_activated(Table(table, 2)))
    return read + [(table, of_boxes) for table in tables if table not in of_boxes]


def _is_activated(table: Table) -> bool:
    return table.is_activated(0, table.columns, frozenset({"Softmax", "Sigmoid"}))


def _is_maximum(scores: ir.Value) -> bool:
    """Return whether scores are those of the best class alone; so are any whose shape is not static, to be safe."""
    if not is_static(scores):
        return True
    return any(part.op in ("ReduceMax", "TopK") for part in origins(Part(scores)))


def find_flat(model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of decoded boxes (anchors, 4), without a batch, in front of a suppression: torchvision's SSD.

    They are in px of the picture as the graph itself has resized it, and brought to those of the input.
    """
    image = next((value for value in model.graph.inputs if may_be_image(value)), None)
    if image is None or not any(node.op_type == "NonMaxSuppression" for node in model.graph.all_nodes()):
        return None
    known = [y for node in model.graph for y in node.outputs if is_float(y) and is_static(y)]
    flat = [y for y in known if static_shape(y)[1:] == (BOX,) and not _is_activated(Table(y, 1))]
    boxes = next((y for y in reversed(flat) if image in ancestors(y)), None)
    if boxes is None or (count := static_shape(boxes)[0]) < BOX:
        return None
    op = Builder(model.graph, "table")
    place = Table(op.reshape(boxes, 1, count, BOX), 2)
    batched = (Table(y, 2) for y in known if static_shape(y) == (1, count, BOX))
    decoded = [other for other in batched if not (other.is_linear(0, BOX) or _is_activated(other))]
    if place.is_linear(0, BOX) or decoded:
        return None
    for value in reversed(known):
        shape = static_shape(value)
        if shape[:-1] not in ((count,), (1, count)) or shape[-1] < 2:
            continue
        table = Table(op.reshape(value, 1, count, shape[-1]), 2)
        if _is_activated(table):
            break
    else:
        return None
    scores = Table(named(op.Identity(table.value), SCORES), 2)
    coordinates = Table(named(op.Mul(place.value, op.floats_like(place.value, _shrunk(model, image))), BOXES), 2)
    is_softmax = table.is_activated(0, table.columns, frozenset({"Softmax"}))
    background = 0 if is_softmax else None
    score = manifest.Score(SCORES, "none", table.columns, 0, count, 2, background=background)
    site = score_site(scores, score, coordinates, measured(model, manifest.Boxes(BOXES, 2), hints))
    evidence = f"boxes {boxes.name!r} and class scores {value.name!r} in front of a suppression"
    return replace(site, output=scores.value, layout="ssd" if is_softmax else "retinanet", evidence=evidence)


def _shrunk(model: ir.Model, image: ir.Value) -> NDArray[np.float64]:
    """Return what brings boxes to the input's px: its sizes over those that a Resize in front of all weights gives."""
    for node in model.graph:
        if node.op_type in WEIGHTED:
            break
        if node.op_type == "Resize" and image in ancestors(node.outputs[0]):
            before, after = (static_shape(x)[-2:] for x in (node.inputs[0], node.outputs[0]))  # type: ignore[arg-type]
            return np.array([[[before[1] / after[1], before[0] / after[0]] * 2]])
    return np.ones((1, 1, BOX))


def tables_before(output: ir.Value, model: ir.Model) -> list[ir.Value]:
    """Return the tensors (1, n, m) that a suppression within the graph reads on the way to `output`, the last first."""
    behind = ancestors(output)
    selections = [node for node in model.graph if node.op_type in SELECTING and node.outputs[0] in behind]
    read = {value for node in selections for value in ancestors(node.outputs[0])}
    order = [value for node in model.graph for value in node.outputs if value in read]
    return [value for value in reversed(order) if _is_table(value)]


def _is_table(value: ir.Value) -> bool:
    if not (is_float(value) and is_static(value)):
        return False
    shape = static_shape(value)
    return len(shape) == 3 and shape[0] == 1 and min(shape[1:]) > 1
