"""Detectors that suppress overlapping boxes themselves: what is explained is the table in front of that.

Which boxes are left depends on the picture, so the rows of such an output are those of changing anchors. The table in
front holds each anchor in its place, with a logit behind its score; the runtime suppresses as it does for any detector.
"""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.autodiff import ancestors
from aerocam.export.nodes.shapes import is_float, is_static, static_shape

SELECTING = frozenset({"NonMaxSuppression", "NonZero"})
"""Operators that say which entries are left, as many as the data have it."""


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
