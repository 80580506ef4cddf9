"""A text reader's score: the logit of a symbol at a place of the line, as CTC and attention decoders give them out."""

from __future__ import annotations

import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.shapes import is_float, is_static, static_shape
from aerocam.export.scores.detect import choose
from aerocam.export.scores.logits import logits_behind
from aerocam.export.scores.registry import TASKS, Hints, ScoreSite, Task


def find(output: ir.Value, model: ir.Model, hints: Hints) -> ScoreSite | None:
    """Return the site of an output (1, places, symbols)."""
    if not is_float(output) or not is_static(output) or len(shape := static_shape(output)) != 3:
        return None
    if shape[0] != 1 or min(shape[1:]) < 2:
        return None
    behind = logits_behind(output, 2)
    axis = 2 if behind.axis is None else behind.axis
    known = behind.axes == (0, 1, 2) and axis == 2 and not behind.others and not behind.order
    logits, activation = (behind.value, behind.activation) if known else (output, "none")
    score = manifest.Score(str(output.name), activation, shape[2], anchors=shape[1], class_axis=2)
    return ScoreSite("sequence", logits, score, axis=2, output=output)


TASKS["sequence"] = Task(find, choose, "(1, places, symbols)", width=2)
