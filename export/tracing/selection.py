"""Choose entries of a tensor along an axis, as early in the graph as possible.

The gradient of one class logit needs one row of the last weight, not a product of the whole weight with a one-hot
vector. So the choice is pushed from the logits towards the input, as an identity of algebra: the chosen row of
`Gemm(x, W)` is `Gemm(x, row of W)`. The walk then differentiates that, and what only the full tensor needed never
appears. Where no rule pushes further, a Gather is left.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.operator_tables import decorator_of
from aerocam.export.nodes.shapes import static_shape


@dataclass(frozen=True)
class Choice:
    """What is chosen along an axis.

    Attributes:
        axis: The axis, counted from the front.
        index: int32 or int64 (n,), computed at run time.
        low: Smallest value the index can take.
        high: One more than the largest.
        keep: Values at which the choice must stop: the target layers.
    """

    axis: int
    index: ir.Value
    low: int
    high: int
    keep: Set[ir.Value]

    @property
    def count(self) -> int:
        """Return how many entries are chosen."""
        return static_shape(self.index)[0]


Selector: TypeAlias = Callable[[Builder, ir.Node, ir.Value, Choice], "ir.Value | None"]

SELECTORS: dict[str, Selector] = {}
"""How a choice is pushed through an operator; None where this node does not allow it."""


def select(op: Builder, value: ir.Value, choice: Choice) -> ir.Value:
    """Return `value` restricted to the chosen entries along `choice.axis`, which stays, `choice.count` long."""
    if static_shape(value)[choice.axis] == choice.count == 1:
        return value
    node = value.producer()
    if node is not None and value not in choice.keep and node.domain == "" and node.op_type in SELECTORS:
        pushed = SELECTORS[node.op_type](op, node, value, choice)
        if pushed is not None:
            return pushed
    return op.Gather(value, choice.index, axis=choice.axis)


selector = decorator_of(SELECTORS)
"""Registers a selector for some operators."""


def _again(op: Builder, node: ir.Node, *inputs: ir.Value | None) -> ir.Value:
    """Append the same operator with the same attributes on other inputs."""
    return getattr(op, node.op_type)(*inputs, **{name: attribute.value for name, attribute in node.attributes.items()})


@selector("Identity", "Dropout", "Relu", "Sigmoid", "Clip")
def _entrywise(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    if node.op_type == "Dropout":
        return select(op, node.inputs[0], choice)  # type: ignore[arg-type]
    return _again(op, node, select(op, node.inputs[0], choice), *node.inputs[1:])  # type: ignore[arg-type]


@selector("GlobalAveragePool", "AveragePool", "MaxPool")
def _per_channel(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    if choice.axis > 1:
        return None
    return _again(op, node, select(op, node.inputs[0], choice))  # type: ignore[arg-type]


@selector("Add", "Sub", "Mul", "Div", "Sum")
def _broadcast(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    rank = len(static_shape(value))
    chosen = []
    for x in node.inputs:
        assert x is not None
        axis = choice.axis - (rank - len(static_shape(x)))
        spread = axis < 0 or static_shape(x)[axis] < static_shape(value)[choice.axis]
        chosen.append(x if spread else select(op, x, replace(choice, axis=axis)))
    return _again(op, node, *chosen)


@selector("Gemm")
def _gemm(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    if choice.axis != 1:
        return None
    a, b, *bias = node.inputs
    row = op.Gather(b, choice.index, axis=0 if node.attributes.get_int("transB", 0) else 1)
    return _again(op, node, a, row, *(_bias(op, offset, choice) for offset in bias))


@selector("MatMul")
def _matmul(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    a, b = node.inputs
    if choice.axis != len(static_shape(value)) - 1 or constant_array(b) is None or len(static_shape(b)) < 2:  # type: ignore[arg-type]
        return None
    return op.MatMul(a, op.Gather(b, choice.index, axis=len(static_shape(b)) - 1))  # type: ignore[arg-type]


@selector("Conv")
def _conv(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    if choice.axis != 1 or node.attributes.get_int("group", 1) != 1:
        return None
    x, w, *bias = node.inputs
    row = op.Gather(w, choice.index, axis=0)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    attributes["kernel_shape"] = list(static_shape(w)[2:])  # type: ignore[arg-type]
    return op.Conv(x, row, *(_bias(op, offset, choice) for offset in bias), **attributes)


def _bias(op: Builder, bias: ir.Value | None, choice: Choice) -> ir.Value | None:
    if bias is None or not static_shape(bias) or static_shape(bias)[-1] == 1:
        return bias
    return op.Gather(bias, choice.index, axis=len(static_shape(bias)) - 1)


@selector("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    """Push the choice to an axis that survives: as many entries lie before it, and it is as long."""
    x = node.inputs[0]
    assert x is not None
    before, after = static_shape(x), static_shape(value)
    lead = int(np.prod(after[: choice.axis], dtype=int))
    for axis, length in enumerate(before):
        if length == after[choice.axis] and int(np.prod(before[:axis], dtype=int)) == lead:
            picked = select(op, x, replace(choice, axis=axis))
            return op.reshape(picked, *after[: choice.axis], choice.count, *after[choice.axis + 1 :])
    return None


@selector("Transpose")
def _transpose(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(static_shape(value))))))
    return _again(op, node, select(op, node.inputs[0], replace(choice, axis=perm[choice.axis])))  # type: ignore[arg-type]


@selector("Concat")
def _concat(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    axis = node.attributes["axis"].as_int() % len(static_shape(value))
    parts = [x for x in node.inputs if x is not None]
    if axis != choice.axis:
        return op.Concat(*(select(op, part, choice) for part in parts), axis=axis)
    start = 0
    for part in parts:
        length = static_shape(part)[axis]
        if start <= choice.low and choice.high <= start + length:
            return select(op, part, _shifted(op, choice, -start))
        start += length
    return None


@selector("TopK")
def _top(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    """Push a choice of the k-th best entry to the k-th best index, of a single row of entries."""
    values, indices = node.outputs
    axis, x = node.attributes.get_int("axis", -1) % len(static_shape(value)), node.inputs[0]
    assert x is not None
    if value is not values or choice.axis != axis or np.prod(static_shape(x), dtype=int) != static_shape(x)[axis]:
        return None
    picked = op.Gather(op.reshape(indices, static_shape(indices)[axis]), choice.index, axis=0)
    return select(op, x, replace(choice, axis=axis, index=picked, low=0, high=static_shape(x)[axis]))


@selector("Split")
def _split(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    axis = node.attributes.get_int("axis", 0) % len(static_shape(value))
    x, index = node.inputs[0], node.outputs.index(value)
    assert x is not None
    start = sum(static_shape(y)[axis] for y in node.outputs[:index])
    if axis == choice.axis:
        return select(op, x, _shifted(op, choice, start))
    return op.slice_axis(select(op, x, choice), axis, start, start + static_shape(value)[axis])


@selector("Slice")
def _slice(op: Builder, node: ir.Node, value: ir.Value, choice: Choice) -> ir.Value | None:
    x, *bounds = node.inputs
    constants = [constant_array(bound) for bound in bounds]
    if x is None or any(array is None for array in constants) or len(constants) < 3:
        return None
    axes = [int(axis) % len(static_shape(value)) for axis in constants[2]]  # type: ignore[union-attr]
    if choice.axis not in axes:
        return _again(op, node, select(op, x, choice), *bounds)
    position = axes.index(choice.axis)
    step = 1 if len(constants) < 4 else int(constants[3][position])  # type: ignore[index]
    if step != 1 or len(axes) > 1:
        return None
    start = range(static_shape(x)[choice.axis])[int(constants[0][position]) :].start  # type: ignore[index]
    return select(op, x, _shifted(op, choice, start))


def _shifted(op: Builder, choice: Choice, offset: int) -> Choice:
    if offset == 0:
        return choice
    index = op.Add(op.Cast(choice.index, to=ir.DataType.INT64), op.integers(offset))
    return replace(choice, index=index, low=choice.low + offset, high=choice.high + offset)
