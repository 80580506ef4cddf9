"""Cuts of a graph: tensors that everything from the image to the score passes through."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from aerocam.export.gradients.autodiff import nodes_between, values_read
from aerocam.export.layers.candidates import Candidate, image_inputs


def cuts(model: ir.Model, score: ir.Value, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates, other than `score`, that every path from the image to `score` passes through."""
    images = image_inputs(model)
    path = nodes_between(model.graph, images, score)
    order = {value: i for i, node in enumerate(path) for value in node.outputs}
    last_use: dict[ir.Value, int] = {}
    for i, node in enumerate(path):
        last_use.update((x, i) for x in values_read(node) if x in order or x in images)
    by_value = {candidate.value: candidate for candidate in candidates}
    passed, open_until = list[Candidate](), max((last_use.get(x, -1) for x in images), default=-1)
    for i, node in enumerate(path):
        used = [y for y in node.outputs if y in last_use or y is score]
        if len(used) == 1 and used[0] in by_value and used[0] is not score and open_until <= i:
            passed.append(by_value[used[0]])
        open_until = max([open_until, *(last_use.get(y, -1) for y in node.outputs)])
    return passed


def last_cut(model: ir.Model, score: ir.Value, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the last of `cuts`, or None."""
    passed = cuts(model, score, candidates)
    return passed[-1] if passed else None
