"""What the axes of a tensor mean: channels, rows, columns, tokens. Followed from the image through the graph.

A CAM needs channels and positions. They are told apart not by the shape alone, (1, 196, 768) or (1, 14, 14, 768) could
be anything, but by where each axis comes from: convolutions fix it, transposes permute it, reshapes merge and split it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.operator_tables import axes_of_reduction, decorator_of
from aerocam.export.nodes.shapes import is_channels_last, is_static, static_shape
from aerocam.export.tracing.axes import CHANNEL, SPATIAL, Label, Layout, MixedAxis, Tokens, reshaped

Step: TypeAlias = Callable[[ir.Node, Sequence["Layout | None"]], "Sequence[Layout | None]"]

STEPS: dict[str, Step] = {}
"""Operators whose outputs do not simply have the axes of an input of the same shape."""


step = decorator_of(STEPS)
"""Registers how some operators carry layouts from their inputs to their outputs."""


def layouts(graph: ir.Graph, images: Sequence[ir.Value]) -> dict[ir.Value, Layout]:
    """Return the layouts of all static tensors computed from `images`, which are (N, C, ...) or (N, H, W, C)."""
    shapes = {image: static_shape(image) for image in images if is_static(image)}
    layout_of: dict[ir.Value, Layout] = {image: _input(shape) for image, shape in shapes.items() if len(shape) > 2}
    _follow(graph, layout_of)
    return layout_of


def _follow(graph: ir.Graph, layout_of: dict[ir.Value, Layout]) -> None:
    """Add to `layout_of` the layouts of what a graph, or a branch in one, computes from the tensors in it."""
    for node in graph:
        if not all(is_static(y) for y in node.outputs):
            continue
        carried = _of_branches(node, layout_of) if node.op_type == "If" else _carried(node, layout_of)
        for y, layout in zip(node.outputs, carried, strict=False):
            if layout is not None and any(layout):
                layout_of[y] = layout


def _carried(node: ir.Node, layout_of: Mapping[ir.Value, Layout]) -> Sequence[Layout | None]:
    input_layouts = [layout_of.get(x) if x is not None else None for x in node.inputs]
    if not any(input_layouts):
        return []
    if any(x is not None and layout and not is_static(x) for x, layout in zip(node.inputs, input_layouts, strict=True)):
        return []
    carry = STEPS.get(node.op_type, _same_shape) if node.domain == "" else _same_shape
    return carry(node, input_layouts)


def _of_branches(node: ir.Node, layout_of: dict[ir.Value, Layout]) -> Sequence[Layout | None]:
    """Return the layouts on which both branches of an If agree; they read the graph around them by name."""
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    for branch in branches:
        _follow(branch, layout_of)
    known_layouts = [
        [layout_of[y] for y in ys if y in layout_of]
        for ys in zip(*(branch.outputs for branch in branches), strict=True)
    ]
    return [
        tuple(_agreed(labels) for labels in zip(*layouts, strict=True)) if layouts else None
        for layouts in known_layouts
    ]


def _input(shape: tuple[int, ...]) -> Layout:
    return (None, "H", "W", CHANNEL) if is_channels_last(shape) else _plain(len(shape))


def _plain(rank: int) -> Layout:
    """Return the layout (N, C, spatial ...) of this rank."""
    return (None, CHANNEL, *SPATIAL.get(rank - 2, (None,) * (rank - 2)))


def _same_shape(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    """Return, for entrywise operators, what the inputs of the output's shape agree on."""
    result: list[Layout | None] = []
    for y in node.outputs:
        shape = static_shape(y)
        pairs = zip(node.inputs, input_layouts, strict=True)
        matching = [layout for x, layout in pairs if layout and static_shape(x) == shape]  # type: ignore[arg-type]
        result.append(tuple(_agreed(labels) for labels in zip(*matching, strict=True)) if matching else None)
    return result


def _agreed(labels: Sequence[Label]) -> Label:
    """Return the one known label, None where they differ; a mixed axis gives way to any other label."""
    distinct = {label for label in labels if label is not None}
    distinct = {label for label in distinct if not isinstance(label, MixedAxis)} or distinct
    return distinct.pop() if len(distinct) == 1 else None


@step("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool",
      "DeformConv", "GridSample", "MaxUnpool")  # fmt: skip
