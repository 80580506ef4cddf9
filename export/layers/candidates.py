"""The tensors that can be explained: how deep they lie, what is behind them, where a walk back to them stops."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import (
    checked_cotangent,
    depends,
    descendants,
    nodes_between,
    rule_of,
    values_read,
)
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_static, may_be_image, static_shape
from aerocam.export.scores import ScoreSite
from aerocam.export.tracing.folding import Fold, layer_fold
from aerocam.export.tracing.layout import layouts


def multiply_adds(node: ir.Node) -> int:
    """Count the multiply-adds of a Conv, ConvTranspose, Gemm or MatMul with static shapes; 0 for any other node."""
    if len(node.inputs) < 2 or any(x is None or not is_static(x) for x in (*node.inputs[:2], *node.outputs)):
        return 0
    x, w = (static_shape(value) for value in node.inputs[:2])  # type: ignore[arg-type]
    y = static_shape(node.outputs[0])
    if node.op_type == "Conv":
        return int(np.prod(y) * np.prod(w[1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(x) * np.prod(w[1:]))
    if node.op_type == "Gemm":
        return int(np.prod(y) * x[0 if node.attributes.get_int("transA", 0) else 1])
    return int(np.prod(y, dtype=int) * x[-1]) if node.op_type == "MatMul" else 0


def gradient_cost(path: Iterable[tuple[ir.Node, int]], layer: ir.Value) -> int:
    """Estimate the multiply-adds of the gradient at `layer`: one product per factor that depends on it.

    Args:
        path: Nodes that lead to the score, in graph order, with their multiply-adds; those that do not depend on the
            layer cost nothing.
        layer: The target layer.
    """
    active, cost = {layer}, 0
    for node, amount in path:
        if any(x in active for x in values_read(node)):
            active.update(node.outputs)
            cost += amount and amount * sum(x in active for x in node.inputs[:2])
    return cost


def products_with_weights(path: Sequence[tuple[ir.Node, int]]) -> list[tuple[ir.Node, int]]:
    """Return the products of a path from input to score of which a factor is not computed from the input."""
    computed = {y for node, _ in path for y in node.outputs}
    return [(node, amount) for node, amount in path if amount and not computed.issuperset(node.inputs[:2])]


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
        field: Where it is listed: rows and columns of it that one answer depends on; None: no answer depends on it.
        is_stage: Where it is listed: whether it is the last of its size in a row, and so stands for the others.
    """

    value: ir.Value
    name: str
    node: str
    op: str
    fold: Fold
    depth: int
    obstacle: str
    path: Sequence[tuple[ir.Node, int]] = dataclasses.field(repr=False, compare=False)
    field: tuple[int, int] | None = None
    is_stage: bool = False

    @property
    def cost(self) -> int:
        """Estimate the multiply-adds that the gradient at this tensor takes."""
        return gradient_cost(self.path[max(self.depth, 0) :], self.value)

    @property
    def share_behind(self) -> float:
        """Return the share of the multiply-adds with weights, from input to score, that lie behind this tensor."""
        products = products_with_weights(self.path)
        reached = descendants((node for node, _ in self.path), [self.value])
        total = sum(amount for _, amount in products)
        behind = sum(amount for node, amount in products if not reached.isdisjoint(node.inputs))
        return behind / total if total else 0.0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return the shape (N, C, H, W) in which the activations leave the graph."""
        return self.fold.shape

    @property
    def is_folded(self) -> bool:
        """Return whether the tensor's own shape or order of axes is another one."""
        return self.shape != static_shape(self.value) or self.fold.order != tuple(range(4))


def candidates(model: ir.Model, site: ScoreSite, try_out: bool = False) -> list[Candidate]:
    """Return the image and every tensor of channels and positions between it and the score, in graph order.

    Args:
        model: In normal form.
        site: Where the score is.
        try_out: Whether rules are applied, so that what they refuse counts as an obstacle too.
    """
    images = image_inputs(model)
    path = nodes_between(model.graph, images, site.logits)
    stops = try_rules(model.graph, images, site.logits) if try_out else frozenset()
    between = obstacles(path, site.logits, stops)
    labels, amounts = layouts(model.graph, images), [(node, multiply_adds(node)) for node in path]
    places: list[tuple[int, ir.Node | None, ir.Value]] = [(-1, None, value) for value in images]
    places += [(depth, node, value) for depth, node in enumerate(path) for value in node.outputs]
    listed = []
    for depth, node, value in places:
        fold = layer_fold(value, labels.get(value)) if value in between else None
        if fold is not None:
            name, op = (node.name or "", operator_name(node)) if node is not None else ("", "")
            listed.append(Candidate(value, str(value.name), name, op, fold, depth, between[value], amounts))
    return listed


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


def image_inputs(model: ir.Model) -> list[ir.Value]:
    """Return the model's inputs of floats or pixels: of several those that are pictures, or else have positions."""
    floats = [value for value in model.graph.inputs if may_be_image(value)]
    ranks = [len(value.shape or ()) for value in floats]
    return next(
        (chosen for at_least in (4, 3) if (chosen := [x for x, n in zip(floats, ranks, strict=True) if n >= at_least])),
        floats,
    )


Stops = Set[tuple[ir.Node, ir.Value]]
"""Nodes that pass no gradient on, each with the value that would get it."""


def obstacles(path: Sequence[ir.Node], score: ir.Value, stops: Stops = frozenset()) -> dict[ir.Value, str]:
    """Return per value that leads to the score: the nearest operator on the way that passes no gradient to it, or "".

    Args:
        path: Nodes that lead to the score, in graph order.
        score: Where the walk starts.
        stops: What `try_rules` found; without it, operators without a rule alone are obstacles.
    """
    nearest = {score: ""}
    for node in reversed(path):
        ahead = [nearest[y] for y in node.outputs if y in nearest]
        if not ahead:
            continue
        behind, name = next(filter(None, ahead), ""), operator_name(node)
        for x in values_read(node):
            if not nearest.get(x):
                nearest[x] = behind or (name if name not in ADJOINTS or (node, x) in stops else "")
    return nearest


def try_rules(graph: ir.Graph, images: Sequence[ir.Value], score: ir.Value) -> Stops:
    """Apply the rules from the score back to the images, and return where they refuse; the graph stays as it was."""
    size, names = len(graph), set(graph.initializers)
    try:
        return _stops(Builder(graph), nodes_between(graph, images, score), images, score)
    finally:
        graph.remove(list(graph)[size:], safe=True)
        for name in graph.initializers.keys() - names:
            del graph.initializers[name]


def _stops(op: Builder, path: Sequence[ir.Node], images: Sequence[ir.Value], score: ir.Value) -> Stops:
    active = {*images, *(output for node in path for output in node.outputs)}
    arrived = {score: [op.floats_like(score, np.ones(static_shape(score)))]}
    stops: set[tuple[ir.Node, ir.Value]] = set()
    for node in reversed(path):
        dys = [op.total(arrived[y]) if y in arrived else None for y in node.outputs]
        if not any(dy is not None for dy in dys):
            continue
        try:
            cotangents = rule_of(node)(op, node, *dys)
        except ModelError:
            stops.update((node, x) for x in values_read(node))
            continue
        for i, (x, dx) in enumerate(zip(node.inputs, cotangents, strict=True)):
            if x is not None and depends(x, active):
                try:
                    arrived.setdefault(x, []).append(checked_cotangent(op, node, i, dx))
                except ModelError:
                    stops.add((node, x))
    return stops
