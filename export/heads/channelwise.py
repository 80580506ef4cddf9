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
from aerocam.export.gradients.stacking.batched import ENTRYWISE
from aerocam.export.nodes.builder import Builder, constant_array
from aerocam.export.nodes.operator_tables import axes_of_reduction, decorator_of
from aerocam.export.nodes.shapes import is_static, static_shape

Axes: TypeAlias = Mapping[ir.Value, int]
Step: TypeAlias = Callable[[ir.Node, int], "int | None"]

STEPS: dict[str, Step] = {}
"""Per operator: from the axis of the channels in its input 0 to that in its output, None where they meet."""


step = decorator_of(STEPS)
"""Registers how some operators carry the axis of the channels."""


def channel_axes(nodes: Sequence[ir.Node], layer: ir.Value, axis: int) -> dict[ir.Value, int]:
    """Return the channel-wise values, each with the axis of the channels.

    Args:
        nodes: What follows the layer, in the graph's order.
        layer: The layer.
        axis: The axis of its channels.
    """
    axes, dependent = {layer: axis}, {layer}
    for node in nodes:
        moving = [x for x in node.inputs if x in dependent]
        if not moving:
            continue
        dependent.update(node.outputs)
        if len(node.outputs) > 1 or not all(x in axes for x in moving) or not is_static(node.outputs[0]):
            continue
        after = _axis_after(node, axes)
        if after is not None:
            axes[node.outputs[0]] = after
    return axes


def _axis_after(node: ir.Node, axes_before: Axes) -> int | None:
    name = operator_name(node)
    if name in ENTRYWISE:
        after = static_shape(node.outputs[0])
        read = {(x, axes_before[x]) for x in node.inputs if x is not None and x in axes_before}
        axes = {axis + len(after) - len(static_shape(x)) for x, axis in read}
        spread = any(static_shape(x)[axis] != after[max(axes)] for x, axis in read)
        return axes.pop() if len(axes) == 1 and not spread else None
    x, *rest = node.inputs
    if x is None or x not in axes_before or name not in STEPS or any(other in axes_before for other in rest):
        return None
    return STEPS[name](node, axes_before[x])


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
    """Return the axis that is as long and has as many entries before it, if there is one."""
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
    """Return where the axis lies after a reduction along others, as long as these are known."""
    axes = axes_of_reduction(node)
    if not axes or axis in axes:
        return None
    keep = node.attributes.get_int("keepdims", 1)
    return axis if keep else axis - sum(reduced < axis for reduced in axes)


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


Contraction: TypeAlias = Callable[[Builder, ir.Node, ir.Value, int], "ir.Value | None"]

CONTRACTIONS: dict[str, Contraction] = {}
"""Per operator: from a value of the form of input 0 and the axis of its channels to what each of them adds to the
output, (channels, *output); None where the node is of another form."""


contraction = decorator_of(CONTRACTIONS)
"""Registers what channels add to the output of some operators."""


def each_channel(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """Return what each channel of a value in the place of input 0 adds to the output, (channels, *output), or None.

    Args:
        op: Builder of the graph.
        node: A node; its other inputs are the same whatever the channels hold.
        value: A value of the shape of input 0.
        axis: The axis of its channels.
    """
    function = CONTRACTIONS.get(operator_name(node))
    return function(op, node, value, axis) if function is not None and len(node.outputs) == 1 else None


@contraction("Gemm", "MatMul")
def _product(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """Return for channel c the product of column c of A and row c of B."""
    shape, weight = static_shape(value), tensor(node, 1)
    turned = [node.attributes.get_int(name, 0) for name in ("transA", "transB")]
    if axis != len(shape) - 1 or len(shape) < 2 or len(static_shape(weight)) != 2 or turned[0]:
        return None
    rows = op.Transpose(weight, perm=[1, 0]) if turned[1] else weight
    channels, columns = static_shape(rows)
    first = op.reshape(op.Transpose(value, perm=[axis, *range(axis)]), channels, *shape[:-1], 1)
    added = op.Mul(first, op.reshape(rows, channels, *(1,) * axis, columns))
    return op.scale(added, float(node.attributes.get_float("alpha", 1.0)))


@contraction("Conv")
def _conv(op: Builder, node: ir.Node, value: ir.Value, axis: int) -> ir.Value | None:
    """Return a Conv with a group per channel, which has that channel's part of every kernel."""
    weight, (n, channels) = tensor(node, 1), static_shape(value)[:2]
    if axis != 1 or n != 1 or node.attributes.get_int("group", 1) != 1:
        return None
    filters, _, *kernel = static_shape(weight)
    turned = op.Transpose(weight, perm=[1, 0, *range(2, len(kernel) + 2)])
    own = op.reshape(turned, channels * filters, 1, *kernel)
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    added = op.Conv(value, own, **attributes | {"group": channels, "kernel_shape": kernel})
    return op.reshape(added, channels, *static_shape(node.outputs[0]))
