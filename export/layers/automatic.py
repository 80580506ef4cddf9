"""Which layers are taken when nobody says: by what the model is for, and by where its paths meet."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.gradients.autodiff import ancestors, nodes_between, values_read
from aerocam.export.layers.candidates import Candidate, image_inputs, multiply_adds
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.scores import ScoreSite
from aerocam.export.tracing.layout import layouts
from aerocam.export.tracing.origins import ACTIVATIONS, CHOOSING, MOVING, Part, origins

logger = logging.getLogger("aerocam.export")


def find_automatic(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Choose the inputs of a detector's head, what a transformer's last attention reads, or the last cut of the graph.

    Args:
        model: In normal form.
        site: Where the score is.
        candidates: The candidates, at least one.

    Raises:
        ModelError: The inputs of a detector's head, or what its queries read, were not found.
    """
    if site.task == "detect":
        return _head_inputs(model, site, candidates)
    inner = [candidate for candidate in candidates if candidate.depth >= 0]
    if site.task == "segment" or (site.task == "regress" and site.fold is not None):  # its maps are no features
        path = nodes_between(model.graph, image_inputs(model), site.logits)
        products = [depth for depth, node in enumerate(path) if multiply_adds(node)]
        inner = [candidate for candidate in inner if products and candidate.depth < products[-1]] or inner
    last = last_cut(model, site.logits, inner) or inner[-1]
    if last.fold.cut is not None:  # a class token is read: behind the last attention nothing else has a gradient
        last = _before_attention(model, inner) or last
    return [last]


def _before_attention(model: ir.Model, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the last tokens before the last attention that a linear layer takes: its normalised input; else None."""
    nodes = list(model.graph)
    attentions = [i for i, node in enumerate(nodes) if node.op_type == "Attention" or _is_attention(node)]
    if not attentions:
        return None
    before = ancestors(nodes[attentions[-1]].outputs[0])
    read = [
        candidate
        for candidate in candidates
        if candidate.value in before and candidate.fold.kind == "tokens" and _is_projected(candidate)
    ]
    return read[-1] if read else None


def _is_attention(node: ir.Node) -> bool:
    """Return whether a node is a softmax over as many entries as there are rows, for every head."""
    if node.op_type != "Softmax" or not is_static(node.outputs[0]):
        return False
    shape = static_shape(node.outputs[0])
    return len(shape) > 2 and shape[-1] == shape[-2] > 1


def _is_projected(candidate: Candidate) -> bool:
    products = [node for node in candidate.value.consumers() if node.op_type in ("MatMul", "Gemm")]
    return any((b := node.inputs[1]) is not None and b.const_value is not None for node in products)


def last_cut(model: ir.Model, score: ir.Value, candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the last candidate, other than `score`, that every path from the image to `score` passes through."""
    path = nodes_between(model.graph, image_inputs(model), score)
    order = {value: i for i, node in enumerate(path) for value in node.outputs}
    images = model.graph.inputs
    last_use: dict[ir.Value, int] = {}
    for i, node in enumerate(path):
        last_use.update((x, i) for x in values_read(node) if x in order or x in images)
    by_value = {candidate.value: candidate for candidate in candidates}
    best, open_until = None, max((last_use.get(x, -1) for x in images), default=-1)
    for i, node in enumerate(path):
        used = [y for y in node.outputs if y in last_use or y is score]
        if len(used) == 1 and used[0] in by_value and used[0] is not score and open_until <= i:
            best = by_value[used[0]]
        open_until = max([open_until, *(last_use.get(y, -1) for y in node.outputs)])
    return best


def _head_inputs(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the inputs of a detection head, one per scale: where box and class predictions of that scale part ways."""
    to_boxes = {value for tensor in site.boxes for value in ancestors(tensor)}
    inputs: list[Candidate] = []
    scales = _scales(site)
    if any(len(static_shape(part)) != 4 for part in scales):
        return _before_queries(model, site, candidates)
    for part in scales:
        if len(scales) > 1 and static_shape(part)[2:] == (1, 1):
            logger.info("scale of one position, where %s is predicted, left out: it has no map", part.name)
            continue
        if part in to_boxes:  # one convolution predicts boxes and classes
            shared = last_cut(model, part, candidates)
        else:
            to_part, size = ancestors(part), static_shape(part)[2:]
            both = [
                candidate
                for candidate in candidates
                if candidate.value in to_part & to_boxes and candidate.shape[2:] == size
            ]
            shared = both[-1] if both else None
        if shared is None:
            raise ModelError("the inputs of the detection head were not found; name a layer (aerocam layers MODEL)")
        inputs += [] if shared in inputs else [shared]
    return inputs


def _before_queries(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return what the queries of a DETR read: the encoder's tokens, or the last map of each of several scales.

    Behind that nothing has a place in the picture: queries attend to all of it.
    """
    labels = layouts(model.graph, image_inputs(model))
    maps = [
        candidate
        for candidate in candidates
        if candidate.depth >= 0 and {"H", "W"} <= set(labels.get(candidate.value) or ())
    ]
    last, passed = [], set[ir.Value]()
    for candidate in reversed(maps):
        if candidate.value not in passed:
            last.append(candidate)
            passed |= ancestors(candidate.value)
    cut = last_cut(
        model,
        site.logits,
        [candidate for candidate in candidates if candidate in maps or candidate.fold.kind == "tokens"],
    )
    if cut is not None and all(candidate.value in ancestors(cut.value) for candidate in last):
        return [cut]
    if not last:
        raise ModelError("what the queries read was not found; name a layer (aerocam layers MODEL)")
    return last[::-1]


def _scales(site: ScoreSite) -> list[ir.Value]:
    """Return the spatial predictions that are joined along the anchors."""
    classes = 1 if site.score.label_at is not None else site.score.classes
    part = Part(site.logits, site.axis, site.start, site.start + classes)
    through, scales = MOVING | CHOOSING | ACTIVATIONS, dict[ir.Value, None]()
    waiting = origins(part, through)
    while waiting:
        joined = waiting.pop(0)
        if joined.op in through and (behind := origins(Part(joined.value), through)) != [Part(joined.value)]:
            waiting = behind + waiting  # the classes are no longer in a row there: all of what is behind
        else:
            scales[joined.value] = None
    return list(scales)
