"""The part of a model behind a layer, forward only, on several activations of that layer at once.

What is chosen on the picture as it is stays chosen: the target, a segmenter's mask, the anchor of a box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.errors import UnsupportedOperatorError
from aerocam.export.gradients.autodiff import descendants, nodes_between
from aerocam.export.gradients.stacking import NoFormError, replay
from aerocam.export.layers.candidates import Candidate
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.shapes import is_static, static_shape
from aerocam.export.scores import Chosen, ScoreSite


@dataclass(frozen=True)
class Tail:
    """What follows a layer, up to the score.

    Attributes:
        op: Builder of the graph.
        layer: The layer.
        score: The scores of the picture as it is, float32 (targets,).
        nodes: What lies between, in the graph's order.
        end: Where the replay ends: the chosen logits, or the scores themselves where they are no sum of logits.
        seed: How the logits at `end` make up the scores: one array of their shape per target, on axis 0; None for the
            scores themselves.
    """

    op: Builder
    layer: Candidate
    score: ir.Value
    nodes: Sequence[ir.Node]
    end: ir.Value
    seed: ir.Value | None

    def __call__(self, activations: ir.Value, count: int) -> ir.Value:
        """Return the scores, float32 (count, targets), of activations (count, C, h, w) of the layer.

        Raises:
            UnsupportedOperatorError: An operator has no form for several activations.
        """
        own = self.layer.fold.unfold(self.op, activations, self.layer.value, count)
        return self.from_values({self.layer.value: own}, count)

    def from_values(self, stacks: Mapping[ir.Value, ir.Value], count: int) -> ir.Value:
        """Return the scores, float32 (count, targets), where stacks take the place of values on the way.

        Raises:
            UnsupportedOperatorError: An operator has no form for several activations.
        """
        op, end = self.op, self.stacks(stacks, count)[self.end]
        rows = op.single(op.reshape(end, count, int(np.prod(static_shape(self.end)))))
        (targets,) = static_shape(self.score)
        weights = constant_array(self.seed)
        if self.seed is None or (weights is not None and weights.size == 1 and weights.item() == 1):
            return op.reshape(rows, count, targets)
        seed = op.single(op.reshape(self.seed, targets, static_shape(rows)[1]))
        return op.MatMul(rows, op.Transpose(seed, perm=[1, 0]))

    def stacks(self, starts: Mapping[ir.Value, ir.Value], count: int) -> dict[ir.Value, ir.Value]:
        """Return the stacks of the values that are given, and of all values behind them.

        Raises:
            UnsupportedOperatorError: An operator has no form for several activations.
        """
        stacks = dict(starts)
        nodes = [node for node in self.nodes if not any(y in starts for y in node.outputs)]
        try:
            replay(self.op, nodes, stacks, count)
        except NoFormError as error:
            raise UnsupportedOperatorError(
                f"operator {error} between layer {self.layer.name!r} and the score has no form for several activations"
                " at once; choose a layer behind it (aerocam layers MODEL), or a method that reads gradients"
            ) from error
        return stacks

    def bytes(self, count: int, start: ir.Value | None = None) -> int:
        """Return the size in bytes of the largest stack of values from `start`, by default the layer, to the score."""
        start = start or self.layer.value
        between = between_values(self.nodes, start)
        return count * max(_nbytes(value) for value in {start, *between})


def tail_of(op: Builder, site: ScoreSite, start: Chosen, layer: Candidate, original: Set[ir.Node]) -> Tail:
    """Return what follows a layer, up to the score.

    Args:
        op: Builder of the graph, in which the score is chosen already.
        site: Where the class scores are.
        start: The chosen logits.
        layer: The layer.
        original: The model's own nodes.
    """
    score = next(value for value in op.graph.outputs if value.name == manifest.SCORE)
    summed = site.task != "embed" and not site.is_share and site.score.contrast == "none"
    end = start.value if summed else score
    # Of the nodes that choose the score none that compares or counts: what they found on the picture holds.
    nodes = nodes_between(op.graph, [layer.value], end, original)
    return Tail(op, layer, score, nodes, end, start.seed if summed else None)


def append_tail(tail: Tail, batch: int) -> None:
    """Append the scores of `batch` activations, a new input, as an output."""
    op, layer = tail.op, tail.layer
    shape = ir.Shape([batch, *layer.shape[1:]])
    activations = ir.Value(name=manifest.BATCH, type=layer.value.type, shape=shape)
    op.graph.inputs.append(activations)
    op.output(tail(activations, batch), manifest.SCORES)


def between_values(nodes: Sequence[ir.Node], start: ir.Value) -> set[ir.Value]:
    """Return the values that nodes, in the graph's order, compute from `start`."""
    return descendants(nodes, [start]) - {start}


def _nbytes(value: ir.Value) -> int:
    return int(np.prod(static_shape(value), dtype=int)) * 4 if is_static(value) else 0
