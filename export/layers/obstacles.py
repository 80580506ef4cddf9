"""Where the walk from the score stops: tried out before a layer is chosen."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
import onnx_ir as ir

from aerocam.errors import ModelError
from aerocam.export.gradients.adjoints import ADJOINTS
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import checked_cotangent, depends, nodes_between, rule_of, values_read
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

Stops = Set[tuple[ir.Node, ir.Value]]
"""Nodes that pass no gradient on, each with the value that would get it."""


def obstacles(path: Sequence[ir.Node], score: ir.Value, stops: Stops = frozenset()) -> dict[ir.Value, str]:
    """Per value that leads to the score: the nearest operator on the way that passes no gradient to it, or "".

    Args:
        path: Nodes that lead to the score, in graph order.
        score: Where the walk starts.
        stops: What `try_rules` found; without it, operators without a rule alone are obstacles.
    """
    found = {score: ""}
    for node in reversed(path):
        ahead = [found[y] for y in node.outputs if y in found]
        if not ahead:
            continue
        behind, name = next(filter(None, ahead), ""), operator_name(node)
        for x in values_read(node):
            if not found.get(x):
                found[x] = behind or (name if name not in ADJOINTS or (node, x) in stops else "")
    return found


def try_rules(graph: ir.Graph, images: Sequence[ir.Value], score: ir.Value) -> Stops:
    """Apply the rules from the score back to the images, and say where they refuse; the graph is left as it was."""
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
