"""What was computed once, computed for several at once: nodes written for one, replayed on a stack.

A stack of T arrays of one shape lies as one array, T times as long on axis 0. What the graph has for one is appended
once more with the stack in its place; values that are the same for all broadcast against it. An operator that works on
axis 0 gets the stack as an axis of its own, (T, ...), and works on the axis behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from aerocam.errors import UnsupportedOperatorError
from aerocam.export.gradients.adjoints.registry import operator_name
from aerocam.export.gradients.autodiff import nodes_between, values_read
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.operator_tables import decorator_of
from aerocam.export.nodes.shapes import static_shape


class NoFormError(Exception):
    """Raised where an operator has no form for stacks; the text names the operator and what stands in the way."""


@dataclass(frozen=True)
class Replay:
    """One node that is appended once more.

    Attributes:
        op: Builder of the graph.
        node: The node, as it is for one.
        stacks: Per input: its stack, or None where it is the same for all.
        count: T, arrays in a stack.
    """

    op: Builder
    node: ir.Node
    stacks: Sequence[ir.Value | None]
    count: int

    def value(self, i: int) -> ir.Value | None:
        """Return input `i`: its stack, or itself where it is the same for all."""
        return self.stacks[i] if self.stacks[i] is not None else self.node.inputs[i]

    def shape(self, i: int) -> tuple[int, ...]:
        """Return the shape of input `i` for one."""
        return static_shape(self.node.inputs[i])  # type: ignore[arg-type]

    def rank(self) -> int:
        """Return how many axes input 0 has."""
        return len(self.shape(0))

    def again(self, *inputs: ir.Value | None, **changed: object) -> ir.Value:
        """Append the same operator on other inputs, with its attributes but for those in `changed`."""
        attributes = {name: attribute.value for name, attribute in self.node.attributes.items()} | changed
        return getattr(self.op, self.node.op_type)(*inputs, **attributes)

    def apart(self, i: int, rank: int = 0) -> ir.Value:
        """Return the stack of input `i` as (T, ...), with axes of length 1 behind T to make up `rank`."""
        stack, shape = self.stacks[i], self.shape(i)
        assert stack is not None
        return self.op.reshape(stack, self.count, *(1,) * (rank - len(shape)), *shape)

    def repeated(self, i: int) -> ir.Value:
        """Return input `i` as (T, ...): its stack, or itself T times."""
        if self.stacks[i] is not None:
            return self.apart(i)
        single, shape = self.node.inputs[i], self.shape(i)
        assert single is not None
        if single.dtype == ir.DataType.BOOL:
            return self.op.Expand(self.op.reshape(single, 1, *shape), self.op.integers(self.count, *shape))
        return self.op.copies(single, self.count)

    def merged(self, i: int) -> ir.Value:
        """Return input `i` as a stack, also where it is the same for all."""
        stack, shape = self.stacks[i], self.shape(i)
        return stack if stack is not None else self.op.reshape(self.repeated(i), self.count * shape[0], *shape[1:])

    def together(self, apart: ir.Value, index: int = 0) -> ir.Value:
        """Return `apart`, (T, n, ...), as a stack of output `index`."""
        shape = static_shape(self.node.outputs[index])
        return self.op.reshape(apart, self.count * shape[0], *shape[1:])

    def only_first(self, others: str) -> None:
        """Make sure that input 0 alone is a stack.

        Raises:
            NoFormError: Input 0 is no stack, or another one is; the message says what the others hold by `others`.
        """
        if self.stacks[0] is None or any(stack is not None for stack in self.stacks[1:]):
            raise NoFormError(f"{self.node.op_type} with {others} that is not the same for all")


StackingRule: TypeAlias = Callable[[Replay], "ir.Value | Sequence[ir.Value]"]

RULES: dict[str, StackingRule] = {}
"""Rule per operator, filled by `@stacking`: how it works on stacks."""


stacking = decorator_of(RULES)
"""Registers a rule for some operators: it returns the stack of output 0, or one per output."""


def replay(op: Builder, nodes: Iterable[ir.Node], stacks: dict[ir.Value, ir.Value], count: int) -> None:
    """Append nodes once more, on stacks.

    Args:
        op: Builder of the graph.
        nodes: In the graph's order; those that read none of `stacks` are left out.
        stacks: The stack that takes a value's place; those of the nodes' outputs are added.
        count: Arrays in a stack.

    Raises:
        NoFormError: An operator has no form for stacks.
    """
    for node in nodes:
        if not any(x in stacks for x in values_read(node)):
            continue
        inputs = [stacks.get(x) if x is not None else None for x in node.inputs]
        rule = RULES.get(operator_name(node))
        if rule is None or not static_shape(node.outputs[0]):
            raise NoFormError(operator_name(node) + ("" if rule is None else " with a result that has no axes"))
        outputs = rule(Replay(op, node, inputs, count))
        stacks.update(zip(node.outputs, (outputs,) if isinstance(outputs, ir.Value) else outputs, strict=False))


def stack(op: Builder, seed: ir.Value, seeds: ir.Value, values: Sequence[ir.Value], count: int) -> list[ir.Value]:
    """Return `values`, computed from one cotangent, as computed from several: gradients of several targets.

    Args:
        op: Builder of the graph.
        seed: The cotangent of one target, from which `values` were computed.
        seeds: The stack of cotangents that takes its place.
        values: The values to have for every target.
        count: Targets in the stack.

    Returns:
        The stacks of `values`.

    Raises:
        UnsupportedOperatorError: An operator has no form for stacks.
    """
    stacks = {seed: seeds}
    try:
        replay(op, _depending(op.graph, seed, values), stacks, count)
    except NoFormError as error:
        raise UnsupportedOperatorError(
            f"operator {error} in the gradient has no form for several targets; export with one target,"
            " and run it once per target"
        ) from error
    return [stacks[value] if value in stacks else _repeated(op, value, count) for value in values]


def _repeated(op: Builder, value: ir.Value, count: int) -> ir.Value:
    """Return the stack of a value that is the same for every target, as a gradient of zero is."""
    shape = static_shape(value)
    return op.reshape(op.copies(value, count), count * shape[0], *shape[1:])


def _depending(graph: ir.Graph, seed: ir.Value, values: Sequence[ir.Value]) -> list[ir.Node]:
    """Return the nodes on the way from `seed` to any of `values`, in the graph's order."""
    nodes: dict[ir.Node, None] = {}
    for value in values:
        nodes.update(dict.fromkeys(nodes_between(graph, [seed], value)))
    return [node for node in graph if node in nodes]
