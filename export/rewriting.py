"""Everything that is added to a model's graph: the choice of a score, activations, gradients, a fused head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes

from aerocam import __version__, manifest
from aerocam.export.ends import fuse_ends
from aerocam.export.gradients.rule_tables import gradients_of
from aerocam.export.gradients.stacking import stack
from aerocam.export.heads import CAM_HEADS, TAIL_HEADS
from aerocam.export.layers.candidates import Candidate
from aerocam.export.layers.tensor_names import ACTIVATIONS, GRADIENTS, OWN_GRADIENTS, activations_name, tensor_names
from aerocam.export.nodes.builder import Builder, tensor_table
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.packaging import with_carried
from aerocam.export.plan import Plan
from aerocam.export.scores import Chosen, append_choice
from aerocam.export.seed_scale import scaled_seed
from aerocam.export.tail import Tail, append_tail, tail_of
from aerocam.manifest import Manifest
from aerocam.methods import METHODS


def rewrite(model: ir.Model, plan: Plan) -> Manifest:
    """Append what a plan asks for, and return the manifest, complete and in the model.

    Activations are always among the outputs then, and gradients unless nothing reads them; `finish` takes out what is
    not to leave the graph. With a batch, the scores of that many activations of the one layer, a new input, are added.

    Args:
        model: The model that the plan is of; it is changed.
        plan: What it is going to be.

    Raises:
        ModelError: A rule refuses a node between a layer and the score, or an operator there has no rule.
    """
    op, own_nodes = Builder(model.graph), set(model.graph)
    site, written, chosen = plan.site, plan.manifest, plan.layers
    tensors = tensor_table(model)
    for name in written.own_outputs:  # of a table in front of a suppression: so far no output
        if not tensors[name].is_graph_output():
            model.graph.outputs.append(tensors[name])
    score = append_choice(op, site, {candidate.value for candidate in chosen})
    start = scaled_seed(op, score, written.seed_scale)
    rules = [layer.rule for layer in written.layers]
    head = written.head
    runs_tail = head is not None and head.method in TAIL_HEADS
    reads_gradients = head is None or METHODS[head.method].gradients is not None
    bare = not reads_gradients and written.layers[0].gradients is None
    gradients = [] if bare else _gradients(op, start, chosen, site.score.targets, rules)
    pairs = []
    for i, candidate in enumerate(chosen):
        activations = candidate.value
        if candidate.depth >= 0 and not activations.is_graph_output():
            model.graph.outputs.append(activations)
        if activations_name(i, candidate) != candidate.name:
            activations = op.output(candidate.fold(op, activations), ACTIVATIONS.format(i))
        own, gradient = gradients[i] if gradients else (None, None)
        if own is not None and own is not gradient:
            op.output(own, OWN_GRADIENTS.format(i))
        pairs.append((activations, op.output(gradient, GRADIENTS.format(i)) if gradient is not None else None))
    if head is not None and not runs_tail:
        activations, scaled = pairs[0]
        true = op.scale(op.single(scaled), 1.0 / written.seed_scale) if scaled is not None else None
        smooth, targets = head.eigen_smooth, site.score.targets
        op.output(CAM_HEADS[head.method](op, activations, true, targets=targets, eigen_smooth=smooth), head.output)
    if runs_tail or plan.batch:
        tail = tail_of(op, site, score, chosen[0], own_nodes)
        _append_forward(tail, pairs[0][0], head if runs_tail else None, plan.batch)
    ir.passes.Sequential(passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass())(model)
    written = with_carried(model, written, plan.tensors)
    model.metadata_props[manifest.KEY] = written.to_json()
    model.producer_name, model.producer_version = "aerocam", __version__
    return written


def _append_forward(tail: Tail, activations: ir.Value, head: manifest.Head | None, batch: int) -> None:
    """Append what runs the part behind the one layer: a head, and the scores of a batch of activations."""
    if head is not None:
        tail.op.output(TAIL_HEADS[head.method](tail.op, activations, tail), head.output)
    if batch:
        append_tail(tail, batch)


def _gradients(
    op: Builder, start: Chosen, chosen: Sequence[Candidate], targets: int, rules: Sequence[manifest.Rule]
) -> list[tuple[ir.Value, ir.Value]]:
    """Return per layer the gradients in its own shape and folded; those of several targets follow one another."""
    layers = [candidate.value for candidate in chosen]
    seed = start.relevance if "relevance" in rules and start.relevance is not None else start.seed
    if targets == 1:
        own = gradients_of(op, start.value, seed, layers, rules)
        return [
            (g, candidate.fold(op, g) if candidate.is_folded else g) for g, candidate in zip(own, chosen, strict=True)
        ]
    placeholder = op.Identity(op.floats_like(start.value, np.zeros(static_shape(start.value))))
    own = gradients_of(op, start.value, placeholder, layers, rules)
    folded = [candidate.fold(op, g) if candidate.is_folded else g for g, candidate in zip(own, chosen, strict=True)]
    stacks = stack(op, placeholder, seed, [*own, *folded], targets)
    return list(zip(stacks[: len(own)], stacks[len(own) :], strict=True))


def finish(model: ir.Model, plan: Plan) -> None:
    """Remove the added outputs that the manifest does not name, with the nodes that only they need; fuse the ends."""
    written = plan.manifest
    kept = {*plan.outputs, *(name for layer in written.layers for name in (layer.activations, layer.gradients))}
    tensors = {name for i, layer in enumerate(written.layers) for name in (layer.name, *tensor_names(i))}
    for value in [value for value in model.graph.outputs if value.name in tensors - kept]:
        model.graph.outputs.remove(value)
    passes.RemoveUnusedNodesPass()(model)
    fuse_ends(model, written)
