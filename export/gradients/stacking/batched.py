"""Stacks through what works entry by entry, quantisation included."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import Replay, stacking
from aerocam.export.nodes.shapes import static_shape

ENTRYWISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
    "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor"
})  # fmt: skip
"""Operators whose entries depend on the entries at the same place of their inputs alone."""


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
