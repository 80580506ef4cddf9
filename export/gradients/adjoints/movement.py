"""Adjoint rules of operators that move numbers without changing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from aerocam.export.gradients.adjoints.indexing import collect
from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

PAD_MODES = ("constant", "edge", "reflect", "wrap")


@adjoint("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X in another shape: dX = dY in X's shape."""
    return [op.reshape_like(dy, tensor(node)), *(None for _ in node.inputs[1:])]


@adjoint("Transpose")
def transpose(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with axes permuted: dX = dY with axes permuted back."""
    rank = len(static_shape(tensor(node)))
    perm = node.attributes.get_ints("perm", tuple(reversed(range(rank))))
    return [op.Transpose(dy, perm=[int(axis) for axis in np.argsort(perm)])]


@adjoint("Concat")
def concat(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X1 | X2 | ... along an axis: each dX is its slice of dY."""
    axis = node.attributes["axis"].as_int() % len(static_shape(tensor(node)))
    ends = np.cumsum([static_shape(tensor(node, i))[axis] for i in range(len(node.inputs))])
    starts = [0, *ends[:-1]]
    return [op.slice_axis(dy, axis, int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


@adjoint("Split")
def split(op: Builder, node: ir.Node, *dys: ir.Value | None) -> Cotangents:
    """Y1 | Y2 | ... = X along an axis: dX = dY1 | dY2 | ..., zeros where no gradient arrives."""
    axis = node.attributes.get_int("axis", 0) % len(static_shape(tensor(node)))
    parts = [
        op.expand(op.floats_like(tensor(node), 0.0), static_shape(y)) if dy is None else dy
        for y, dy in zip(node.outputs, dys, strict=True)
    ]
    return [op.Concat(*parts, axis=axis), *(None for _ in node.inputs[1:])]


@adjoint("Slice")
def slice_(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X[start:end:step]: dX is dY put back in its place, zeros elsewhere. Constant bounds."""
    x = static_shape(tensor(node))
    before, after = [0] * len(x), [0] * len(x)
    for axis, start, end, step in _slice_bounds(node, x):
        picked = range(x[axis])[start:end:step]
        if step < 0 and len(picked) > 1:
            dy = op.Slice(dy, op.integers(-1), op.integers(-x[axis] - 1), op.integers(axis), op.integers(-1))
        first = min(picked, default=0)
        if abs(step) > 1 and len(picked) > 1:
            dy = interleave_zeros(op, dy, axis, abs(step))
        before[axis] = first
        after[axis] = x[axis] - first - static_shape(dy)[axis]
    return [op.pad(dy, before, after), *(None for _ in node.inputs[1:])]


def _slice_bounds(node: ir.Node, shape: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Return (axis, start, end, step) per sliced axis."""
    bounds = [None if value is None else constant_array(value) for value in node.inputs[1:]]
    if any(array is None and value is not None for array, value in zip(bounds, node.inputs[1:], strict=True)):
        raise refused(node, "its bounds are computed at run time, constants are expected")
    starts, ends, axes, steps = (*bounds, None, None)[:4]
    assert starts is not None
    assert ends is not None
    if axes is None:
        axes = np.arange(len(starts))
    if steps is None:
        steps = np.ones_like(starts)
    return [
        (int(axis) % len(shape), int(start), int(end), int(step))
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True)
    ]


def interleave_zeros(op: Builder, value: ir.Value, axis: int, step: int) -> ir.Value:
    """Return `value` with `step - 1` zeros between its entries along `axis`, of length (n - 1) * step + 1.

    A Concat does it: ONNX Runtime takes ten times as long for a Pad behind every entry.
    """
    shape = static_shape(value)
    n = shape[axis]
    column = op.reshape(value, *shape[: axis + 1], 1, *shape[axis + 1 :])
    zeros = op.expand(op.floats_like(value, 0.0), (*shape[: axis + 1], step - 1, *shape[axis + 1 :]))
    spread = op.reshape(op.Concat(column, zeros, axis=axis + 1), *shape[:axis], n * step, *shape[axis + 1 :])
    return op.slice_axis(spread, axis, 0, (n - 1) * step + 1)


@adjoint("Pad")
def pad(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with a border: dX = dY without it, plus what the border took from X's own entries. Constant pads."""
    mode: Any = node.attributes.get_string("mode", "constant")
    pads = constant_array(tensor(node, 1))
    shape, none = static_shape(tensor(node)), [None for _ in node.inputs[1:]]
    axes_input = node.inputs[3] if len(node.inputs) > 3 else None
    axes = np.arange(len(shape)) if axes_input is None else constant_array(axes_input)
    if mode not in PAD_MODES or pads is None or axes is None:
        unsupported = "computed pads or axes" if pads is None or axes is None else f"mode {mode!r}"
        raise refused(node, f"{unsupported}, constants and a mode of {', '.join(PAD_MODES)} are expected")
    edges = np.zeros((len(shape), 2), int)
    edges[axes] = pads.reshape(2, -1).T
    if mode == "constant":
        return [op.pad(dy, *(-edges).T.tolist()), *none]
    for axis, (before, after) in enumerate(edges):
        kept = np.arange(max(-before, 0), shape[axis] - max(-after, 0))
        taken = np.pad(kept, (max(before, 0), max(after, 0)), mode=mode)
        dy = collect(op, dy, axis, taken, shape[axis])
    return [dy, *none]


@adjoint("Expand")
def expand(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X broadcast: dX = dY, which the walk sums down to X's shape."""
    return [dy, None]


@adjoint("Tile")
def tile(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X repeated along its axes: dX = dY summed over the copies."""
    split: list[int] = []
    copies: list[int] = []
    for n, m in zip(static_shape(tensor(node)), static_shape(node.outputs[0]), strict=True):
        if m > n:
            copies.append(len(split))
            split.append(m // n)
        split.append(n)
    if not copies:
        return [dy, None]
    return [op.sum(op.reshape(dy, *split), copies, keepdims=False), None]


@adjoint("DepthToSpace")
def depth_to_space(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with blocks of channels laid out in the plane: dX = dY with its blocks put back.

    Mode DCR (block before channel) is what SpaceToDepth undoes; CRD has the channel first.
    """
    block = node.attributes["blocksize"].as_int()
    if node.attributes.get_string("mode", "DCR") == "DCR":
        return [op.SpaceToDepth(dy, blocksize=block)]
    batch, channels, height, width = static_shape(dy)
    blocks = op.reshape(dy, batch, channels, height // block, block, width // block, block)
    return [op.reshape_like(op.Transpose(blocks, perm=[0, 1, 3, 5, 2, 4]), tensor(node))]


@adjoint("SpaceToDepth")
def space_to_depth(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X with blocks of the plane laid out as channels: dX = dY with its channels put back, in the same mode."""
    mode = node.attributes.get_string("mode", "DCR")
    return [op.DepthToSpace(dy, blocksize=node.attributes["blocksize"].as_int(), mode=mode)]


@adjoint("Trilu")
def trilu(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X in one triangle, 0 in the other: dX = dY likewise."""
    upper = node.attributes.get_int("upper", 1)
    return [op.Trilu(dy, *node.inputs[1:], upper=upper), *(None for _ in node.inputs[1:])]


@adjoint("CastLike")
def cast_like(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = X in another tensor's floating-point type: dX = dY in X's type."""
    return [op.Cast(dy, to=tensor(node).dtype), None]
