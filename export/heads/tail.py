"""Heads that run the part behind the layer on changed activations, inside the same graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from aerocam.errors import UsageError
from aerocam.export.gradients.autodiff import values_read
from aerocam.export.gradients.stacking import replay
from aerocam.export.heads.channelwise import channel_axes, each_channel
from aerocam.export.heads.registry import fuses
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import is_float, static_shape
from aerocam.export.tail import Tail, between_values

MOST = 256 * 2**20
"""Bytes that the largest tensor of a head's batch may take."""


@fuses("reciprocam")
def reciprocam(op: Builder, activations: ir.Value, tail: Tail) -> ir.Value:
    """Compute Recipro-CAM (arXiv:2209.14074, sec. 3): the score with activations kept at one position alone."""
    _, _, height, width = static_shape(activations)
    count = height * width
    _require_room("reciprocam", tail, tail.bytes(count), count)
    places = np.arange(count, dtype=np.int32)
    # 1 at one position, else 0: made when the model is loaded, not stored
    kept = op.Equal(op.constant(places.reshape(-1, 1, 1, 1)), op.constant(places.reshape(1, 1, height, width)))
    scores = tail(op.Mul(activations, op.Cast(kept, to=activations.dtype)), count)
    return op.reshape(op.Transpose(scores, perm=[1, 0]), static_shape(scores)[1], height, width)


@fuses("ablationcam")
def ablationcam(op: Builder, activations: ir.Value, tail: Tail) -> ir.Value:
    """Compute Ablation-CAM (Desai, Ramaswamy, WACV 2020, eq. 3-4): weights (S - S_c) / S, S_c with channel c at zero.

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
    """Return the stacks, one entry per channel, of the values in which channels have met, or are about to.

    Args:
        op: Builder of the graph.
        tail: What follows the layer.
        empty: What an ablated layer holds, (1, C, h, w).
    """
    layer, channels = tail.layer, tail.layer.shape[1]
    axes = channel_axes(tail.nodes, layer.value, layer.fold.channel_axis(static_shape(layer.value)))
    filled = {layer.value: layer.fold.unfold(op, empty, layer.value, 1)}
    replay(op, [node for node in tail.nodes if node.outputs[0] in axes], filled, 1)
    behind = {layer.value, *between_values(tail.nodes, layer.value)}
    joining = [node for node in tail.nodes if node.outputs[0] not in axes]
    stacks: dict[ir.Value, ir.Value] = {}
    for value, axis in axes.items():
        readers = [node for node in joining if value in values_read(node)]
        if not readers and value is not tail.end:
            continue
        stacked = {}
        if value is not tail.end and all([x for x in values_read(node) if x in behind] == [value] for node in readers):
            change = op.Sub(filled[value], value) if is_float(value) else None
            stacked = {node.outputs[0]: _met(op, node, change, axis) for node in readers}
        if not stacked or None in stacked.values():
            stacked = {value: _in_turn(op, value, filled[value], axis)}
        stacks |= {y: stack for y, stack in stacked.items() if stack is not None}
    _require_room("ablationcam", tail, max(tail.bytes(channels, value) for value in stacks), channels)
    return stacks


def _met(op: Builder, node: ir.Node, change: ir.Value | None, axis: int) -> ir.Value | None:
    """Return the stack of a node's output as input 0 changes in one channel after the other; None if not linear."""
    added = each_channel(op, node, change, axis) if change is not None else None
    return added if added is None else _stack(op, op.Add(_alone(op, node.outputs[0]), added), node.outputs[0])


def _in_turn(op: Builder, value: ir.Value, filled: ir.Value, axis: int) -> ir.Value:
    """Return the stack of `value` whose entry c has channel c of `filled`."""
    shape = static_shape(value)
    numbers = np.arange(shape[axis], dtype=np.int32)
    along = [-1 if i == axis else 1 for i in range(len(shape))]
    own = op.Equal(op.constant(numbers.reshape(-1, *(1,) * len(shape))), op.constant(numbers.reshape(1, *along)))
    if not is_float(value):
        return _stack(op, op.Where(own, _alone(op, filled), _alone(op, value)), value)
    change = op.Mul(_alone(op, op.Sub(filled, value)), op.Cast(own, to=value.dtype))
    return _stack(op, op.Add(_alone(op, value), change), value)


def _alone(op: Builder, value: ir.Value) -> ir.Value:
    """Return a value with an axis of length 1 in front, (1, *shape)."""
    return op.reshape(value, 1, *static_shape(value))


def _stack(op: Builder, apart: ir.Value, value: ir.Value) -> ir.Value:
    """Return values (count, *shape), each shaped like `value`, one after the other on axis 0, as a stack."""
    (count, *_), shape = static_shape(apart), static_shape(value)
    return op.reshape(apart, count * shape[0], *shape[1:])


def _require_room(method: str, tail: Tail, needed: int, count: int) -> None:
    """Make sure that a batch is not too large to be run in one piece.

    Raises:
        UsageError: The largest tensor of the batch takes more than `MOST` bytes.
    """
    if needed > MOST:
        raise UsageError(
            f"`head={method!r}`: at layer {tail.layer.name!r} it runs {count} activations at once, a tensor of"
            f" {needed / 2**20:.0f} MB, at most {MOST // 2**20} MB are allowed; choose a layer nearer to the score, or"
            " give `packaging='split'`, `batch=32` instead of a head"
        )