def _window(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    """Return (N, C, spatial ...), which these operators define; tokens stay tokens."""
    plain = _plain(len(static_shape(node.outputs[0])))
    before = input_layouts[0]
    if before is None or not any(label for label in before if not isinstance(label, MixedAxis)):
        return [None]
    if any(isinstance(label, Tokens) for label in before[2:]):
        same = static_shape(node.outputs[0])[2:] == static_shape(node.inputs[0])[2:]  # type: ignore[arg-type]
        return [(None, CHANNEL, *(before[2:] if same else (None,) * len(before[2:])))]
    return [plain, plain]


@step("Resize", "Upsample", "DepthToSpace", "SpaceToDepth")
def _same_axes(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    return [input_layouts[0]]


@step("Pad")
def _pad(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    """Keep the letters of padded axes; tokens and mixed axes that were padded are not followed."""
    if input_layouts[0] is None:
        return [None]
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])  # type: ignore[arg-type]
    sizes = zip(input_layouts[0], before, after, strict=True)
    return [tuple(None if isinstance(label, (Tokens, MixedAxis)) and n != m else label for label, n, m in sizes)]


@step("Transpose")
def _transpose(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    assert layout is not None
    perm = node.attributes.get_ints("perm", tuple(reversed(range(len(layout)))))
    return [tuple(layout[axis] for axis in perm)]


@step("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    if layout is None:
        return [None]
    return [reshaped(layout, static_shape(node.inputs[0]), static_shape(node.outputs[0]))]  # type: ignore[arg-type]


@step("MatMul")
def _matmul(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    """Give rows the meaning of A's and columns that of B's; a weight maps channels to channels."""
    a, b = input_layouts[0], input_layouts[1]
    shapes = [static_shape(x) for x in node.inputs]  # type: ignore[arg-type]
    if min(map(len, shapes)) < 2:
        return [None]
    rank = max(map(len, shapes))
    wide_a, wide_b = ((None,) * (rank - len(s)) + (g or (None,) * len(s)) for g, s in zip((a, b), shapes, strict=True))
    weight_a, weight_b = (x is not None and x.const_value is not None for x in node.inputs)
    batch = tuple(_agreed(labels) for labels in zip(wide_a[:-2], wide_b[:-2], strict=True))
    rows = CHANNEL if weight_a and wide_b[-2] == CHANNEL else wide_a[-2]
    columns = CHANNEL if weight_b and wide_a[-1] == CHANNEL else wide_b[-1]
    return [(*batch, rows, columns)]


@step("Gemm")
def _gemm(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    a, transposed = input_layouts[0], node.attributes.get_int("transA", 0)
    if a is None or transposed:
        return [None]
    return [(a[0], CHANNEL if a[1] == CHANNEL else None)]


@step("Gather")
def _gather(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    if layout is None:
        return [None]
    axis = node.attributes.get_int("axis", 0) % len(layout)
    picked = len(static_shape(node.inputs[1]))  # type: ignore[arg-type]
    label = CHANNEL if layout[axis] == CHANNEL and picked == 1 else None
    return [(*layout[:axis], *([label] * picked), *layout[axis + 1 :])]


@step("Slice")
def _slice(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    bounds = [constant_array(x) if x is not None else None for x in node.inputs[1:]]
    if layout is None or len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return [None]
    shape = static_shape(node.inputs[0])  # type: ignore[arg-type]
    axes = bounds[2] if len(bounds) > 2 and bounds[2] is not None else np.arange(len(bounds[0]))
    steps = bounds[3] if len(bounds) > 3 and bounds[3] is not None else np.ones_like(axes)
    labels = list(layout)
    for start, end, axis, stride in zip(bounds[0], bounds[1], axes, steps, strict=True):
        picked = range(shape[axis])[int(start) : int(end) : int(stride)]
        labels[int(axis)] = _sliced(labels[int(axis)], picked, shape[axis])
    return [tuple(labels)]


@step("Split")
def _split(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    if layout is None:
        return [None]
    axis = node.attributes.get_int("axis", 0) % len(layout)
    result: list[Layout | None] = []
    whole, start = static_shape(node.inputs[0])[axis], 0  # type: ignore[arg-type]
    for y in node.outputs:
        end = start + static_shape(y)[axis]
        result.append((*layout[:axis], _sliced(layout[axis], range(start, end), whole), *layout[axis + 1 :]))
        start = end
    return result


def _sliced(label: Label, picked: range, whole: int) -> Label:
    """Return what a slice of an axis means; None for shifted or cropped rows, which lie elsewhere in the frame."""
    if label == CHANNEL or (len(picked) == whole and picked.step == 1):
        return label
    if isinstance(label, Tokens):
        start, end = picked.start, picked.start + len(picked)
        kept = picked.step == 1 and start <= label.before and end >= label.before + label.count
        return Tokens(label.grid, label.before - start, label.after - (whole - end)) if kept else None
    every = not isinstance(label, MixedAxis) and picked.step > 1 and picked.start < picked.step and picked.stop >= whole
    return label if every else None


@step("Concat")
def _concat(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    rank = len(static_shape(node.outputs[0]))
    axis = node.attributes["axis"].as_int() % rank
    known_layouts = [layout for layout in input_layouts if layout]
    labels = [_agreed(column) for column in zip(*known_layouts, strict=True)]
    along = [layout[axis] if layout else None for layout in input_layouts]
    tokens = [i for i, label in enumerate(along) if isinstance(label, Tokens)]
    if len(tokens) == 1:
        index, label = tokens[0], along[tokens[0]]
        assert isinstance(label, Tokens)
        sizes = [static_shape(x)[axis] for x in node.inputs]  # type: ignore[arg-type]
        labels[axis] = Tokens(label.grid, label.before + sum(sizes[:index]), label.after + sum(sizes[index + 1 :]))
    elif labels[axis] != CHANNEL:
        labels[axis] = None
    return [tuple(labels)]


@step("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd",
      "ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin")  # fmt: skip
def _reduce(node: ir.Node, input_layouts: Sequence[Layout | None]) -> list[Layout | None]:
    layout = input_layouts[0]
    if layout is None or len(static_shape(node.outputs[0])) == len(layout):
        return [layout]
    gone = axes_of_reduction(node) or ()
    labels = tuple(label for axis, label in enumerate(layout) if axis not in gone)
    return [labels if len(labels) == len(static_shape(node.outputs[0])) else None]
