"""Detectors that suppress overlapping boxes themselves: what is explained is the table in front of that.

Which boxes are left depends on the picture, so the rows of such an output are those of changing anchors. The table in
front holds each anchor in its place, with a logit behind its score; the runtime suppresses as it does for any detector.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detectors.columns import BOX
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
    of_boxes = tuple(table for table in tables if BOX in static_shape(table))
    return read + [(table, of_boxes) for table in tables if table not in of_boxes]


def _is_maximum(scores: ir.Value) -> bool:
    """Return whether scores are those of the best class alone; so are any whose shape is not static, to be safe."""
    if not is_static(scores):
        return True
    return any(part.op in ("ReduceMax", "TopK") for part in origins(Part(scores)))


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
