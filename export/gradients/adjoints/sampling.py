"""Adjoint rules of operators that read between the entries: at the points of a grid, or over regions of interest."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.adjoints.registry import Builder, Cotangents, adjoint, refused, tensor
from aerocam.export.nodes.builder import constant_array
from aerocam.export.nodes.shapes import static_shape

LARGEST_WEIGHTS = 1 << 22
"""Entries of the largest matrix of points by entries of X that is computed in the graph."""

CUBIC, NEAREST = ("bicubic", "cubic"), ("nearest",)
"""Modes of GridSample other than linear, by their names of opset 16 and 20."""

CUBIC_FACTORS = {False: (1.25, -2.25, 0.0, 1.0), True: (-0.75, 3.75, -6.0, 3.0)}
"""Of t^3, t^2, t and 1 in the weight of an entry t away, nearer than 1 and beyond: a = -0.75, as in ONNX Runtime."""


@adjoint("GridSample")
def grid_sample(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y = W X, W the weights of X's places at each point of the grid: dX = W^T dY, dgrid = (dW X)^T dY.

    Few points and places: W as a product of hat functions. Otherwise a scatter by the corners around each point, which
    TensorRT does not take.
    """
    x, grid, mode = tensor(node), tensor(node, 1), node.attributes.get_string("mode", "linear")
    cubic = mode in CUBIC
    batch, channels, *sizes = static_shape(x)
    points, size = math.prod(static_shape(grid)[1:-1]), math.prod(sizes)
    positions, slope = _grid_positions(
        op, node, sizes, "zeros" if cubic else node.attributes.get_string("padding_mode", "zeros")
    )
    if mode in NEAREST:
        positions = op.Round(positions)
    # A grid has the last axis first.
    axes = [op.slice_axis(positions, 2, i, i + 1) for i in reversed(range(len(sizes)))]
    corners = _cubic_corners(op, node, axes, sizes) if cubic else corners_of(op, axes, sizes, mode not in NEAREST)
    dy = op.widened(op.reshape(dy, batch, channels, points))
    hat = partial(_cubic_hat, op, node) if cubic else None
    spread = spread_back(op, dy, axes, corners, sizes, hat)
    dx = op.cast_like(op.reshape_like(spread, x), x)
    if mode in NEAREST:  # zero wherever it exists
        return [dx, op.expand(op.floats_like(grid, 0.0), static_shape(grid))]
    products = read_times(op, op.widened(op.reshape(x, batch, channels, size)), dy, corners)
    slopes = op.Concat(*reversed(slopes_of(op, products, corners)), axis=2)
    return [dx, op.cast_like(op.reshape_like(op.Mul(slopes, slope), grid), grid)]


def _grid_positions(op: Builder, node: ir.Node, sizes: list[int], padding: str) -> tuple[ir.Value, ir.Value]:
    """Return where the grid reads X, (batch, points, axes) in entries, padded, the last axis first; and its slope."""
    grid, lengths = op.widened(tensor(node, 1)), np.array(sizes[::-1], np.float64)
    shape, corners = static_shape(grid), bool(node.attributes.get_int("align_corners", 0))
    factor = (lengths - 1) / 2 if corners else lengths / 2
    flat = op.reshape(grid, shape[0], math.prod(shape[1:-1]), shape[-1])
    positions = op.Add(op.Mul(flat, op.floats_like(grid, factor)), op.floats_like(grid, (lengths - 1) / 2))
    slope = op.floats_like(grid, factor)
    if padding == "zeros":
        return positions, slope
    if padding == "reflection":  # a wave of triangles between the borders
        low, width = (0.0, np.maximum(lengths - 1, 1)) if corners else (-0.5, lengths)
        span, period = op.floats_like(grid, width), op.floats_like(grid, 2 * width)
        away = op.Sub(positions, low)
        folded = op.Abs(away)
        rest = op.Sub(op.Sub(folded, op.Mul(op.Floor(op.Div(folded, period)), period)), span)
        positions = op.Add(op.Sub(span, op.Abs(rest)), low)
        slope = op.Mul(slope, op.Neg(op.Mul(op.Sign(away), op.Sign(rest))))
    inside = op.Max(op.Min(positions, op.floats_like(grid, lengths - 1)), 0.0)
    return inside, op.Where(op.Equal(inside, positions), slope, 0.0)


