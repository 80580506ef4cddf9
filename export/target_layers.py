"""Which tensors can be explained, which one is taken when nobody says, and why."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from aerocam.errors import ModelError, UsageError, did_you_mean
from aerocam.export.adjoints import ADJOINTS
from aerocam.export.autodiff import nodes_between, operator_name
from aerocam.export.score import ScoreSite
from aerocam.export.shapes import is_float, is_static, static_shape

logger = logging.getLogger("aerocam.export")

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """A tensor that can be a target layer.

    Attributes:
        value: The tensor.
        name: Its name.
        node: Name of the node that computes it.
        op: That node's operator.
        shape: (N, C, H, W).
        depth: Its place among the nodes from input to score, from 0.
        obstacle: The first operator without an adjoint rule between it and the score, or "".
    """

    value: ir.Value
    name: str
    node: str
    op: str
    shape: tuple[int, ...]
    depth: int
    obstacle: str


def candidates(model: ir.Model, site: ScoreSite) -> list[Candidate]:
    """Every spatial tensor (N, C, H, W) between the image and the score, in graph order."""
    path = nodes_between(model.graph, _images(model), site.logits)
    obstacles = _obstacles(path, site.logits)
    found = []
    for depth, node in enumerate(path):
        for value in node.outputs:
            if value in obstacles and is_float(value) and is_static(value) and is_spatial(static_shape(value)):
                found.append(
                    Candidate(
                        value,
                        str(value.name),
                        node.name or "",
                        node.op_type,
                        static_shape(value),
                        depth,
                        obstacles[value],
                    )
                )
    return found


def is_spatial(shape: tuple[int, ...]) -> bool:
    """(N, C, H, W) with more than one position."""
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _images(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if is_float(value)]


def _obstacles(path: Sequence[ir.Node], score: ir.Value) -> dict[ir.Value, str]:
    """Per value that leads to the score: the nearest operator on the way that has no rule, or ""."""
    obstacles = {score: ""}
    for node in reversed(path):
        ahead = [obstacles[y] for y in node.outputs if y in obstacles]
        if not ahead:
            continue
        here = next(filter(None, ahead), "") or ("" if operator_name(node) in ADJOINTS else operator_name(node))
        for x in node.inputs:
            if x is not None and (x not in obstacles or not obstacles[x]):
                obstacles[x] = here
    return obstacles


def choose_layers(model: ir.Model, site: ScoreSite, wanted: Sequence[str]) -> list[Candidate]:
    """The target layers for what the user asked.

    Args:
        model: In normal form.
        site: Where the score is.
        wanted: `auto`, tensor or node names, or patterns with `*` and `?` (the last match is taken).

    Raises:
        UsageError: A name that is none, or that is no spatial tensor before the score.
        ModelError: The model has no spatial tensor before its score.
    """
    known = candidates(model, site)
    if not known:
        raise ModelError(
            "no tensor of shape (N, C, H, W) lies between the image and the score; aerocam explains spatial layers"
        )
    chosen: list[Candidate] = []
    for name in wanted:
        picked = _automatic(model, site, known) if name == AUTO else [_named(model, known, name)]
        chosen += [item for item in picked if item not in chosen]
    for item in chosen:
        logger.info("target layer: %s (%s, shape %s)", item.name, item.op, "x".join(map(str, item.shape)))
    return chosen


def _named(model: ir.Model, known: Sequence[Candidate], name: str) -> Candidate:
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
                raise UsageError(_why_not(known, name, node, value, list(model.graph).index(node), model))
    names = [*(item.name for item in known), *(item.node for item in known if item.node)]
    raise UsageError(f"layer {name!r}: the model has no such tensor or node. {did_you_mean(name, names)}")


def _why_not(known: Sequence[Candidate], name: str, node: ir.Node, value: ir.Value, place: int, model: ir.Model) -> str:
    order = {other: i for i, other in enumerate(model.graph)}
    before = [item for item in known if order[item.value.producer()] < place]  # type: ignore[index]
    nearest = f"nearest spatial layer before it: {before[-1].name!r}" if before else "see: aerocam layers MODEL"
    shape = tuple(value.shape) if value.shape is not None else "unknown"
    if is_static(value) and is_spatial(static_shape(value)):
        return f"layer {name!r} ({node.op_type}): the score does not depend on it; {nearest}"
    return f"layer {name!r} ({node.op_type}) has shape {shape}, (N, C, H, W) with H * W > 1 is expected; {nearest}"


def _automatic(model: ir.Model, site: ScoreSite, known: Sequence[Candidate]) -> list[Candidate]:
    if site.task == "detect":
        return _head_inputs(model, site, known)
    last = last_cut(model, site.logits, known)
    return [last or known[-1]]


def last_cut(model: ir.Model, score: ir.Value, known: Sequence[Candidate]) -> Candidate | None:
    """The last candidate that every path from the image to `score` passes through, `score` itself not counted."""
    path = nodes_between(model.graph, _images(model), score)
    place = {value: i for i, node in enumerate(path) for value in node.outputs}
    images = model.graph.inputs
    last_use: dict[ir.Value, int] = {}
    for i, node in enumerate(path):
        last_use.update((x, i) for x in node.inputs if x is not None and (x in place or x in images))
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
    assert site.boxes is not None
    to_boxes = _ancestors(site.boxes)
    parts = _scales(site.logits)
    found: list[Candidate] = []
    for part in parts:
        if part in to_boxes:  # one convolution predicts boxes and classes
            shared = last_cut(model, part, known)
        else:
            to_part, size = _ancestors(part), static_shape(part)[2:]
            both = [item for item in known if item.value in to_part & to_boxes and item.shape[2:] == size]
            shared = both[-1] if both else None
        if shared is None:
            raise ModelError("the inputs of the detection head were not found; name a layer (aerocam layers MODEL)")
        found += [] if shared in found else [shared]
    return found


def _ancestors(value: ir.Value) -> set[ir.Value]:
    """`value` and every value it is computed from."""
    seen, waiting = {value}, [value]
    while waiting:
        node = waiting.pop().producer()
        new = [x for x in (node.inputs if node is not None else ()) if x is not None and x not in seen]
        seen.update(new)
        waiting += new
    return seen


def _scales(logits: ir.Value) -> list[ir.Value]:
    """The spatial predictions that are joined along the anchors."""
    views = ("Split", "Slice", "Reshape", "Transpose", "Flatten", "Identity")
    value, parts = logits, [logits]
    while (node := value.producer()) is not None and node.op_type in (*views, "Concat"):
        if node.op_type == "Concat":
            parts = [x for x in node.inputs if x is not None]
            break
        value = node.inputs[0]  # type: ignore[assignment]
    return [_before_views(part, views) for part in parts]


def _before_views(value: ir.Value, views: Sequence[str]) -> ir.Value:
    while (node := value.producer()) is not None and node.op_type in views:
        value = node.inputs[0]  # type: ignore[assignment]
    return value
