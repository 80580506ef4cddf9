"""Which tensors can be explained, which one is taken when nobody says, and why."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.adjoints import NO_GRADIENT
from aerocam.export.adjoints.registry import operator_name
from aerocam.export.autodiff import ancestors, carries_gradient, nodes_between, values_read
from aerocam.export.cost import gradient_cost, multiply_adds
from aerocam.export.folding import Fold, layer_fold
from aerocam.export.layout import layouts
from aerocam.export.obstacles import obstacles, try_rules
from aerocam.export.origins import ACTIVATIONS, CHOOSING, MOVING, Part, origins
from aerocam.export.scores import ScoreSite
from aerocam.export.shapes import is_float, is_static, static_shape

logger = logging.getLogger("aerocam.export")

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A tensor that can be a target layer.

    Attributes:
        value: The tensor.
        name: Its name.
        node: Name of the node that computes it; "" for an input of the model.
        op: That node's operator; "" for an input.
        fold: How it becomes (N, C, H, W).
        depth: Its place among the nodes from input to score, from 0; -1 for an input.
        obstacle: The nearest operator to the score, between the two, that passes no gradient to it, or "".
        path: The nodes from input to score, with their multiply-adds.
    """

    value: ir.Value
    name: str
    node: str
    op: str
    fold: Fold
    depth: int
    obstacle: str
    path: Sequence[tuple[ir.Node, int]] = field(repr=False, compare=False)

    @property
    def cost(self) -> int:
        """About the multiply-adds that its gradient takes."""
        return gradient_cost(self.path[max(self.depth, 0) :], self.value)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W) in which it leaves the graph."""
        return self.fold.shape

    @property
    def is_folded(self) -> bool:
        """Whether its own shape or order of axes is another."""
        return self.shape != static_shape(self.value) or self.fold.order != tuple(range(4))


def candidates(model: ir.Model, site: ScoreSite, try_out: bool = False) -> list[Candidate]:
    """The image and every tensor of channels and positions between it and the score, in graph order.

    Args:
        model: In normal form.
        site: Where the score is.
        try_out: Whether rules are applied, so that what they refuse counts as an obstacle too.
    """
    images = _images(model)
    path = nodes_between(model.graph, images, site.logits)
    stops = try_rules(model.graph, images, site.logits) if try_out else frozenset()
    between = obstacles(path, site.logits, stops)
    known, amounts = layouts(model.graph, images), [(node, multiply_adds(node)) for node in path]
    places: list[tuple[int, ir.Node | None, ir.Value]] = [(-1, None, value) for value in images]
    places += [(depth, node, value) for depth, node in enumerate(path) for value in node.outputs]
    found = []
    for depth, node, value in places:
        fold = layer_fold(value, known.get(value)) if value in between else None
        if fold is not None:
            name, op = (node.name or "", operator_name(node)) if node is not None else ("", "")
            found.append(Candidate(value, str(value.name), name, op, fold, depth, between[value], amounts))
    return found


def _images(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if is_float(value)]


def choose_layers(
    model: ir.Model, site: ScoreSite, wanted: Sequence[str], known: Sequence[Candidate] | None = None
) -> list[Candidate]:
    """The target layers for what the user asked.

    Args:
        model: In normal form.
        site: Where the score is.
        wanted: `auto`, tensor or node names, or patterns with `*` and `?` (the last match is taken).
        known: The model's candidates, where they are known already.

    Raises:
        UsageError: A name that is none, or that is no spatial tensor before the score.
        ModelError: The model has no spatial tensor before its score.
    """
    known = known if known is not None else candidates(model, site)
    if all(item.depth < 0 for item in known):
        raise ModelError(
            "no tensor of channels and positions, as (N, C, H, W), lies between the input and the score;"
            " aerocam explains such layers"
        )
    chosen: list[Candidate] = []
    for name in wanted:
        picked = _automatic(model, site, known) if name == AUTO else [_named(model, site, known, name)]
        chosen += [item for item in picked if item not in chosen]
    for item in chosen:
        kind = "" if item.fold.kind == "spatial" else f"{item.fold.kind}, "
        shape = "x".join(map(str, static_shape(item.value)))
        logger.info("target layer: %s (%s, %sshape %s)", item.name, item.op or "input", kind, shape)
    return chosen


def automatic_layers(model: ir.Model, site: ScoreSite, known: Sequence[Candidate]) -> list[Candidate]:
    """What `auto` takes of the candidates; nothing, with a warning, where it finds none among those that there are.

    Raises:
        ModelError: There are no candidates.
    """
    try:
        return choose_layers(model, site, [AUTO], known)
    except ModelError as error:
        if all(item.depth < 0 for item in known):
            raise
        logger.warning("%s", error)
        return []


def _named(model: ir.Model, site: ScoreSite, known: Sequence[Candidate], name: str) -> Candidate:
    for item in known:
        if name in (item.name, item.node):
            return item
    matches = [item for item in known if fnmatch.fnmatchcase(item.name, name) or fnmatch.fnmatchcase(item.node, name)]
    if matches:
        logger.info("layer %r: the last of %d matches", name, len(matches))
        return matches[-1]
    for node in model.graph:
        for value in node.outputs:
            if name in (value.name, node.name):
                raise UsageError(_why_not(known, name, node, value, model, site.logits))
    names = [*(item.name for item in known), *(item.node for item in known if item.node)]
    raise UsageError(f"layer {name!r}: the model has no such tensor or node. {did_you_mean(name, names)}")


def _why_not(
    known: Sequence[Candidate], name: str, node: ir.Node, value: ir.Value, model: ir.Model, logits: ir.Value
) -> str:
    order = {other: i for i, other in enumerate(model.graph)}
    place = order[node]
    before = [item for item in known if item.depth >= 0 and order[item.value.producer()] < place]  # type: ignore[index]
    nearest = f"nearest spatial layer before it: {before[-1].name!r}" if before else "see: aerocam layers MODEL"
    shape = tuple(value.shape) if value.shape is not None else "unknown"
    if value not in {y for item in nodes_between(model.graph, _images(model), logits) for y in item.outputs}:
        stop = _gradient_ends(model.graph, value, logits)
        if stop is None:
            return f"layer {name!r} ({node.op_type}): the score does not depend on it; {nearest}"
        behind = [item.name for item in known if item.depth >= 0 and order[item.value.producer()] > order[stop]]  # type: ignore[index]
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
    """The first node on a way from `value` to `score` that passes no gradient on, None where there is no way."""
    needed, carried = ancestors(score), {value}
    for node in graph:
        if needed.isdisjoint(node.outputs) or not any(x in carried for x in values_read(node)):
            continue
        if operator_name(node) in NO_GRADIENT or not any(carries_gradient(y) for y in node.outputs):
            return node
        carried.update(node.outputs)
    return None


def _automatic(model: ir.Model, site: ScoreSite, known: Sequence[Candidate]) -> list[Candidate]:
    if site.task == "detect":
        return _head_inputs(model, site, known)
    inner = [item for item in known if item.depth >= 0]
    if site.task == "segment":  # the class maps themselves are no features
        path = nodes_between(model.graph, _images(model), site.logits)
        products = [depth for depth, node in enumerate(path) if multiply_adds(node)]
        inner = [item for item in inner if products and item.depth < products[-1]] or inner
    last = last_cut(model, site.logits, inner) or inner[-1]
    if last.fold.cut is not None:  # a class token is read: behind the last attention nothing else has a gradient
        last = _before_attention(model, inner) or last
    return [last]


def _before_attention(model: ir.Model, known: Sequence[Candidate]) -> Candidate | None:
    """What the last attention reads, normalised: the last tokens before it that a linear layer takes."""
    nodes = list(model.graph)
    attentions = [i for i, node in enumerate(nodes) if node.op_type == "Attention" or _is_attention(node)]
    if not attentions:
        return None
    before = ancestors(nodes[attentions[-1]].outputs[0])
    found = [item for item in known if item.value in before and item.fold.kind == "tokens" and _is_projected(item)]
    return found[-1] if found else None


def _is_attention(node: ir.Node) -> bool:
    """A softmax over as many entries as there are rows, for every head."""
    if node.op_type != "Softmax" or not is_static(node.outputs[0]):
        return False
    shape = static_shape(node.outputs[0])
    return len(shape) > 2 and shape[-1] == shape[-2] > 1


def _is_projected(item: Candidate) -> bool:
    products = [node for node in item.value.consumers() if node.op_type in ("MatMul", "Gemm")]
    return any((b := node.inputs[1]) is not None and b.const_value is not None for node in products)


def last_cut(model: ir.Model, score: ir.Value, known: Sequence[Candidate]) -> Candidate | None:
    """The last candidate that every path from the image to `score` passes through, `score` itself not counted."""
    path = nodes_between(model.graph, _images(model), score)
    place = {value: i for i, node in enumerate(path) for value in node.outputs}
    images = model.graph.inputs
    last_use: dict[ir.Value, int] = {}
    for i, node in enumerate(path):
        last_use.update((x, i) for x in values_read(node) if x in place or x in images)
    by_value = {item.value: item for item in known}
    best, open_until = None, max((last_use.get(x, -1) for x in images), default=-1)
    for i, node in enumerate(path):
        used = [y for y in node.outputs if y in last_use or y is score]
        if len(used) == 1 and used[0] in by_value and used[0] is not score and open_until <= i:
            best = by_value[used[0]]
        open_until = max([open_until, *(last_use.get(y, -1) for y in node.outputs)])
    return best


def _head_inputs(model: ir.Model, site: ScoreSite, known: Sequence[Candidate]) -> list[Candidate]:
    """The inputs of a detection head, one per scale: where box and class predictions of that scale part ways."""
    to_boxes = {value for tensor in site.boxes for value in ancestors(tensor)}
    found: list[Candidate] = []
    scales = _scales(site)
    if any(len(static_shape(part)) != 4 for part in scales):
        return _before_queries(model, site, known)
    for part in scales:
        if len(scales) > 1 and static_shape(part)[2:] == (1, 1):
            logger.info("scale of one position, where %s is predicted, left out: it has no map", part.name)
            continue
        if part in to_boxes:  # one convolution predicts boxes and classes
            shared = last_cut(model, part, known)
        else:
            to_part, size = ancestors(part), static_shape(part)[2:]
            both = [item for item in known if item.value in to_part & to_boxes and item.shape[2:] == size]
            shared = both[-1] if both else None
        if shared is None:
            raise ModelError("the inputs of the detection head were not found; name a layer (aerocam layers MODEL)")
        found += [] if shared in found else [shared]
    return found


def _before_queries(model: ir.Model, site: ScoreSite, known: Sequence[Candidate]) -> list[Candidate]:
    """What the queries of a DETR read: the encoder's tokens, or the last map of each scale where there are several.

    Behind it nothing has a place in the picture: queries attend to all of it.
    """
    labels = layouts(model.graph, _images(model))
    maps = [item for item in known if item.depth >= 0 and {"H", "W"} <= set(labels.get(item.value) or ())]
    last, passed = [], set[ir.Value]()
    for item in reversed(maps):
        if item.value not in passed:
            last.append(item)
            passed |= ancestors(item.value)
    cut = last_cut(model, site.logits, [item for item in known if item in maps or item.fold.kind == "tokens"])
    if cut is not None and all(item.value in ancestors(cut.value) for item in last):
        return [cut]
    if not last:
        raise ModelError("what the queries read was not found; name a layer (aerocam layers MODEL)")
    return last[::-1]


def _scales(site: ScoreSite) -> list[ir.Value]:
    """The spatial predictions that are joined along the anchors."""
    classes = 1 if site.score.label_at is not None else site.score.classes
    part = Part(site.logits, site.axis, site.start, site.start + classes)
    through, scales = MOVING | CHOOSING | ACTIVATIONS, dict[ir.Value, None]()
    waiting = origins(part, through)
    while waiting:
        item = waiting.pop(0)
        if item.op in through and (behind := origins(Part(item.value), through)) != [Part(item.value)]:
            waiting = behind + waiting  # the classes are no longer in a row there: all of what is behind
        else:
            scales[item.value] = None
    return list(scales)
