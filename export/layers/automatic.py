"""Which layers are taken when nobody says: by what the model is for, and by where its paths meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from aerocam.export.gradients.autodiff import ancestors, nodes_between
from aerocam.export.layers.candidates import Candidate, image_inputs, last_cut, products_with_weights
from aerocam.export.layers.head_inputs import head_inputs, predictions, read_by_queries
from aerocam.export.layers.receptive_field import receptive_fields
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.scores import ScoreSite
from aerocam.export.tracing.axes import Tokens
from aerocam.export.tracing.layout import layouts

MOST = 0.5
"""Share of the multiply-adds with weights from which on a layer is near the input rather than near the score."""


UNSURE = "there is no one layer that everything passes"
"""What speaks against the last layer of several ways."""

DOT = "one answer depends on one cell of it: the map is a dot whatever the network saw"
"""What speaks against the input of a detector's 1 x 1 predictor, and the prediction itself."""


@dataclass(frozen=True)
class LayerChoice:
    """Target layers, and what speaks for them.

    Attributes:
        layers: In the manifest's order.
        evidence: Why these, in words.
        conflict: What speaks against them, in words; empty where nothing does.
    """

    layers: list[Candidate]
    evidence: str
    conflict: str = ""


def find_automatic(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> LayerChoice:
    """Choose the inputs of a detector's head, what a transformer's last attention reads, or the last cut of the graph.

    Args:
        model: In normal form.
        site: Where the score is.
        candidates: The candidates, at least one.

    Raises:
        ModelError: The inputs of a detector's head, or what its queries read, were not found.
    """
    if site.task == "detect" and all(len(static_shape(part)) == 4 for part in predictions(site)):
        layers, is_wide = head_inputs(model, site, candidates)
        evidence = "what boxes and classes are both predicted from"
        return LayerChoice(layers, evidence, "" if is_wide else DOT)
    if site.task == "detect":
        choice = LayerChoice(read_by_queries(model, site, candidates), "what the queries read")
        if None in receptive_fields(choice.layers, predictions(site)).values():  # queries among the tokens, as in YOLOS
            choice = _read_last(model, site, candidates) or choice
    else:
        inner = [candidate for candidate in candidates if candidate.depth >= 0]
        choice = _last(model, site, inner)
        if None in receptive_fields(choice.layers, predictions(site)).values():
            choice = _last_seen(site, inner) or choice
    behind = min(layer.share_behind for layer in choice.layers)
    if behind > MOST:
        return replace(choice, conflict=f"{behind:.0%} of the arithmetic with weights lies behind")
    return choice


def _last(model: ir.Model, site: ScoreSite, inner: Sequence[Candidate]) -> LayerChoice:
    """Choose the layer of a network with one score for the whole picture, or one per position."""
    is_dense = site.task in ("segment", "sequence") or (site.task == "regress" and site.fold is not None)
    if is_dense:  # its maps are no features
        weighed = ancestors(
            *(x for node, _ in products_with_weights(inner[0].path) for x in node.inputs if x is not None)
        )
        inner = [candidate for candidate in inner if candidate.value in weighed] or inner
    cut = last_cut(model, site.logits, inner)
    last = cut or inner[-1]
    attention = _last_attention(model, site)
    # Behind the last attention a class token alone has a gradient, and a pool by attention leaves no positions.
    if attention is not None and (last.fold.cut is not None or last.value in ancestors(attention.outputs[0])):
        choice = _read_last(model, site, inner)
        if choice is not None:
            return choice
    later = [x for x in inner if 0 < x.share_behind <= MOST] if last.share_behind > MOST else []
    if later or cut is None:
        return LayerChoice([later[-1] if later else last], "the last of several ways from picture to score", UNSURE)
    return LayerChoice([last], "the last that everything from the picture to the score passes")


def _read_last(model: ir.Model, site: ScoreSite, inner: Sequence[Candidate]) -> LayerChoice | None:
    """Choose the tokens that the last attention reads."""
    attention = _last_attention(model, site)
    tokens = _read_by(attention, inner) if attention is not None else None
    return LayerChoice([tokens], "what the last attention reads") if tokens is not None else None


def _last_seen(site: ScoreSite, inner: Sequence[Candidate]) -> LayerChoice | None:
    """Return the last layer that the score depends on at positions of the picture, not at a class token alone."""
    fields = receptive_fields(inner, predictions(site))
    seen = [candidate for candidate in inner if fields[candidate.value] is not None]
    return (
        LayerChoice(seen[-1:], "the last that the score depends on", "a class token alone is behind") if seen else None
    )


def _last_attention(model: ir.Model, site: ScoreSite) -> ir.Node | None:
    """Return the last attention to positions between the picture and the score; not that of another tower."""
    images = image_inputs(model)
    labels, nodes = layouts(model.graph, images), nodes_between(model.graph, images, site.logits)
    for node in reversed(nodes):
        if node.op_type == "Attention" or _is_attention(node, labels.get(node.outputs[0], ())):
            return node
    return None


def _is_attention(node: ir.Node, labels: Sequence[object]) -> bool:
    """Return whether a node is a softmax over tokens, or over as many entries as there are rows, for every head."""
    if node.op_type != "Softmax" or not is_static(node.outputs[0]):
        return False
    shape = static_shape(node.outputs[0])
    is_square = len(shape) > 2 and shape[-1] == shape[-2] > 1
    return is_square or (len(labels) > 2 and isinstance(labels[-1], Tokens))


def _read_by(attention: ir.Node, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the last tokens before an attention that a linear layer takes: its normalised input; else None."""
    before = ancestors(attention.outputs[0])
    read = [x for x in candidates if x.value in before and x.fold.kind == "tokens" and _is_projected(x)]
    return read[-1] if read else None


def _is_projected(candidate: Candidate) -> bool:
    computed = {y for node, _ in candidate.path for y in node.outputs}
    products = [node for node in candidate.value.consumers() if node.op_type in ("MatMul", "Gemm")]
    return any(node.inputs[1] not in computed for node in products)
