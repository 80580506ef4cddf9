"""Heads that run the part behind the layer on changed activations, inside the same graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.builder import Builder
from aerocam.export.channelwise import channel_axes
from aerocam.export.contractions import each_channel
from aerocam.export.heads.registry import tail_head
from aerocam.export.shapes import static_shape
from aerocam.export.stacking import replay
from aerocam.export.tail import Tail

MOST = 256 * 2**20
"""Bytes that the largest tensor of a head's batch may take."""


@tail_head("reciprocam")
def reciprocam(op: Builder, activations: ir.Value, tail: Tail) -> ir.Value:
    """Recipro-CAM (arXiv:2209.14074, sec. 3): the score where the activations are kept at one position alone."""
    _, _, height, width = static_shape(activations)
    count = height * width
    _require_room("reciprocam", tail, tail.bytes(count), count)
    places = np.arange(count, dtype=np.int32)
    kept = _same_place(op, places.reshape(-1, 1, 1, 1), places.reshape(1, 1, height, width), activations)
    scores = tail(op.Mul(activations, kept), count)
    return op.reshape(op.Transpose(scores, perm=[1, 0]), static_shape(scores)[1], height, width)


@tail_head("ablationcam")
def ablationcam(op: Builder, activations: ir.Value, tail: Tail) -> ir.Value:
    """Ablation-CAM (Desai, Ramaswamy, WACV 2020, eq. 3-4): weights (S - S_c) / S, S_c with channel c at zero.

    As long as channels stay apart, the layer and one of zeros are run once each. What their difference adds where
    channels meet, channel by channel, is one run of the operator in which they do; the batch begins behind it.
    """
    _, channels, height, width = static_shape(activations)
    empty = op.Expand(op.floats_like(activations, np.zeros((1, 1, 1, 1))), op.integers(*static_shape(activations)))
    scores = tail.from_values(_ablated(op, tail, empty), channels)
    whole = tail.from_values({tail.end: tail.end}, 1)  # summed up in the same order as the others
    weights = op.Transpose(op.Div(op.Sub(whole, scores), whole), perm=[1, 0])
    rows = op.cast_like(op.reshape(activations, channels, height * width), weights)
    return op.reshape(op.MatMul(weights, rows), static_shape(weights)[0], height, width)


def _ablated(op: Builder, tail: Tail, empty: ir.Value) -> dict[ir.Value, ir.Value]:
    """The stacks, one entry per channel, of the values in which channels have met, or are about to.

    Args:
        op: Builder of the graph.
        tail: What follows the layer.
        empty: What an ablated layer holds, (1, C, h, w).
    """
    layer, channels = tail.layer, tail.layer.shape[1]
    axes = channel_axes(tail.nodes, layer.value, layer.fold.channel_axis(static_shape(layer.value)))
    filled = {layer.value: layer.fold.unfold(op, empty, layer.value, 1)}
    replay(op, [node for node in tail.nodes if node.outputs[0] in axes], filled, 1)
    joining = [node for node in tail.nodes if node.outputs[0] not in axes]
    changes: dict[ir.Value, ir.Value] = {}
    for value, axis in axes.items():
        readers = [node for node in joining if value in node.inputs]
        if not readers and value is not tail.end:
            continue
        change = op.Sub(filled[value], value)
        found = {node.outputs[0]: each_channel(op, node, change, axis) for node in readers}
        alone = all(sum(x in axes for x in node.inputs) == 1 and node.inputs[0] is value for node in readers)
        if value is tail.end or not alone or None in found.values():
            found = {value: _in_turn(op, change, axis)}
        changes |= {y: each for y, each in found.items() if each is not None}
    _require_room("ablationcam", tail, max(tail.bytes(channels, value) for value in changes), channels)
    return {value: _added(op, value, change) for value, change in changes.items()}


def _in_turn(op: Builder, change: ir.Value, axis: int) -> ir.Value:
    """(channels, *shape): entry c has channel c of a value, and 0 elsewhere."""
    shape = static_shape(change)
    numbers = np.arange(shape[axis], dtype=np.int32)
    place = [-1 if i == axis else 1 for i in range(len(shape))]
    own = _same_place(op, numbers.reshape(-1, *(1,) * len(shape)), numbers.reshape(1, *place), change)
    return op.Mul(op.reshape(change, 1, *shape), own)


def _added(op: Builder, value: ir.Value, changes: ir.Value) -> ir.Value:
    """The stack of a value with changes (count, *shape) added."""
    shape, (count, *_) = static_shape(value), static_shape(changes)
    return op.reshape(op.Add(op.reshape(value, 1, *shape), changes), count * shape[0], *shape[1:])


def _same_place(op: Builder, left: np.ndarray, right: np.ndarray, like: ir.Value) -> ir.Value:
    """1 where two arrays of numbers agree, else 0: made when the model is loaded, not stored."""
    return op.Cast(op.Equal(op.constant(left), op.constant(right)), to=like.dtype)


def _require_room(method: str, tail: Tail, needed: int, count: int) -> None:
    """Make sure that a batch is not too large to be run in one piece.

    Raises:
        UsageError: It is.
    """
    if needed > MOST:
        raise UsageError(
            f"--head {method}: at layer {tail.layer.name!r} it runs {count} activations at once, a tensor of"
            f" {needed / 2**20:.0f} MB, at most {MOST // 2**20} MB are allowed; choose a layer nearer to the score, or"
            " give --packaging split --batch 32 instead of a head"
        )