def _hat(op: Builder, positions: ir.Value, size: int) -> ir.Value:
    """Return the weights of `size` entries at positions (..., 1): 1 at a position, falling to 0 one entry away."""
    away = op.Abs(op.Sub(positions, op.floats_like(positions, np.arange(size))))
    return op.Relu(op.Sub(1.0, away))


def _outer(op: Builder, hats: list[ir.Value]) -> ir.Value:
    """Return the product of weights per axis, (batch, points, size) each, as (batch, points, all sizes)."""
    batch, points, _ = static_shape(hats[0])
    sizes = [static_shape(hat)[2] for hat in hats]
    spread = [
        op.reshape(hat, batch, points, *(n if i == j else 1 for j in range(len(hats))))
        for i, (hat, n) in enumerate(zip(hats, sizes, strict=True))
    ]
    return op.reshape(functools.reduce(op.Mul, spread), batch, points, math.prod(sizes))


Corners = tuple[ir.Value, list[ir.Value], list[ir.Value]]
"""Flat indices of the corners around each point, (batch, points, corners); their weight and its slope per axis."""


def corners_of(op: Builder, positions: list[ir.Value], sizes: list[int], linear: bool) -> Corners:
    """Return the corners around positions, (batch, points, 1) per axis; those outside of X have weight 0."""
    bits = np.array(list(itertools.product((0.0, 1.0) if linear else (0.0,), repeat=len(sizes))))
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    flat, weights, slopes = [], [], []
    for position, n, stride, bit in zip(positions, sizes, strides, bits.T, strict=True):
        corner = op.Add(op.Floor(position), op.floats_like(position, bit))
        inside = op.And(op.GreaterOrEqual(corner, 0.0), op.LessOrEqual(corner, n - 1.0))
        weights.append(op.Where(inside, op.Sub(1.0, op.Abs(op.Sub(position, corner))), 0.0))
        slopes.append(op.Where(inside, op.floats_like(position, 2 * bit - 1), 0.0))
        index = op.Cast(op.Where(inside, corner, 0.0), to=ir.DataType.INT64)
        flat.append(index if stride == 1 else op.Mul(index, op.integers(stride)))
    return functools.reduce(op.Add, flat), weights, slopes


