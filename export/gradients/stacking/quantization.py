"""Stacks through what rounds numbers, and what takes the rounded ones for numbers again."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import Replay, stacking


@stacking("DequantizeLinear", "QuantizeLinear")
def _rounding(replay: Replay) -> ir.Value:
    """With one scale, or one per place along an axis."""
    replay.only_first("a scale")
    axis = replay.node.attributes.get_int("axis", 1)
    if not replay.shape(1) or replay.shape(1) == (1,):
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    axis %= replay.rank()
    if axis:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:], axis=axis)
    return replay.together(replay.again(replay.apart(0), *replay.node.inputs[1:], axis=1))


@stacking("ConvInteger", "QLinearConv")
def _convolution(replay: Replay) -> ir.Value:
    """Axis 0 holds pictures."""
    replay.only_first("a scale or a weight")
    return replay.again(*(replay.value(i) for i in range(len(replay.stacks))))
