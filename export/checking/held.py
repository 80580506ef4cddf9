"""What the self-check holds while it moves a layer: values that are chosen by the layer, but have no gradient."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from aerocam.export.gradients.autodiff import ancestors, carries_gradient, values_read


def held_values(graph: ir.Graph, layers: Sequence[ir.Value], score: ir.Value) -> list[ir.Value]:
    """The first values on every way from a layer to the score that have no gradient by their very type.

    Indices of a MaxPool or TopK, classes of an ArgMax, conditions of a Where: they jump where the layer is moved across
    a tie, and after a ReLU whole windows are ties of zeros. The score jumps with them and finite differences say
    nothing; between the jumps it has the gradient that it has with them held. So is what makes up a segmenter's score.
    Floats are not held, whatever the rule of their operator: one that is wrongly without a gradient has to show.

    Args:
        graph: Of a rewritten model.
        layers: What is moved; none of them is quantised on the way to the score.
        score: What is differenced.
    """
    moved, needed, found = set(layers), ancestors(score), []
    for node in graph:
        if not any(x in moved for x in values_read(node)):
            continue
        for y in node.outputs:
            if carries_gradient(y):
                moved.add(y)
            elif y in needed:
                found.append(y)
    return found
