"""Several targets in one pass: the adjoint written for one cotangent, replayed on a stack of them.

A stack of T arrays of one shape lies as one array, T times as long on axis 0. What a rule has appended for one target
is appended once more with the stack in its place; forward values, which have no targets, broadcast against it. An
operator that works on axis 0 gets the stack as an axis of its own, (T, ...), and works on the axis behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.autodiff import nodes_between
from aerocam.export.builder import Builder, constant_array
from aerocam.export.shapes import static_shape


@dataclass(frozen=True)
class Replay:
    """One node that is appended once more.

    Attributes:
        op: Builder of the graph.
        node: The node, as it is for one target.
        stacks: Per input: its stack, or None where it has no targets.
        count: Targets in a stack.
    """

    op: Builder
    node: ir.Node
    stacks: Sequence[ir.Value | None]
    count: int

    def value(self, i: int) -> ir.Value | None:
        """Input `i`: its stack, or itself where it has no targets."""
        return self.stacks[i] if self.stacks[i] is not None else self.node.inputs[i]

    def shape(self, i: int) -> tuple[int, ...]:
        """Shape of input `i` for one target."""
        return static_shape(self.node.inputs[i])  # type: ignore[arg-type]

    def again(self, *inputs: ir.Value | None, **changed: object) -> ir.Value:
        """The same operator on other inputs, with its attributes but for those changed."""
        attributes = {name: item.value for name, item in self.node.attributes.items()} | changed
        return getattr(self.op, self.node.op_type)(*inputs, **attributes)

    def apart(self, i: int, rank: int = 0) -> ir.Value:
        """The stack of input `i` as (T, ...), with axes of length 1 to make up `rank` behind T."""
        stack, shape = self.stacks[i], self.shape(i)
        assert stack is not None
        return self.op.reshape(stack, self.count, *(1,) * (rank - len(shape)), *shape)

    def repeated(self, i: int) -> ir.Value:
        """Input `i` as (T, ...): its stack, or itself T times."""
        if self.stacks[i] is not None:
            return self.apart(i)
        one, shape = self.node.inputs[i], self.shape(i)
        assert one is not None
        return self.op.expand(self.op.reshape(one, 1, *shape), (self.count, *shape))

    def together(self, apart: ir.Value) -> ir.Value:
        """(T, n, ...) as a stack."""
        shape = static_shape(self.node.outputs[0])
        return self.op.reshape(apart, self.count * shape[0], *shape[1:])


Rule: TypeAlias = Callable[[Replay], ir.Value]

RULES: dict[str, Rule] = {}
"""How an operator works on stacks."""


def stacking(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for `operators`."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, rule))
        return rule

    return register


def stack(op: Builder, one: ir.Value, seeds: ir.Value, values: Sequence[ir.Value], count: int) -> list[ir.Value]:
    """What was computed from one cotangent, computed from several.

    Args:
        op: Builder of the graph.
        one: The cotangent of one target, from which `values` were computed.
        seeds: The stack that takes its place.
        values: What is wanted.
        count: Targets in the stack.

    Returns:
        The stacks of `values`.

    Raises:
        UnsupportedOperatorError: An operator has no form for stacks.
    """
    stacks = {one: seeds}
    for node in _depending(op.graph, one, values):
        inputs = [stacks.get(x) if x is not None else None for x in node.inputs]
        rule = RULES.get(node.op_type)
        if rule is None or not static_shape(node.outputs[0]):
            raise UnsupportedOperatorError(
                f"operator {node.op_type} in the gradient has no form for several targets; export with one target,"
                " and run it once per target"
            )
        stacks[node.outputs[0]] = rule(Replay(op, node, inputs, count))
    return [stacks[value] if value in stacks else _repeated(op, value, count) for value in values]


def _repeated(op: Builder, value: ir.Value, count: int) -> ir.Value:
    """The stack of a value that is the same for every target: a gradient that is zero."""
    shape = static_shape(value)
    return op.reshape(op.expand(op.reshape(value, 1, *shape), (count, *shape)), count * shape[0], *shape[1:])


def _depending(graph: ir.Graph, one: ir.Value, values: Sequence[ir.Value]) -> list[ir.Node]:
    found: dict[ir.Node, None] = {}
    for value in values:
        found.update(dict.fromkeys(nodes_between(graph, [one], value)))
    return [node for node in graph if node in found]


@stacking("Add", "Cast", "Div", "Identity", "Mul", "Neg", "Relu", "Sub", "Sum", "Where")
def _entrywise(replay: Replay) -> ir.Value:
    """Entry by entry; T lies on axis 0 where no input is broadcast along that axis against it."""
    shape = static_shape(replay.node.outputs[0])
    places = range(len(replay.stacks))
    fits = all(
        replay.shape(i)[:1] == shape[:1] and len(replay.shape(i)) == len(shape)
        if replay.stacks[i] is not None
        else replay.node.inputs[i] is None or len(replay.shape(i)) < len(shape) or replay.shape(i)[0] == 1
        for i in places
    )
    if fits:
        return replay.again(*(replay.value(i) for i in places))
    inputs = [replay.apart(i, len(shape)) if replay.stacks[i] is not None else replay.node.inputs[i] for i in places]
    return replay.together(replay.again(*inputs))


@stacking("AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "MaxPool", "SpaceToDepth")
def _by_picture(replay: Replay) -> ir.Value:
    """Axis 0 holds pictures, which do not meet."""
    if replay.stacks[0] is None or any(stack is not None for stack in replay.stacks[1:]):
        raise UnsupportedOperatorError(
            f"operator {replay.node.op_type} in the gradient takes its weight from the target; export with one target,"
            " and run it once per target"
        )
    return replay.again(*(replay.value(i) for i in range(len(replay.stacks))))


@stacking("Reshape")
def _reshape(replay: Replay) -> ir.Value:
    """Rows that follow one another stay so."""
    stack, shape = replay.stacks[0], static_shape(replay.node.outputs[0])
    assert stack is not None
    return replay.op.reshape(stack, replay.count * shape[0], *shape[1:])


@stacking("Transpose")
def _transpose(replay: Replay) -> ir.Value:
    perm = replay.node.attributes.get_ints("perm", tuple(reversed(range(len(replay.shape(0))))))
    if perm[0] == 0:
        return replay.again(replay.stacks[0])
    return replay.together(replay.op.Transpose(replay.apart(0), perm=[0, *(axis + 1 for axis in perm)]))


@stacking("Expand")
def _expand(replay: Replay) -> ir.Value:
    shape = static_shape(replay.node.outputs[0])
    return replay.together(replay.op.expand(replay.apart(0, len(shape)), (replay.count, *shape)))


@stacking("MatMul")
def _matmul(replay: Replay) -> ir.Value:
    """Products of matrices: a weight on the right meets rows, whatever they are; otherwise T is one more axis."""
    ranks = [len(replay.shape(i)) for i in range(2)]
    if min(ranks) < 2:
        raise UnsupportedOperatorError(
            "operator MatMul in the gradient with a vector has no form for several targets; export with one target,"
            " and run it once per target"
        )
    if replay.stacks[1] is None and ranks[1] == 2:
        return replay.again(replay.stacks[0], replay.node.inputs[1])
    inputs = [replay.apart(i, max(ranks)) if replay.stacks[i] is not None else replay.node.inputs[i] for i in range(2)]
    return replay.together(replay.op.MatMul(*inputs))


@stacking("Gemm")
def _gemm(replay: Replay) -> ir.Value:
    """Y = alpha A' B': rows of A are independent; otherwise by MatMul, with T as an axis."""
    op, attributes = replay.op, replay.node.attributes
    assert len(replay.stacks) == 2, "rules append no Gemm with a bias"
    turned = [attributes.get_int("transA", 0), attributes.get_int("transB", 0)]
    if replay.stacks[1] is None and not turned[0]:
        return replay.again(replay.stacks[0], replay.node.inputs[1])
    sides = []
    for i in range(2):
        side = replay.apart(i) if replay.stacks[i] is not None else replay.node.inputs[i]
        assert side is not None
        rank = len(static_shape(side))
        sides.append(op.Transpose(side, perm=[*range(rank - 2), rank - 1, rank - 2]) if turned[i] else side)
    return replay.together(op.scale(op.MatMul(*sides), attributes.get_float("alpha", 1.0)))


@stacking("Concat")
def _concat(replay: Replay) -> ir.Value:
    axis = replay.node.attributes["axis"].as_int() % len(replay.shape(0))
    parts = [replay.repeated(i) for i in range(len(replay.stacks))]
    return replay.together(replay.op.Concat(*parts, axis=axis + 1))


@stacking("Pad")
def _pad(replay: Replay) -> ir.Value:
    pads = constant_array(replay.node.inputs[1])
    assert pads is not None
    before, after = pads.reshape(2, -1).tolist()
    if before[0] == after[0] == 0:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    moved = replay.op.integers(0, *before, 0, *after)
    return replay.together(replay.again(replay.apart(0), moved, *replay.node.inputs[2:]))


@stacking("Slice")
def _slice(replay: Replay) -> ir.Value:
    starts, ends, axes, *steps = replay.node.inputs[1:]
    given = constant_array(axes)
    assert given is not None
    positive = [int(axis) % len(replay.shape(0)) for axis in given]
    if 0 not in positive:
        return replay.again(replay.stacks[0], *replay.node.inputs[1:])
    moved = replay.op.integers(*(axis + 1 for axis in positive))
    return replay.together(replay.op.Slice(replay.apart(0), starts, ends, moved, *steps))


@stacking("ReduceMean", "ReduceSum")
def _reduce(replay: Replay) -> ir.Value:
    given = replay.node.attributes.get_ints("axes") or constant_array(replay.node.inputs[1])
    assert given is not None
    axes = [int(axis) % len(replay.shape(0)) + 1 for axis in given]
    keep = bool(replay.node.attributes.get_int("keepdims", 1))
    if replay.node.op_type == "ReduceSum":
        return replay.together(replay.op.sum(replay.apart(0), axes, keepdims=keep))
    return replay.together(replay.op.reduce("ReduceMean", replay.apart(0), axes, keepdims=keep))


@stacking("Gather")
def _gather(replay: Replay) -> ir.Value:
    """From stacked data by indices that have no targets."""
    if replay.stacks[0] is None:
        raise UnsupportedOperatorError(
            "operator Gather in the gradient takes its indices from the target; export with one target, and run it once"
            " per target"
        )
    axis = replay.node.attributes.get_int("axis", 0) % len(replay.shape(0))
    return replay.together(replay.op.Gather(replay.apart(0), replay.node.inputs[1], axis=axis + 1))


@stacking("CumSum")
def _cumsum(replay: Replay) -> ir.Value:
    axis = constant_array(replay.node.inputs[1])
    assert axis is not None
    moved = replay.op.constant(axis.reshape(()) % len(replay.shape(0)) + 1)
    return replay.together(replay.again(replay.apart(0), moved))


@stacking("GatherElements", "ScatterElements")
def _by_element(replay: Replay) -> ir.Value:
    axis = replay.node.attributes.get_int("axis", 0) % len(replay.shape(0))
    inputs = [replay.repeated(i) for i in range(len(replay.stacks))]
    return replay.together(replay.again(*inputs, axis=axis + 1))


@stacking("Trilu")
def _trilu(replay: Replay) -> ir.Value:
    return replay.together(replay.again(replay.apart(0), *replay.node.inputs[1:]))


@stacking("Einsum")
def _einsum(replay: Replay) -> ir.Value:
    """With one more letter for T."""
    equation = replay.node.attributes["equation"].as_string().replace(" ", "")
    terms, result = equation.split("->")
    letter = next(chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) not in equation)
    marked = [
        letter + term if stack is not None else term
        for term, stack in zip(terms.split(","), replay.stacks, strict=True)
    ]
    inputs = [replay.apart(i) if stack is not None else replay.node.inputs[i] for i, stack in enumerate(replay.stacks)]
    return replay.together(replay.op.Einsum(*inputs, equation=f"{','.join(marked)}->{letter}{result}"))
