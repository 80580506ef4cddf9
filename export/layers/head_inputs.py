"""Where a detector's head begins: the maps that boxes and classes are both predicted from, or that its queries read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set

import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.gradients.autodiff import ancestors, nodes_between, values_read
from aerocam.export.layers.candidates import Candidate, image_inputs, last_cut
from aerocam.export.layers.receptive_field import receptive_fields
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.scores import ScoreSite
from aerocam.export.tracing.axes import Tokens
from aerocam.export.tracing.layout import layouts
from aerocam.export.tracing.origins import ACTIVATIONS, ARITHMETIC, CHOOSING, MOVING, Part, origins, parts_read

logger = logging.getLogger("aerocam.export")

BESIDE_A_PRODUCT = frozenset(
    {"Add", "BatchNormalization", "Cast", "DequantizeLinear", "Div", "Identity", "Mul", "QuantizeLinear", "Sub"}
)
"""Operators that belong to a predictor where all other inputs are constants, as a bias of its own does."""

NOT_FOUND = "the inputs of the detection head were not found; name a layer (aerocam layers MODEL)"


def predictions(site: ScoreSite) -> list[ir.Value]:
    """Return the tensors in which the score is predicted, before what joins them: one per scale of a detector.

    Where the score is computed from several maps, as of classes and objectness, it is the one with the most channels.
    """
    if site.task != "detect":
        return [site.logits]
    classes = 1 if site.score.label_at is not None else site.score.classes
    part = Part(site.logits, site.axis, site.start, site.start + classes)
    scales = _joined(part, MOVING | CHOOSING | ACTIVATIONS)
    if all(len(static_shape(scale)) == 4 for scale in scales):
        return scales
    maps = _joined(part, MOVING | CHOOSING | ACTIVATIONS | ARITHMETIC)
    if any(len(static_shape(scale)) != 4 for scale in maps):
        return scales
    largest: dict[tuple[int, ...], ir.Value] = {}
    for scale in maps:
        size, channels = static_shape(scale)[2:], static_shape(scale)[1]
        if size not in largest or channels > static_shape(largest[size])[1]:
            largest[size] = scale
    return list(largest.values())


def _joined(part: Part, through: Set[str]) -> list[ir.Value]:
    """Return the tensors that a part is joined from, by operators in `through`."""
    scales, waiting = dict[ir.Value, None](), origins(part, through)
    while waiting:
        joined = waiting.pop(0)
        if joined.op in through and (behind := origins(Part(joined.value), through)) != [Part(joined.value)]:
            waiting = behind + waiting  # the classes are no longer in a row there: all of what is behind
        else:
            scales[joined.value] = None
    return list(scales)


def head_inputs(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> tuple[list[Candidate], bool]:
    """Return the inputs of a head with convolutions, one per scale, and whether a map of each can be more than a dot.

    They are where box and class predictions of a scale part ways. Where one answer depends on one cell of such an
    input, the last layer before it with a wider receptive field takes its place.

    Raises:
        ModelError: Boxes and classes of a scale have no map in common.
    """
    to_boxes = _computed_from(Part(tensor) for tensor in site.boxes)
    shared, wider = list[Candidate](), list[Candidate | None]()
    scales = predictions(site)
    for part in scales:
        size = static_shape(part)[2:]
        if len(scales) > 1 and size == (1, 1):
            logger.info("scale of one position, where %s is predicted, left out: it has no map", part.name)
            continue
        before = ancestors(_predictor_input(part))
        known = [candidate for candidate in candidates if candidate.value in before]
        if part in to_boxes:  # one convolution predicts boxes and classes
            layer = last_cut(model, part, known)
        else:
            layer = next((x for x in reversed(known) if x.value in to_boxes and x.shape[2:] == size), None)
        if layer is None:
            raise ModelError(NOT_FOUND)
        shared.append(layer)
        to_layer = ancestors(layer.value)
        wider.append(_wide(layer, [candidate for candidate in known if candidate.value in to_layer], part))
    is_wide = None not in wider
    return list(dict.fromkeys(layer for layer in wider if layer) if is_wide else dict.fromkeys(shared)), is_wide


def _wide(layer: Candidate, before: Sequence[Candidate], part: ir.Value) -> Candidate | None:
    """Return the layer, or the last before it, of which an answer in `part` depends on more than one cell."""
    for known in ([layer], [candidate for candidate in before if candidate.depth >= 0]):
        fields = receptive_fields(known, [part])
        wide = [candidate for candidate in known if fields[candidate.value] not in (None, (1, 1))]
        if wide:
            return wide[-1]
    return None


def _predictor_input(prediction: ir.Value) -> ir.Value:
    """Return what the product reads that computes a prediction, perhaps with a bias behind it; else the prediction."""
    value = prediction
    while (node := value.producer()) is not None:
        computed = [x for x in node.inputs if x is not None and x.const_value is None]
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv") and node.inputs[0] is not None:
            return node.inputs[0]
        if node.op_type not in BESIDE_A_PRODUCT or len(computed) != 1:
            break
        value = computed[0]
    return prediction


def _computed_from(parts: Iterable[Part]) -> set[ir.Value]:
    """Return all values that parts of tensors are computed from; of what is joined and cut, only what they take."""
    through = MOVING | CHOOSING | ACTIVATIONS | ARITHMETIC
    waiting = list(parts)
    seen = set(waiting)
    while waiting:
        part = waiting.pop()
        node = part.value.producer()
        if node is None:
            continue
        read = parts_read(part) if part.op in through else None
        if read is None or (node.op_type == "Softmax" and not part.is_whole):
            read = [Part(x) for x in values_read(node)]
        new = [Part(x.value) if x.axis is not None and x.is_whole else x for x in read]
        new = [x for x in dict.fromkeys(new) if x not in seen]
        seen.update(new)
        waiting += new
    return {part.value for part in seen}


def read_by_queries(model: ir.Model, site: ScoreSite, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return what the queries of a DETR read: the encoder's tokens, or the map of each of several scales.

    Behind that nothing has a place in the picture: queries attend to all of it.

    Raises:
        ModelError: It was not found.
    """
    labels = layouts(model.graph, image_inputs(model))
    maps = [
        candidate
        for candidate in candidates
        if candidate.depth >= 0 and {"H", "W"} <= set(labels.get(candidate.value) or ())
    ]
    scales: list[Candidate] = []
    for node in nodes_between(model.graph, image_inputs(model), site.logits):
        joined = [x for x in node.inputs if x is not None and any(isinstance(y, Tokens) for y in labels.get(x) or ())]
        if node.op_type == "Concat" and len(joined) > 1 and node.attributes.get_int("axis", 0) != 0:
            scales = [layer for x in joined if (layer := _last_before(x, maps))]
    tokens = [candidate for candidate in candidates if candidate in maps or candidate.fold.kind == "tokens"]
    cut = last_cut(model, site.logits, tokens)
    last = scales or _ends(maps)
    if cut is not None and {candidate.value for candidate in last} <= ancestors(cut.value):
        return [cut]
    if not last:
        raise ModelError("what the queries read was not found; name a layer (aerocam layers MODEL)")
    return list(dict.fromkeys(last))


def _last_before(value: ir.Value, maps: Sequence[Candidate]) -> Candidate | None:
    before = ancestors(value)
    return next((candidate for candidate in reversed(maps) if candidate.value in before), None)


def _ends(maps: Sequence[Candidate]) -> list[Candidate]:
    """Return the maps from which no other one is made, in graph order."""
    last, passed = [], set[ir.Value]()
    for candidate in reversed(maps):
        if candidate.value not in passed:
            last.append(candidate)
            passed |= ancestors(candidate.value)
    return last[::-1]
