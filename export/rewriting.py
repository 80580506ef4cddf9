"""Everything that is added to a model's graph: the choice of a score, activations, gradients, a fused head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam import __version__, manifest
from aerocam.export.gradients.rule_tables import gradients_of
from aerocam.export.gradients.stacking import stack
from aerocam.export.heads import CAM_HEADS, TAIL_HEADS
from aerocam.export.layers.candidates import Candidate
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores import Chosen, ScoreSite, append_choice
from aerocam.export.seed_scale import scaled_seed
from aerocam.export.tail import Tail, append_tail, tail_of
from aerocam.manifest import Manifest
from aerocam.methods import METHODS

ACTIVATIONS = "aerocam_activations_{}"
"""Output with the activations of a layer that is folded or an input; others leave under their own name, uncopied."""

GRADIENTS = "aerocam_gradients_{}"
"""Output with the gradients of a layer, in the shape of its activations."""

OWN_GRADIENTS = "aerocam_own_gradients_{}"
"""Tensor with the gradients of a folded layer in its own shape."""


def activations_name(i: int, item: Candidate) -> str:
    """Name of the output with the activations of layer number `i`."""
    return ACTIVATIONS.format(i) if item.is_folded or item.depth < 0 else item.name


def append_explanation(
    model: ir.Model, site: ScoreSite, written: Manifest, chosen: Sequence[Candidate], batch: int = 0
) -> None:
    """Everything this package adds to the graph, activations always among it, and gradients unless nothing reads them.

    With a `batch` also the scores of so many activations of the one layer, an input.
    """
    op, own_nodes = Builder(model.graph), set(model.graph)
    score = append_choice(op, site, {item.value for item in chosen})
    start = scaled_seed(op, score, written.seed_scale)
    rules = [layer.rule for layer in written.layers]
    head = written.head
    runs_tail = head is not None and head.method in TAIL_HEADS
    reads_gradients = head is None or METHODS[head.method].gradients is not None
    bare = not reads_gradients and written.layers[0].gradients is None
    gradients = [] if bare else _gradients(op, start, chosen, site.score.targets, rules)
    pairs = []
    for i, item in enumerate(chosen):
        activations = item.value
        if item.depth >= 0 and not activations.is_graph_output():
            model.graph.outputs.append(activations)
        if activations_name(i, item) != item.name:
            activations = op.output(item.fold(op, activations), ACTIVATIONS.format(i))
        own, gradient = gradients[i] if gradients else (None, None)
        if own is not None and own is not gradient:
            op.output(own, OWN_GRADIENTS.format(i))
        pairs.append((activations, op.output(gradient, GRADIENTS.format(i)) if gradient is not None else None))
    if head is not None and not runs_tail:
        activations, scaled = pairs[0]
        true = op.scale(op.single(scaled), 1.0 / written.seed_scale) if scaled is not None else None
        smooth, targets = head.eigen_smooth, site.score.targets
        op.output(CAM_HEADS[head.method](op, activations, true, targets=targets, eigen_smooth=smooth), head.output)
    if runs_tail or batch:
        _append_forward(tail_of(op, site, score, chosen[0], own_nodes), pairs[0][0], head if runs_tail else None, batch)
    ir.passes.Sequential(passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass())(model)
    model.metadata_props[manifest.KEY] = written.to_json()
    model.producer_name, model.producer_version = "aerocam", __version__


def _append_forward(tail: Tail, activations: ir.Value, head: manifest.Head | None, batch: int) -> None:
    """What runs the part behind the one layer: a head, and the scores of a batch of activations."""
    if head is not None:
        tail.op.output(TAIL_HEADS[head.method](tail.op, activations, tail), head.output)
    if batch:
        append_tail(tail, batch)


def _gradients(
    op: Builder, start: Chosen, chosen: Sequence[Candidate], targets: int, rules: Sequence[manifest.Rule]
) -> list[tuple[ir.Value, ir.Value]]:
    """Per layer the gradients in its own shape and folded, one after the other for several targets."""
    layers = [item.value for item in chosen]
    seed = start.relevance if "relevance" in rules and start.relevance is not None else start.seed
    if targets == 1:
        own = gradients_of(op, start.value, seed, layers, rules)
        return [(g, item.fold(op, g) if item.is_folded else g) for g, item in zip(own, chosen, strict=True)]
    one = op.Identity(op.floats_like(start.value, np.zeros(static_shape(start.value))))
    own = gradients_of(op, start.value, one, layers, rules)
    folded = [item.fold(op, g) if item.is_folded else g for g, item in zip(own, chosen, strict=True)]
    stacks = stack(op, one, seed, [*own, *folded], targets)
    return list(zip(stacks[: len(own)], stacks[len(own) :], strict=True))


def drop_tensors(model: ir.Model, written: Manifest, originals: Sequence[str]) -> None:
    """Take out the activations and gradients that the manifest does not name, and what only they needed."""
    kept = {*originals, *(name for layer in written.layers for name in (layer.activations, layer.gradients))}
    tensors = {name for i, layer in enumerate(written.layers) for name in (layer.name, *tensor_names(i))}
    for value in [value for value in model.graph.outputs if value.name in tensors - kept]:
        model.graph.outputs.remove(value)
    passes.RemoveUnusedNodesPass()(model)


def tensor_names(i: int) -> tuple[str, ...]:
    """Names that the tensors of layer number `i` have, if they are added to the graph."""
    return ACTIVATIONS.format(i), GRADIENTS.format(i), OWN_GRADIENTS.format(i)


def added_names(model: ir.Model, layers: int) -> list[str]:
    """The inputs and outputs of a rewritten model that are this package's own."""
    own = {manifest.TARGET, manifest.REFERENCE, manifest.CHOSEN, manifest.SCORE, manifest.MAP}
    own |= {manifest.BATCH, manifest.SCORES}
    own.update(name for i in range(layers) for name in tensor_names(i))
    return [str(value.name) for value in (*model.graph.inputs, *model.graph.outputs) if value.name in own]
