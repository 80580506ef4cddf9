"""Layers by name: of a tensor, a node or a module, or by a pattern; and why a name is none of a target layer."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence

import onnx_ir as ir

from aerocam.errors import UsageError, did_you_mean
from aerocam.export.gradients.adjoints import NO_GRADIENT
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import ancestors, carries_gradient, nodes_between, values_read
from aerocam.export.layers.candidates import Candidate, image_inputs
from aerocam.export.reading.modules import module_path
from aerocam.export.scores import ScoreSite

logger = logging.getLogger("aerocam.export")

INPUT = "INPUT"
"""What stands for the picture, whatever the model calls it."""


def named_layer(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate], name: str) -> Candidate:
    """Return the candidate that a name stands for, the last one where there are several.

    Args:
        model: In normal form.
        site: Where the score is.
        candidates: The model's candidates.
        name: `INPUT` for the picture; of a tensor or a node; a pattern of such names with `*` and `?`; or of a module
            that the network was written with, `layer4` or `layers.3.blocks.1`, from the front or not.

    Raises:
        UsageError: Nothing has the name, or it is no spatial tensor before the score.
    """
    for candidate in candidates:
        if name in (candidate.name, candidate.node) or (name == INPUT and candidate.depth < 0):
            return candidate
    matches = [
        candidate
        for candidate in candidates
        if fnmatch.fnmatchcase(candidate.name, name) or fnmatch.fnmatchcase(candidate.node, name)
    ]
    if matches:
        logger.info("layer %r: the last of %d matches", name, len(matches))
        return matches[-1]
    inside = [candidate for candidate in candidates if f".{name}." in f".{module_path(candidate.value.producer())}."]
    if inside:
        logger.info("layer %r: the last tensor of that module, %s", name, inside[-1].name)
        return inside[-1]
    for node in model.graph:
        for value in node.outputs:
            if name in (value.name, node.name):
                raise UsageError(_why_not(candidates, name, node, value, model, site.logits))
    names = [
        *(candidate.name for candidate in candidates),
        *(candidate.node for candidate in candidates if candidate.node),
    ]
    raise UsageError(f"layer {name!r}: the model has no such tensor, node or module. {did_you_mean(name, names)}")


def _why_not(
    candidates: Sequence[Candidate], name: str, node: ir.Node, value: ir.Value, model: ir.Model, logits: ir.Value
) -> str:
    order = {other: i for i, other in enumerate(model.graph)}
    position = order[node]
    before = [layer for layer in candidates if layer.depth >= 0 and order[layer.value.producer()] < position]  # type: ignore[index]
    nearest = f"nearest spatial layer before it: {before[-1].name!r}" if before else "see: aerocam layers MODEL"
    shape = tuple(value.shape) if value.shape is not None else "unknown"
    if value not in {y for on_way in nodes_between(model.graph, image_inputs(model), logits) for y in on_way.outputs}:
        stop = _gradient_ends(model.graph, value, logits)
        if stop is None:
            return f"layer {name!r} ({node.op_type}): the score does not depend on it; {nearest}"
        behind = [x.name for x in candidates if x.depth >= 0 and order[x.value.producer()] > order[stop]]  # type: ignore[index]
        return (
            f"layer {name!r} ({node.op_type}): no gradient of the score arrives at it, operator {operator_name(stop)}"
            f" (node {stop.name!r}) behind it has none; choose a target layer behind that"
            f"{f', the nearest is {behind[0]!r}' if behind else ''} (aerocam layers MODEL shows them)"
        )
    return (
        f"layer {name!r} ({node.op_type}) has shape {shape}; channels and more than one position of the picture, as"
        f" (N, C, H, W) with H * W > 1, are expected; {nearest}"
    )


def _gradient_ends(graph: ir.Graph, value: ir.Value, score: ir.Value) -> ir.Node | None:
    """Return the first node on a way from `value` to `score` that passes no gradient on, or None."""
    needed, carried = ancestors(score), {value}
    for node in graph:
        if needed.isdisjoint(node.outputs) or not any(x in carried for x in values_read(node)):
            continue
        if operator_name(node) in NO_GRADIENT or not any(carries_gradient(y) for y in node.outputs):
            return node
        carried.update(node.outputs)
    return None
