"""Which tensors can be explained, which one is taken when nobody says, and why."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence

import onnx_ir as ir

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.gradients.adjoints import NO_GRADIENT
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import ancestors, carries_gradient, nodes_between, values_read
from aerocam.export.gradients.rule_tables import is_guided
from aerocam.export.layers.automatic import find_automatic
from aerocam.export.layers.candidates import Candidate, image_inputs
from aerocam.export.layers.candidates import candidates as find_candidates
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores import ScoreSite

logger = logging.getLogger("aerocam.export")

AUTO, INPUT = "auto", "INPUT"
"""What stands for layers in place of a name: those that are chosen, and the picture."""


def choose_layers(
    model: ir.Model, site: ScoreSite, wanted: Sequence[str], candidates: Sequence[Candidate] | None = None
) -> list[Candidate]:
    """Return the target layers for what the user asked.

    Args:
        model: In normal form.
        site: Where the score is.
        wanted: `auto`, `INPUT`, tensor or node names, or patterns with `*` and `?` (the last match is taken).
        candidates: The model's candidates, where they have been listed already.

    Raises:
        UsageError: No tensor or node has one of the names, or it is no spatial tensor before the score.
        ModelError: The model has no spatial tensor before its score.
    """
    candidates = candidates if candidates is not None else find_candidates(model, site)
    if all(candidate.depth < 0 for candidate in candidates):
        raise ModelError(
            "no tensor of channels and positions, as (N, C, H, W), lies between the input and the score;"
            " aerocam explains such layers"
        )
    chosen: list[Candidate] = []
    for name in wanted:
        picked = find_automatic(model, site, candidates) if name == AUTO else [_named(model, site, candidates, name)]
        chosen += [candidate for candidate in picked if candidate not in chosen]
    for candidate in chosen:
        kind = "" if candidate.fold.kind == "spatial" else f"{candidate.fold.kind}, "
        shape = "x".join(map(str, static_shape(candidate.value)))
        logger.info("target layer: %s (%s, %sshape %s)", candidate.name, candidate.op or "input", kind, shape)
    return chosen


def automatic_layers(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that `auto` takes; none, with a warning, where it cannot choose among those that there are.

    Raises:
        ModelError: No candidate lies between the input and the score.
    """
    try:
        return choose_layers(model, site, [AUTO], candidates)
    except ModelError as error:
        if all(candidate.depth < 0 for candidate in candidates):
            raise
        logger.warning("%s", error)
        return []


def _named(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate], name: str) -> Candidate:
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
    for node in model.graph:
        for value in node.outputs:
            if name in (value.name, node.name):
                raise UsageError(_why_not(candidates, name, node, value, model, site.logits))
    names = [
        *(candidate.name for candidate in candidates),
        *(candidate.node for candidate in candidates if candidate.node),
    ]
    raise UsageError(f"layer {name!r}: the model has no such tensor or node. {did_you_mean(name, names)}")


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


def with_input(model: ir.Model, site: ScoreSite, chosen: Sequence[Candidate]) -> list[Candidate]:
    """Return the layers with the model's input in front if it is not among them: that is where gradients are guided.

    Raises:
        UsageError: The input has no channels and positions, or the score does not depend on it.
    """
    inputs = [candidate for candidate in chosen if candidate.depth < 0] or [
        candidate for candidate in find_candidates(model, site) if candidate.depth < 0
    ][:1]
    if not inputs:
        raise UsageError("`guided`: the score does not depend on an input of channels and positions; export without it")
    path = nodes_between(model.graph, [candidate.value for candidate in inputs], site.logits)
    count = sum(is_guided(node) for node in path)
    logger.info("guided gradients at the input %s, through %d ReLUs", inputs[0].name, count)
    if not count:
        logger.warning("no ReLU lies between input and score: the guided gradients are the gradients")
    return [*(candidate for candidate in inputs if candidate not in chosen), *chosen]
