"""Stacks through what relates the entries along an axis to each other."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking
from aerocam.export.nodes.builder import constant_array


@stacking("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "RMSNormalization", "Softmax")
def _along_an_axis(replay: Replay) -> ir.Value:
    """Along one axis, or all from one on."""
    replay.only_first("a weight")
    if len(replay.node.outputs) > 1 and any(y.uses() for y in replay.node.outputs[1:]):
        raise NoFormError(f"{replay.node.op_type} with a second output that is read")
    axis = replay.node.attributes.get_int("axis", -1) % replay.rank()
    if axis:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:], axis=axis)
    return replay.together(replay.again(replay.apart(0), *replay.node.inputs[1:], axis=1))


@stacking("CumSum")
def _cumsum(replay: Replay) -> ir.Value:
    axis = constant_array(replay.node.inputs[1])
    if axis is None:
        raise NoFormError("CumSum along an axis that is computed")
    moved = replay.op.constant(axis.reshape(()) % replay.rank() + 1)
    return replay.together(replay.again(replay.apart(0), moved))