def _cubic_axis(
    op: Builder, node: ir.Node, position: ir.Value, size: int, bit: NDArray
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Return index, weight and slope (batch, points, n) of the entries `bit`, of -1 to 2, away from positions' floor.

    Padding moves the entries here, not the positions.
    """
    entry = op.Add(op.Floor(position), op.floats_like(position, bit.astype(float)))
    t = op.Abs(op.Sub(position, entry))
    factors = np.array([CUBIC_FACTORS[bool(far)] for far in (bit == -1) | (bit == 2)]).T
    weight, steep = _polynomial(op, t, factors), _polynomial(op, t, factors[:3] * np.array([[3], [2], [1]]))
    slope = op.Mul(steep, op.floats_like(t, np.where(bit <= 0, 1.0, -1.0)))
    padding = node.attributes.get_string("padding_mode", "zeros")
    if padding == "zeros":
        inside = op.And(op.GreaterOrEqual(entry, 0.0), op.LessOrEqual(entry, size - 1.0))
        weight, slope = (op.Where(inside, value, 0.0) for value in (weight, slope))
    elif padding == "reflection":
        entry = _reflected(op, entry, size, bool(node.attributes.get_int("align_corners", 0)))
    inner = op.Max(op.Min(entry, op.floats_like(entry, size - 1.0)), 0.0)
    return op.Cast(inner, to=ir.DataType.INT64), weight, slope


def _cubic_corners(op: Builder, node: ir.Node, positions: list[ir.Value], sizes: list[int]) -> Corners:
    """Return the four entries per axis around positions, (batch, points, 1), as `corners_of` does the two."""
    bits = np.array(list(itertools.product((-1, 0, 1, 2), repeat=len(sizes))))
    strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    axes = [_cubic_axis(op, node, position, n, bit) for position, n, bit in zip(positions, sizes, bits.T, strict=True)]
    flat = [op.Mul(index, op.integers(stride)) for (index, _, _), stride in zip(axes, strides, strict=True)]
    return functools.reduce(op.Add, flat), [weight for _, weight, _ in axes], [slope for _, _, slope in axes]


def _cubic_hat(op: Builder, node: ir.Node, position: ir.Value, size: int) -> ir.Value:
    """Return the weights of all `size` entries of an axis at positions, (batch, points, size)."""
    index, weight, _ = _cubic_axis(op, node, position, size, np.arange(-1, 3))
    shape = (*static_shape(weight), 1)
    hit = op.Equal(op.reshape(index, *shape), op.constant(np.arange(size)))
    return op.sum(op.masked(op.reshape(weight, *shape), hit), [2], keepdims=False)


def _polynomial(op: Builder, t: ir.Value, factors: NDArray) -> ir.Value:
    """Return the polynomials of t (..., n) whose factors, of the highest power first, are rows (powers, n)."""
    total = op.Add(op.Mul(t, op.floats_like(t, factors[0])), op.floats_like(t, factors[1]))
    for row in factors[2:]:
        total = op.Add(op.Mul(total, t), op.floats_like(t, row))
    return total


def _reflected(op: Builder, entry: ir.Value, n: int, corners: bool) -> ir.Value:
    """Return whole numbers reflected at 0 and n - 1, or half an entry beyond: a wave of triangles."""
    low, width = (0.0, max(n - 1.0, 1.0)) if corners else (-0.5, float(n))
    away = op.Abs(op.Sub(entry, low))
    rest = op.Sub(away, op.Mul(op.Floor(op.Div(away, 2 * width)), 2 * width))
    return op.Add(op.Sub(op.floats_like(entry, width), op.Abs(op.Sub(rest, width))), low)


def weight_product(op: Builder, corners: Corners) -> ir.Value:
    """Return the weight of each corner over all axes, (batch, points, corners)."""
    return functools.reduce(op.Mul, corners[1])


def spread_back(
    op: Builder,
    dy: ir.Value,
    positions: list[ir.Value],
    corners: Corners,
    sizes: list[int],
    hat: Callable[[ir.Value, int], ir.Value] | None = None,
) -> ir.Value:
    """Return `dy` (batch, channels, points) added by weight where the points read, as (batch, channels, size).

    `hat` gives the weights of all entries of an axis at the positions, where they are not linear.
    """
    batch, _, points = static_shape(dy)
    size = math.prod(sizes)
    if batch * points * size <= LARGEST_WEIGHTS:
        weights = [(hat or partial(_hat, op))(position, n) for position, n in zip(positions, sizes, strict=True)]
        return op.MatMul(dy, _outer(op, weights))
    return _scatter_corners(op, dy, corners, size)


def _scatter_corners(op: Builder, dy: ir.Value, corners: Corners, size: int) -> ir.Value:
    """Return `dy` (batch, channels, points) added by weight at the corners, as (batch, channels, size)."""
    indices = corners[0]
    batch, channels, points = static_shape(dy)
    count = static_shape(indices)[2]
    weight = op.reshape(weight_product(op, corners), batch, 1, points, count)
    updates = op.reshape(op.Mul(op.reshape(dy, batch, channels, points, 1), weight), batch, channels, points * count)
    indices = op.Expand(op.reshape(indices, batch, 1, points * count), op.integers(batch, channels, points * count))
    zeros = op.expand(op.floats_like(dy, 0.0), (batch, channels, size))
    return op.ScatterElements(zeros, indices, updates, axis=2, reduction="add")


def read_times(op: Builder, x: ir.Value, dy: ir.Value, corners: Corners) -> ir.Value:
    """Return X (batch, channels, size) at the corners times `dy`, summed over channels, as (batch, points, corners)."""
    indices = corners[0]
    batch, channels, points = static_shape(dy)
    count = static_shape(indices)[2]
    indices = op.Expand(op.reshape(indices, batch, 1, points * count), op.integers(batch, channels, points * count))
    read = op.reshape(op.GatherElements(x, indices, axis=2), batch, channels, points, count)
    return op.sum(op.Mul(read, op.reshape(dy, batch, channels, points, 1)), [1], keepdims=False)


def slopes_of(op: Builder, products: ir.Value, corners: Corners) -> list[ir.Value]:
    """Return d (sum of `dy` * Y) / d position, (batch, points, 1) per axis; `products` is what `read_times` gives."""
    _, weights, slopes = corners
    parts = []
    for i in range(len(weights)):
        factors = [slopes[j] if i == j else weight for j, weight in enumerate(weights)]
        parts.append(op.sum(functools.reduce(op.Mul, factors, products), [2]))
    return parts


@adjoint("RoiAlign")
def roi_align(op: Builder, node: ir.Node, dy: ir.Value) -> Cotangents:
    """Y[r] = A X[b_r] B^T per region r of image b_r: dX[b] = sum of A^T dY[r] B over the regions of image b.

    A and B average hat functions over the samples of each bin. No gradient flows to the regions, as in PyTorch.
    """
    x, images = tensor(node), tensor(node, 2)
    if node.attributes.get_string("mode", "avg") != "avg":
        raise refused(node, "mode 'max', 'avg' is expected")
    batch, channels, height, width = static_shape(x)
    regions, _, rows, columns = static_shape(dy)
    down, across = (op.cast_like(_roi_weights(op, node, axis), dy) for axis in (1, 0))  # (regions, bins, size)
    spread = op.MatMul(dy, op.reshape(across, regions, 1, columns, width))
    spread = op.reshape(op.Transpose(spread, perm=[0, 2, 1, 3]), regions * rows, channels * width)
    if batch > 1:
        belongs = op.Equal(op.reshape(images, regions, 1, 1, 1), op.constant(np.arange(batch)[:, None]))
        down = op.Where(belongs, op.reshape(down, regions, rows, 1, height), 0.0)
    total = op.Gemm(op.reshape(down, regions * rows, batch * height), spread, transA=1)
    total = op.Transpose(op.reshape(total, batch, height, channels, width), perm=[0, 2, 1, 3])
    return [total, None, None]


def _roi_weights(op: Builder, node: ir.Node, axis: int) -> ir.Value:
    """Return weights (regions, bins, size) of X's entries along one axis, 0 for the width and 1 for the height."""
    rois = op.widened(tensor(node, 1))
    size, bins = static_shape(tensor(node))[3 - axis], static_shape(node.outputs[0])[3 - axis]
    aligned = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    edges = op.scale(rois, node.attributes.get_float("spatial_scale", 1.0))
    start, end = (op.slice_axis(edges, 1, i, i + 1) for i in (axis, axis + 2))
    length = op.Sub(end, start)
    if aligned:
        start = op.Sub(start, 0.5)
    else:
        length = op.Max(length, 1.0)
    counts = _roi_samples(node, axis, bins, aligned)  # (regions or 1)
    largest = max(int(counts.max()), 1)
    sample, divisors = np.arange(largest), np.maximum(counts, 1)[:, None, None]
    offsets = (np.arange(bins)[:, None] + (sample + 0.5) / divisors).reshape(len(counts), bins * largest) / bins
    share = np.where(sample < counts[:, None, None], 1.0 / divisors, 0.0) * np.ones((bins, 1))
    positions = op.Add(start, op.Mul(length, op.floats_like(rois, offsets)))
    inside = op.And(op.GreaterOrEqual(positions, -1.0), op.LessOrEqual(positions, float(size)))
    share = op.Where(inside, op.floats_like(rois, share.reshape(len(counts), bins * largest)), 0.0)
    regions = static_shape(rois)[0]
    positions = op.reshape(op.Max(op.Min(positions, size - 1.0), 0.0), regions, bins, largest, 1)
    hats = op.Mul(_hat(op, positions, size), op.reshape(share, regions, bins, largest, 1))
    return op.sum(hats, [2], keepdims=False)


def _roi_samples(node: ir.Node, axis: int, bins: int, aligned: bool) -> NDArray:
    """Return the samples per bin along an axis: one number for all regions, or one each where their length decides."""
    ratio = node.attributes.get_int("sampling_ratio", 0)
    if ratio > 0:
        return np.array([ratio])
    rois = constant_array(tensor(node, 1))
    if rois is None:
        raise refused(
            node,
            "sampling_ratio 0 with regions computed at run time, a ratio from 1 up or constant regions are expected",
        )
    if rois.dtype.itemsize < 4:
        rois = rois.astype(np.float32)
    scaled = rois * rois.dtype.type(node.attributes.get_float("spatial_scale", 1.0))
    # the offset cancels, but for the rounding, which ONNX Runtime has too
    offset = rois.dtype.type(0.5 if aligned else 0.0)
    length = (scaled[:, axis + 2] - offset) - (scaled[:, axis] - offset)
    if not aligned:
        length = np.maximum(length, rois.dtype.type(1))
    return np.maximum(np.ceil(length / rois.dtype.type(bins)).astype(int), 0)
