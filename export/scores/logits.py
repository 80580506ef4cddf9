"""The logits behind an output: back through what makes probabilities of them and what is done to these afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from aerocam import manifest
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_float, is_static, static_shape

OUTPUT_ACTIVATIONS: dict[str, manifest.Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}

VIEWS = frozenset({"Identity", "Dropout", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""Operators that change no number and no order."""

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul"})

BOUNDED = frozenset({"Clip", "Exp", "HardSigmoid", "Sigmoid", "Softmax", "Tanh"})

TOLERANCE = 1e-3
"""What limits may be inside of 0 and 1: some clip probabilities before a logarithm."""


@dataclass(frozen=True)
class Logits:
    """What an output is made of.

    Attributes:
        value: The logits; where there are several, the first.
        activation: What is applied to them; `none` where the output holds them.
        axis: The axis of a softmax in `value`; None where there is none.
        others: Further logits, of the shape of `value`: the output is the mean of what is made of each.
        axes: The axis of `value` that each axis of the output is; -1 where it is none of them.
        is_direct: Whether the activation gives the output itself, views and casts apart.
        order: The entry of `value`, along its axis of classes, that each class of the output is; empty: the same.
    """

    value: ir.Value
    activation: manifest.Activation = "none"
    axis: int | None = None
    others: tuple[ir.Value, ...] = ()
    axes: tuple[int, ...] = ()
    order: tuple[int, ...] = ()
    is_direct: bool = False


def chosen_from(output: ir.Value) -> ir.Value:
    """Return the scores that an output is the best of, by TopK or ArgMax, or the output itself."""
    value = output
    while (node := value.producer()) is not None and (node.op_type in VIEWS or node.op_type == "Cast"):
        value = _first(node)
    chooses = node is not None and node.op_type in ("TopK", "ArgMax")
    return _first(node) if chooses and is_static(_first(node)) else output  # type: ignore[arg-type]


def logits_behind(output: ir.Value, class_axis: int = 1) -> Logits:
    """Find the logits behind an output.

    The way back leads through casts, views, limits of 0 and 1, a unit such as per cent, a choice of classes, the mean
    of several, and resized or transposed positions, to a softmax or a sigmoid, written out or not. Where there is none,
    the output itself holds the logits, as far as casts and transpositions alone lead back; for one place not behind a
    cast, which ONNX Runtime drops where nothing else reads what is in front of it.

    Args:
        output: The output, or what it is the best of; its shape is static.
        class_axis: Its axis of classes, along which a Gather chooses some.
    """
    axes = tuple(range(len(static_shape(output))))
    order: tuple[int, ...] = ()
    kept = ("Cast", "Identity", "Transpose") if len(axes) > 2 else ("Identity", "Transpose")
    only_views = True
    value, bare, is_bare = output, Logits(output, axes=axes), True
    while (node := value.producer()) is not None and node.domain == "":
        if (made := _activated(node)) is not None:
            return replace(made, axes=axes, order=order, is_direct=only_views and node.op_type in OUTPUT_ACTIVATIONS)
        x = _passed(node)
        if x is None or (node.op_type == "Gather" and node.attributes.get_int("axis", 0) != axes[class_axis]):
            break
        if node.op_type == "Gather":
            entries = range(static_shape(x)[axes[class_axis]])
            chosen = [entries[int(i)] for i in np.ravel(constant_array(node.inputs[1]))]  # type: ignore[arg-type]
            order = tuple(chosen[i] for i in order) if order else tuple(chosen)
        axes = tuple(_axis_before(node, x, axis) for axis in axes)
        only_views = only_views and (node.op_type in VIEWS or node.op_type == "Cast")
        value, is_bare = x, is_bare and node.op_type in kept
        if is_bare:
            bare = Logits(value, axes=axes)
    if node is not None and node.op_type == "LogSoftmax":  # its softmax is that of its input
        return Logits(_first(node), axes=axes, order=order)
    return bare


def is_bounded(output: ir.Value) -> bool:
    """Return whether something between the last weights and an output keeps its numbers within limits.

    Numbers that merely happen to lie in 0 to 1, such as the means of a small network's activations, are no
    probabilities.
    """
    waiting, seen = [output], {output}
    while waiting:
        node = waiting.pop().producer()
        if node is None or node.op_type in WEIGHTED:
            continue
        if node.op_type in BOUNDED:
            return True
        new = [x for x in node.inputs if x is not None and x not in seen]
        seen.update(new)
        waiting += new
    return False


def _axis_before(node: ir.Node, x: ir.Value, axis: int) -> int:
    """Return which axis of a node's input an axis of its output is, -1 if it is none."""
    if axis < 0:
        return axis
    before, after = static_shape(x), static_shape(node.outputs[0])
    if node.op_type == "Transpose":
        return int(node.attributes.get_ints("perm", tuple(reversed(range(len(after)))))[axis])
    if len(before) == len(after):
        return axis
    lead = int(np.prod(after[:axis], dtype=int))
    same = (i for i, size in enumerate(before) if size == after[axis] and int(np.prod(before[:i], dtype=int)) == lead)
    return next(same, -1)


def _activated(node: ir.Node) -> Logits | None:
    """Return the logits of a node that makes probabilities, or of the mean of several of the kind."""
    x = _first(node)
    if node.op_type in OUTPUT_ACTIVATIONS:
        rank = len(static_shape(x))
        axis = node.attributes.get_int("axis", -1) % rank if node.op_type == "Softmax" else None
        return Logits(x, OUTPUT_ACTIVATIONS[node.op_type], axis)
    if node.op_type == "Div":
        return _softmax(node) or _sigmoid(node) or _mean(node)
    return _mean(node)


