"""Stacks through what takes entries by their place."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking


@stacking("Gather")
def _gather(replay: Replay) -> ir.Value:
    """From stacked data by indices that are the same for all."""
    replay.only_first("indices")
    axis = replay.node.attributes.get_int("axis", 0) % replay.rank()
    if axis:
        return replay.again(replay.stacks[0], replay.node.inputs[1], axis=axis)
    return replay.together(replay.op.Gather(replay.apart(0), replay.node.inputs[1], axis=1))


@stacking("GatherElements", "ScatterElements")
def _by_element(replay: Replay) -> ir.Value:
    axis = replay.node.attributes.get_int("axis", 0) % replay.rank()
    inputs = [replay.repeated(i) for i in range(len(replay.stacks))]
    return replay.together(replay.again(*inputs, axis=axis + 1))


@stacking("GatherND")
def _gather_nd(replay: Replay) -> ir.Value:
    inputs = [replay.repeated(i) for i in range(2)]
    return replay.together(replay.again(*inputs, batch_dims=replay.node.attributes.get_int("batch_dims", 0) + 1))


@stacking("TopK")
def _top(replay: Replay) -> Sequence[ir.Value]:
    """Values and places along an axis."""
    replay.only_first("a number of entries")
    axis = replay.node.attributes.get_int("axis", -1) % replay.rank()
    found = replay.again(replay.apart(0), replay.node.inputs[1], axis=axis + 1, _outputs=2)
    return [replay.together(part, place) for place, part in enumerate(found)]  # type: ignore[arg-type,var-annotated]


@stacking("RoiAlign", "MaxUnpool", "ReverseSequence", "ScatterND")
def _by_picture_number(replay: Replay) -> ir.Value:
    """Their indices count pictures or entries of the whole batch."""
    raise NoFormError(replay.node.op_type)
