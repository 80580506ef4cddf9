"""Stacks through what treats entries or the pictures of a batch apart: a stack is one longer batch."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

ENTRYWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"
})  # fmt: skip
"""Operators whose entries depend on the entries at the same position of their inputs alone."""


@stacking(*ENTRYWISE)
def _entrywise(replay: Replay) -> ir.Value:
    """Keep T on axis 0 where no input is broadcast along that axis; otherwise give T an axis of its own."""
    shape = static_shape(replay.node.outputs[0])
    indices = range(len(replay.stacks))
    fits = all(
        replay.shape(i)[:1] == shape[:1] and len(replay.shape(i)) == len(shape)
        if replay.stacks[i] is not None
        else replay.node.inputs[i] is None or len(replay.shape(i)) < len(shape) or replay.shape(i)[0] == 1
        for i in indices
    )
    if fits:
        return replay.again(*(replay.value(i) for i in indices))
    inputs = [replay.apart(i, len(shape)) if replay.stacks[i] is not None else replay.node.inputs[i] for i in indices]
    return replay.together(replay.again(*inputs))


@stacking("Dropout")
def _dropout(replay: Replay) -> ir.Value:
    """Pass the stack on: nothing is dropped at inference."""
    replay.only_first("a ratio")
    return replay.op.Identity(replay.stacks[0])


@stacking("DequantizeLinear", "QuantizeLinear")
def _rounding(replay: Replay) -> ir.Value:
    """Replay with one scale, or one per entry along an axis."""
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
    """Replay the stack as a batch: axis 0 holds pictures."""
    replay.only_first("a scale or a weight")
    return replay.again(*(replay.value(i) for i in range(len(replay.stacks))))


@stacking(
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalLpPool",
    "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN", "LpPool", "MaxPool", "SpaceToDepth",
)  # fmt: skip
def _by_picture(replay: Replay) -> ir.Value:
    """Replay the stack as a batch: axis 0 holds pictures."""
    replay.only_first("a weight")
    if len(replay.node.outputs) > 1 and any(y.uses() for y in replay.node.outputs[1:]):
        raise NoFormError(f"{replay.node.op_type} with a second output that is read")
    return replay.again(*(replay.value(i) for i in range(len(replay.stacks))))


@stacking("GridSample", "DeformConv")
def _with_positions(replay: Replay) -> ir.Value:
    """Replay with positions to read that may differ from picture to picture; weights must be the same for all."""
    weights = (1, 3) if replay.node.op_type == "DeformConv" else ()
    if any(replay.stacks[i] is not None for i in weights if i < len(replay.stacks)):
        raise NoFormError(f"{replay.node.op_type} with a weight that is not the same for all")
    inputs = [x if x is None or i in weights else replay.merged(i) for i, x in enumerate(replay.node.inputs)]
    return replay.again(*inputs)


@stacking("Attention")
def _attention(replay: Replay) -> ir.Value:
    """Replay as a batch: axis 0 of queries, keys and values holds pictures, and so may that of the mask."""
    if len(replay.node.inputs) > 4 or len(replay.node.outputs) > 1:
        raise NoFormError("Attention with a past or a second output")
    inputs: list[ir.Value | None] = [replay.merged(i) for i in range(3)]
    if len(replay.node.inputs) > 3 and replay.node.inputs[3] is not None:
        if replay.stacks[3] is not None:
            raise NoFormError("Attention with a mask that is not the same for all")
        per_picture = len(replay.shape(3)) == 4 and replay.shape(3)[0] > 1
        inputs.append(replay.merged(3) if per_picture else replay.node.inputs[3])
    return replay.again(*inputs)


@stacking("Resize")
def _resize(replay: Replay) -> ir.Value:
    """Resize the axes behind the first; a list of all sizes begins with the number of pictures, which T multiplies."""
    replay.only_first("a size")
    x, *rest = (replay.value(i) for i in range(len(replay.stacks)))
    axes = replay.node.attributes.get_ints("axes", tuple(range(replay.rank())))
    scales, sizes = (constant_array(rest[i]) if len(rest) > i else None for i in (1, 2))
    first = [i for i, axis in enumerate(axes) if axis % replay.rank() == 0]
    if first and sizes is not None and sizes.size:
        if int(sizes[first[0]]) != replay.shape(0)[0]:
            raise NoFormError("Resize along the first axis")
        changed = sizes.copy()
        changed[first[0]] *= replay.count
        rest[2] = replay.op.constant(changed)
    elif first and (scales is None or scales[first[0]] != 1):
        raise NoFormError("Resize along the first axis")
    return replay.again(x, *rest)