def _softmax(node: ir.Node) -> Logits | None:
    """Return the logits of exp(x) / sum(exp(x)), x perhaps less its maximum."""
    powers, total = node.inputs
    exp, add = _producer(powers, "Exp"), _producer(total, "ReduceSum")
    if exp is None or add is None or add.inputs[0] is not powers or not is_static(powers):  # type: ignore[arg-type]
        return None
    axes = reduced_axes(add)
    x = _first(exp)
    below = _producer(x, "Sub")
    if (
        below is not None
        and (top := _producer(below.inputs[1], "ReduceMax")) is not None
        and top.inputs[0] is below.inputs[0]
    ):
        x = _first(below)
    return Logits(x, "softmax", axes[0]) if len(axes) == 1 else None


def reduced_axes(node: ir.Node) -> list[int]:
    """Return the axes, counted from the front, that a reduction with constant axes sums over."""
    given = constant_array(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("axes", ())
    rank = len(static_shape(_first(node)))
    return [] if given is None else [int(axis) % rank for axis in np.ravel(given)]


def _sigmoid(node: ir.Node) -> Logits | None:
    """Return the logits of 1 / (1 + exp(-x))."""
    one, total = constant_array(node.inputs[0]), _producer(node.inputs[1], "Add")
    if one is None or not np.all(one == 1) or total is None:
        return None
    for term, other in (total.inputs, reversed(total.inputs)):
        power, unit = _producer(term, "Exp"), constant_array(other)
        negative = _producer(power.inputs[0], "Neg") if power is not None else None
        if negative is not None and unit is not None and np.all(unit == 1):
            return Logits(_first(negative), "sigmoid")
    return None


def _mean(node: ir.Node) -> Logits | None:
    """Return the logits of the mean of several softmaxes or sigmoids, all of one shape."""
    terms = _terms(node)
    made = [logits_behind(term) for term in terms]
    first = made[0] if len(made) > 1 else None
    alike = first is not None and all(
        part.activation == first.activation != "none"
        and part.axis == first.axis
        and not part.order
        and not part.others
        and static_shape(part.value) == static_shape(first.value)
        for part in made
    )
    return replace(first, others=tuple(part.value for part in made[1:])) if alike else None  # type: ignore[type-var]


def _terms(node: ir.Node) -> Sequence[ir.Value]:
    """Return what a node takes the mean of, with equal weights; empty where it takes none."""
    if node.op_type == "Mean":
        return [x for x in node.inputs if x is not None]
    if node.op_type == "ReduceMean" and len(axes := reduced_axes(node)) == 1:
        joined = _producer(node.inputs[0], "Concat")
        if joined is not None and joined.attributes["axis"].as_int() % len(static_shape(_first(node))) == axes[0]:
            parts = [x for x in joined.inputs if x is not None]
            return parts if all(static_shape(x)[axes[0]] == 1 for x in parts) else []
    factor = _factor(node)
    if factor is None or factor[1] <= 0:
        return []
    terms = _summands(factor[0])
    return terms if len(terms) > 1 and np.isclose(factor[1] * len(terms), 1, rtol=1e-3) else []


def _summands(value: ir.Value) -> list[ir.Value]:
    node = value.producer()
    if (
        node is None
        or node.op_type not in ("Add", "Sum")
        or any(x is None or constant_array(x) is not None for x in node.inputs)
    ):
        return [value]
    return [term for x in node.inputs for term in _summands(x)]  # type: ignore[arg-type]


def _passed(node: ir.Node) -> ir.Value | None:
    """Return what a node hands on, its numbers as they are but for a unit, places or limits; None for other nodes."""
    x = _first(node)
    if x is None or not is_static(x) or not is_float(x) or not is_static(node.outputs[0]):
        return None
    if node.op_type in VIEWS or node.op_type in ("Cast", "Transpose", "Resize"):
        return x
    if node.op_type == "Gather":
        indices = constant_array(node.inputs[1])
        return x if indices is not None and indices.ndim == 1 else None
    if node.op_type == "Clip":
        low, high = _limits(node)
        return x if low <= TOLERANCE and high >= 1 - TOLERANCE else None
    factor = _factor(node)
    return factor[0] if factor is not None and factor[1] > 0 else None


def _limits(node: ir.Node) -> tuple[float, float]:
    """Return the limits of a Clip; infinite ones where there are none, NaN where they are computed."""
    limits = []
    for i, (name, none) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        given = node.inputs[i] if len(node.inputs) > i else None
        number = constant_array(given)
        limits.append(
            node.attributes.get_float(name, none) if given is None else float(number) if number is not None else np.nan
        )
    return limits[0], limits[1]


def _factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Return what a node multiplies by a constant, and that constant."""
    if node.op_type not in ("Mul", "Div"):
        return None
    for x, y in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        number = constant_array(y)
        if x is not None and number is not None and number.size == 1 and constant_array(x) is None:
            c = float(np.ravel(number)[0])
            if node.op_type == "Mul":
                return x, c
            return (x, 1 / c) if y is node.inputs[1] and c else None
    return None


def _producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type and node.domain == "" else None


def _first(node: ir.Node) -> ir.Value:
    return node.inputs[0]  # type: ignore[return-value]
