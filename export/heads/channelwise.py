"""How far behind a layer its channels stay apart: what one channel does there is known from two runs.

A value is channel-wise where each of its entries depends on one channel of the layer only, along one axis. So whatever
is done to one channel at a time can be done there instead of at the layer, and a channel need not be run by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.registry import operator_name, tensor
from aerocam.export.gradients.stacking.elementwise import ENTRYWISE
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import is_static, static_shape

Axes: TypeAlias = Mapping[ir.Value, int]
Step: TypeAlias = Callable[[ir.Node, int], "int | None"]

STEPS: dict[str, Step] = {}
"""Per operator: from the axis of the channels in its input 0 to that in its output, None where they meet."""


def step(*operators: str) -> Callable[[Step], Step]:
    """Register how `operators` carry the axis."""

    def register(function: Step) -> Step:
        STEPS.update(dict.fromkeys(operators, function))
        return function

    return register


def channel_axes(nodes: Sequence[ir.Node], layer: ir.Value, axis: int) -> dict[ir.Value, int]:
    """The channel-wise values, each with the axis of the channels.

    Args:
        nodes: What follows the layer, in the graph's order.
        layer: The layer.
        axis: Its axis of channels.
    """
    found, dependent = {layer: axis}, {layer}
    for node in nodes:
        moving = [x for x in node.inputs if x in dependent]
        if not moving:
            continue
        dependent.update(node.outputs)
        if len(node.outputs) > 1 or not all(x in found for x in moving) or not is_static(node.outputs[0]):
            continue
        after = _axis_after(node, found)
        if after is not None:
            found[node.outputs[0]] = after
    return found


def _axis_after(node: ir.Node, found: Axes) -> int | None:
    name = operator_name(node)
    if name in ENTRYWISE:
        after = static_shape(node.outputs[0])
        given = {(x, found[x]) for x in node.inputs if x is not None and x in found}
        axes = {axis + len(after) - len(static_shape(x)) for x, axis in given}
        spread = any(static_shape(x)[axis] != after[max(axes)] for x, axis in given)
        return axes.pop() if len(axes) == 1 and not spread else None
    x, *rest = node.inputs
    if x is None or x not in found or name not in STEPS or any(item in found for item in rest):
        return None
    return STEPS[name](node, found[x])


@step("AveragePool", "BatchNormalization", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
      "InstanceNormalization", "LpPool", "MaxPool")  # fmt: skip
def _per_channel(node: ir.Node, axis: int) -> int | None:
    return axis if axis == 1 else None


@step("Conv", "ConvTranspose")
def _depthwise(node: ir.Node, axis: int) -> int | None:
    channels = static_shape(tensor(node))[1]
    single = node.attributes.get_int("group", 1) == channels == static_shape(node.outputs[0])[1]
    return axis if axis == 1 and single else None


@step("Dropout")
def _same(node: ir.Node, axis: int) -> int | None:
    return axis


@step("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(node: ir.Node, axis: int) -> int | None:
    """The axis survives if as many entries lie before it and it is as long."""
    before, after = static_shape(tensor(node)), static_shape(node.outputs[0])
    lead = int(np.prod(before[:axis], dtype=int))
    places = [i for i, size in enumerate(after) if size == before[axis] and int(np.prod(after[:i], dtype=int)) == lead]
    return places[0] if places else None


@step("Transpose")
def _transpose(node: ir.Node, axis: int) -> int | None:
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(static_shape(node.outputs[0]))))))
    return list(perm).index(axis)


@step("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare")
def _reduce(node: ir.Node, axis: int) -> int | None:
    """Along other axes, as long as these are known."""
    rank = len(static_shape(tensor(node)))
    array = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    given = node.attributes.get_ints("axes", ()) if array is None else array.tolist()
    axes = {int(item) % rank for item in given}
    if not axes or axis in axes:
        return None
    keep = node.attributes.get_int("keepdims", 1)
    return axis if keep else axis - sum(item < axis for item in axes)


@step("Pad")
def _pad(node: ir.Node, axis: int) -> int | None:
    pads = constant_array(node.inputs[1])
    if pads is None or len(node.inputs) > 3:
        return None
    return axis if not pads.reshape(2, -1)[:, axis].any() else None


@step("Resize")
def _resize(node: ir.Node, axis: int) -> int | None:
    before, after = static_shape(tensor(node)), static_shape(node.outputs[0])
    scales = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    whole = scales is None or scales.size != len(before) or scales[axis] == 1
    return axis if axis == 1 and whole and before[1] == after[1] else None
