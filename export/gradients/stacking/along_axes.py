"""Stacks through what combines entries along an axis: products of matrices, reductions, softmax, running sums."""

from __future__ import annotations

import onnx_ir as ir

from aerocam.export.gradients.stacking.registry import NoFormError, Replay, stacking
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.operator_tables import axes_of_reduction
from aerocam.export.nodes.shapes import static_shape


@stacking("MatMul")
def _matmul(replay: Replay) -> ir.Value:
    """Multiply the rows of the stack by a weight on the right, whatever they are; otherwise T is one more axis."""
    ranks = [len(replay.shape(i)) for i in range(2)]
    if replay.stacks[1] is None and ranks[0] > 1 and ranks[1] <= 2:
        return replay.again(replay.stacks[0], replay.node.inputs[1])
    rank = max(*ranks, 2)
    sides = [_side(replay, i, rank) if replay.stacks[i] is not None else replay.node.inputs[i] for i in range(2)]
    return replay.together(replay.op.MatMul(*sides))


def _side(replay: Replay, i: int, rank: int) -> ir.Value:
    """Return a stacked factor as (T, ..., rows, columns); a vector is one row on the left, one column on the right."""
    if len(replay.shape(i)) > 1:
        return replay.apart(i, rank)
    (size,) = replay.shape(i)
    stack = replay.stacks[i]
    assert stack is not None
    return replay.op.reshape(stack, replay.count, *(1,) * (rank - 2), *((1, size) if i == 0 else (size, 1)))


@stacking("Gemm")
def _gemm(replay: Replay) -> ir.Value:
    """Multiply the rows of a stacked A, which are independent; otherwise use a MatMul, with T as an axis."""
    op, attributes = replay.op, replay.node.attributes
    turned = [attributes.get_int("transA", 0), attributes.get_int("transB", 0)]
    bias = replay.node.inputs[2] if len(replay.node.inputs) > 2 else None
    plain = bias is None or (replay.stacks[2] is None and (len(replay.shape(2)) < 2 or replay.shape(2)[0] == 1))
    if replay.stacks[0] is not None and replay.stacks[1] is None and not turned[0] and plain:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    sides = []
    for i in range(2):
        side = replay.apart(i) if replay.stacks[i] is not None else replay.node.inputs[i]
        assert side is not None
        rank = len(static_shape(side))
        sides.append(op.Transpose(side, perm=[*range(rank - 2), rank - 1, rank - 2]) if turned[i] else side)
    product = op.scale(op.MatMul(*sides), attributes.get_float("alpha", 1.0))
    if bias is not None:
        offset = replay.apart(2, 2) if replay.stacks[2] is not None else bias
        product = op.Add(product, op.scale(offset, attributes.get_float("beta", 1.0)))
    return replay.together(product)


@stacking("Einsum")
def _einsum(replay: Replay) -> ir.Value:
    """Put one more letter into the equation, for T."""
    equation = replay.node.attributes["equation"].as_string().replace(" ", "")
    if "." in equation:
        raise NoFormError("Einsum with an ellipsis")
    terms, arrow, result = equation.partition("->")
    if not arrow:
        result = "".join(sorted(letter for letter in set(terms) - {","} if terms.count(letter) == 1))
    letter = next(chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) not in equation)
    marked = [
        letter + term if stack is not None else term
        for term, stack in zip(terms.split(","), replay.stacks, strict=True)
    ]
    inputs = [replay.apart(i) if stack is not None else replay.node.inputs[i] for i, stack in enumerate(replay.stacks)]
    return replay.together(replay.op.Einsum(*inputs, equation=f"{','.join(marked)}->{letter}{result}"))


@stacking(
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
def _reduce(replay: Replay) -> ir.Value:
    replay.only_first("axes")
    node, op = replay.node, replay.op
    reduced = axes_of_reduction(node)
    if reduced is None:
        raise NoFormError(f"{node.op_type} along axes that are computed")
    axes = [axis + 1 for axis in reduced]
    keep = bool(node.attributes.get_int("keepdims", 1))
    if not axes:  # for the operator's entry by entry part, as in ReduceL1
        return replay.again(replay.stacks[0], *node.inputs[1:])
    if node.op_type == "ReduceSum":
        return replay.together(op.sum(replay.apart(0), axes, keepdims=keep))
    return replay.together(op.reduce(node.op_type, replay.apart(0), axes, keepdims=keep))


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
