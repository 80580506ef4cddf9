"""The tensors that can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import nodes_between
from aerocam.export.layers.cost import gradient_cost, multiply_adds
from aerocam.export.layers.obstacles import obstacles, try_rules
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.scores import ScoreSite
from aerocam.export.tracing.folding import Fold, layer_fold
from aerocam.export.tracing.layout import layouts


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
    images = image_inputs(model)
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


def image_inputs(model: ir.Model) -> list[ir.Value]:
    """The model's float inputs."""
    return [value for value in model.graph.inputs if is_float(value)]
