"""Stacks through what moves numbers, or picks them by position."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape


@stacking("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(replay: Replay) -> ir.Value:
    """Give the stack its new shape: rows that follow one another stay so."""
    replay.only_first("a shape")
    stack = replay.stacks[0]
    assert stack is not None
    return replay.together(stack)


@stacking("Transpose")
def _transpose(replay: Replay) -> ir.Value:
    perm = replay.node.attributes.get_ints("perm", tuple(reversed(range(replay.rank()))))
    if perm[0] == 0:
        return replay.again(replay.stacks[0])
    return replay.together(replay.op.Transpose(replay.apart(0), perm=[0, *(axis + 1 for axis in perm)]))


@stacking("Expand")
def _expand(replay: Replay) -> ir.Value:
    shape = static_shape(replay.node.outputs[0])
    return replay.together(replay.op.expand(replay.apart(0, len(shape)), (replay.count, *shape)))


@stacking("Tile")
def _tile(replay: Replay) -> ir.Value:
    replay.only_first("a number of copies")
    repeats = constant_array(replay.node.inputs[1])
    if repeats is None:
        raise NoFormError("Tile with a number of copies that is computed")
    return replay.together(replay.op.Tile(replay.apart(0), replay.op.integers(1, *repeats.tolist())))


@stacking("Concat")
def _concat(replay: Replay) -> ir.Value:
    axis = replay.node.attributes["axis"].as_int() % replay.rank()
    if axis:
        return replay.op.Concat(*(replay.merged(i) for i in range(len(replay.stacks))), axis=axis)
    return replay.together(replay.op.Concat(*(replay.repeated(i) for i in range(len(replay.stacks))), axis=1))


@stacking("Split")
def _split(replay: Replay) -> Sequence[ir.Value]:
    """Split into one stack per output."""
    replay.only_first("a length")
    axis, count = replay.node.attributes.get_int("axis", 0) % replay.rank(), len(replay.node.outputs)
    x = replay.stacks[0] if axis else replay.apart(0)
    outputs = replay.again(x, *replay.node.inputs[1:], axis=axis or 1, _outputs=count)
    parts = [outputs] if isinstance(outputs, ir.Value) else list(outputs)
    return parts if axis else [replay.together(part, i) for i, part in enumerate(parts)]


@stacking("Pad")
def _pad(replay: Replay) -> ir.Value:
    replay.only_first("a margin")
    _, margins, *rest = replay.node.inputs
    pads = constant_array(margins)
    padded_axes = constant_array(rest[1]) if len(rest) > 1 else np.arange(replay.rank())
    if pads is None or padded_axes is None:
        raise NoFormError("Pad with a margin that is computed")
    axes = [int(axis) % replay.rank() for axis in padded_axes]
    before, after = pads.reshape(2, -1).tolist()
    if not any(n for axis, *both in zip(axes, before, after, strict=True) for n in both if axis == 0):
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    full = np.zeros((2, replay.rank() + 1), np.int64)
    full[:, np.array(axes) + 1] = before, after
    return replay.together(replay.again(replay.apart(0), replay.op.integers(*full.reshape(-1).tolist()), *rest[:1]))


@stacking("Slice")
def _slice(replay: Replay) -> ir.Value:
    replay.only_first("a bound")
    starts, ends, *rest = replay.node.inputs[1:]
    sliced_axes = constant_array(rest[0]) if rest and rest[0] is not None else np.arange(static_shape(starts)[0])  # type: ignore[arg-type]
    if sliced_axes is None:
        raise NoFormError("Slice along an axis that is computed")
    positive = [int(axis) % replay.rank() for axis in sliced_axes]
    if 0 not in positive:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    moved = replay.op.constant(np.array([axis + 1 for axis in positive], sliced_axes.dtype))
    if starts is not None and starts.dtype == ir.DataType.INT32:
        moved = replay.op.Cast(moved, to=ir.DataType.INT32)
    return replay.together(replay.op.Slice(replay.apart(0), starts, ends, moved, *rest[1:]))


@stacking("Trilu")
def _trilu(replay: Replay) -> ir.Value:
    return replay.together(replay.again(replay.apart(0), *replay.node.inputs[1:]))


@stacking("Gather")
def _gather(replay: Replay) -> ir.Value:
    """Gather from the stack by indices that are the same for all."""
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
    """Return the stacks of the best values along an axis and of their indices."""
    replay.only_first("a number of entries")
    axis = replay.node.attributes.get_int("axis", -1) % replay.rank()
    outputs = replay.again(replay.apart(0), replay.node.inputs[1], axis=axis + 1, _outputs=2)
    return [replay.together(part, i) for i, part in enumerate(outputs)]  # type: ignore[arg-type,var-annotated]


@stacking("RoiAlign", "MaxUnpool", "ReverseSequence", "ScatterND")
def _by_picture_number(replay: Replay) -> ir.Value:
    """Raise NoFormError: the indices count pictures, or entries of the whole batch."""
    raise NoFormError(replay.node.op_type)
