"""Stacks through what makes one number of those along some axes, or compares each with the others along one."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking
from aerocam.export.nodes.builder import constant_array


@stacking(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def _reduce(replay: Replay) -> ir.Value:
    replay.only_first("axes")
    node, op = replay.node, replay.op
    axes = [axis + 1 for axis in _axes(replay)]
    keep = bool(node.attributes.get_int("keepdims", 1))
    if not axes:  # for the operator's entry by entry part, as in ReduceL1
        return replay.again(replay.stacks[0], *node.inputs[1:])
    if node.op_type == "ReduceSum":
        return replay.together(op.sum(replay.apart(0), axes, keepdims=keep))
    return replay.together(op.reduce(node.op_type, replay.apart(0), axes, keepdims=keep))


def _axes(replay: Replay) -> list[int]:
    """Return the axes that a node reduces, counted from the front; none where it leaves its input as it is."""
    node = replay.node
    axes = node.attributes.get_ints("axes", ())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        if array is None:
            raise NoFormError(f"{node.op_type} along axes that are computed")
        axes = tuple(array.tolist())
    if not axes and not node.attributes.get_int("noop_with_empty_axes", 0):
        return list(range(replay.rank()))
    return [int(axis) % replay.rank() for axis in axes]


@stacking("ArgMax", "ArgMin")
def _best(replay: Replay) -> ir.Value:
    axis = replay.node.attributes.get_int("axis", 0) % replay.rank()
    return replay.together(replay.again(replay.apart(0), axis=axis + 1))


@stacking("Hardmax", "LayerNormalization", "LogSoftmax", "LpNormalization", "RMSNormalization", "Softmax")
def _along_an_axis(replay: Replay) -> ir.Value:
    """Replay along one axis, or along all axes from one on."""
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
