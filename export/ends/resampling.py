"""Resizing in the graph: products with matrices that are zero almost everywhere.

The axis that is resampled always comes first, so that whole rows are picked, weighted and added up: ONNX Runtime copies
and broadcasts over long runs of numbers many times faster than over the three of a pixel. What the result does not
need is left out before anything is computed.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.antialiasing import DIGITS
from aerocam.export.ends.interpolation import STEPS, Matrix, Resize, Taps
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape

BLOCK = 8
"""Rows of a result that one block of a product gives."""

SPARSE = 1 / 3
"""Share of the columns up to which those that are used are picked one by one; else all between the first and last."""

LEVELS = 255.0

HALF_OF_DIGITS = 2.0 ** -(DIGITS // 2)

FIRST_CUT, SECOND_CUT = 1 / 16, 1 / 65536
"""What OpenCV's fixed-point rule keeps of a sum along a row, and of each product along a column; 2 digits remain."""


def resample(op: Builder, picture: ir.Value, how: Resize) -> ir.Value:
    """Return a picture resized as OpenCV, or Pillow, does it in uint8.

    Args:
        op: Builder of the graph.
        picture: float32 (H, W, C), whole grey levels.
        how: The resize.

    Returns:
        float32 (C, h, w), whole grey levels from 0 to 255.
    """
    if is_selection(how.rows) and is_selection(how.columns):
        picture = select(op, picture, how.rows.argmax(axis=1), axis=0)
        picture = select(op, picture, how.columns.argmax(axis=1), axis=1)
        return _planes(op, picture)
    if how.linear is not None:
        return _two_taps(op, picture, how.columns, how.linear)
    height, width, channels = static_shape(picture)
    if how.by_axis:
        return _axis_by_axis(op, picture, how)
    rows = product(op, how.rows, op.reshape(picture, height, width * channels))
    turned, columns = _turned(op, op.reshape(rows, len(how.rows), width, channels), how.columns)
    whole = _turned_back(op, product(op, columns, turned), channels)
    return op.Round(op.Clip(whole, 0.0, LEVELS))


def _levels(op: Builder, matrix: Matrix, rows: ir.Value) -> ir.Value:
    """Return matrix @ rows in the nearest grey levels, half up.

    Pillow's weights decide by their last digits what becomes of a half, and float32 is too short for them: sums by the
    first half of the digits are exact, and so are those by the others and what the first leave above whole levels.
    """
    first = np.rint(matrix / HALF_OF_DIGITS) * HALF_OF_DIGITS
    both = np.stack([first, matrix - first], axis=1).reshape(-1, matrix.shape[1])
    pairs = op.reshape(product(op, both, rows), len(matrix), 2, static_shape(rows)[1])
    coarse, fine = (op.reshape(op.slice_axis(pairs, 1, i, i + 1), len(matrix), static_shape(rows)[1]) for i in range(2))
    whole = op.Floor(op.Add(coarse, 0.5))
    rest = op.Add(op.Add(op.Sub(coarse, whole), 0.5), fine)
    return op.Clip(op.Add(whole, op.Floor(rest)), 0.0, LEVELS)


def _axis_by_axis(op: Builder, picture: ir.Value, how: Resize) -> ir.Value:
    """Resize columns first, to whole grey levels, then rows."""
    used, channels = np.flatnonzero(how.rows.any(axis=0)), static_shape(picture)[2]
    turned, columns = _turned(op, select(op, picture, used, axis=0), how.columns)
    along = op.reshape(_levels(op, columns, turned), len(columns) * channels, len(used))
    rows = _levels(op, how.rows[:, used], op.Transpose(along, perm=[1, 0]))
    return op.Transpose(op.reshape(rows, len(how.rows), len(columns), channels), perm=[2, 0, 1])


def _planes(op: Builder, picture: ir.Value) -> ir.Value:
    """Return (H, W, C) as (C, H, W).

    One channel by a Reshape: ONNX Runtime moves a Transpose behind what follows it, and is slow on (H, W, 1).
    """
    height, width, channels = static_shape(picture)
    if channels == 1:
        return op.reshape(picture, 1, height, width)
    return op.Transpose(picture, perm=[2, 0, 1])


def is_selection(matrix: Matrix) -> bool:
    """Return whether a product with the matrix only picks rows."""
    return bool(((matrix == 0) | (matrix == 1)).all() and (matrix.sum(axis=1) == 1).all())


def select(op: Builder, value: ir.Value, places: NDArray[np.int_], axis: int) -> ir.Value:
    """Return the entries at these places along an axis, by a Slice where they follow one another."""
    if (np.diff(places) == 1).all():
        return op.slice_axis(value, axis, int(places[0]), int(places[-1]) + 1)
    return op.Gather(value, op.constant(places.astype(np.int64)), axis=axis)


def product(op: Builder, matrix: Matrix, rows: ir.Value) -> ir.Value:
    """Return matrix @ rows of (N, M), `BLOCK` rows of the result at a time."""
    last, count = static_shape(rows)[1], -(-len(matrix) // BLOCK)
    filled = np.pad(matrix, ((0, count * BLOCK - len(matrix)), (0, 0)))
    blocks = filled.reshape(count, BLOCK, -1)
    places = [np.flatnonzero(block.any(axis=0)) for block in blocks]
    most = max(len(used) for used in places)
    indices = np.stack([np.pad(used, (0, most - len(used)), mode="edge") for used in places])
    weights = np.take_along_axis(blocks, indices[:, None], axis=2)
    weights *= np.array([np.arange(most) < len(used) for used in places])[:, None]  # what fills up has no weight
    picked = op.reshape(select(op, rows, indices.ravel(), axis=0), count, most, last)
    whole = op.reshape(op.MatMul(op.constant(weights, np.float32), picked), count * BLOCK, last)
    return op.slice_axis(whole, 0, 0, len(matrix))


def _turned(op: Builder, picture: ir.Value, columns: Matrix) -> tuple[ir.Value, Matrix]:
    """Return the columns of (H, W, C) that the matrix reads, as (U, C * H), and the matrix of these alone."""
    height, _, channels = static_shape(picture)
    used = np.flatnonzero(columns.any(axis=0))
    if len(used) > SPARSE * (used[-1] + 1 - used[0]):
        used = np.arange(used[0], used[-1] + 1)
    flat = op.reshape(select(op, picture, used, axis=1), height, len(used) * channels)
    return op.reshape(op.Transpose(flat, perm=[1, 0]), len(used), channels * height), columns[:, used]


def _turned_back(op: Builder, columns: ir.Value, channels: int) -> ir.Value:
    """Return (W, C * H) as (C, H, W)."""
    width, size = static_shape(columns)
    return op.reshape(op.Transpose(columns, perm=[1, 0]), channels, size // channels, width)


def _two_taps(op: Builder, picture: ir.Value, columns: Matrix, rows: Taps) -> ir.Value:
    """Resize linearly as OpenCV does in uint8, digit by digit: along rows, sixteenths cut off, then along columns."""
    channels = static_shape(picture)[2]
    used = np.unique(rows.places)
    turned, columns = _turned(op, select(op, picture, used, axis=0), columns)
    along = [
        op.Mul(select(op, turned, places, axis=0), _column(op, weights * STEPS * FIRST_CUT))
        for places, weights in zip(*Taps.of(columns), strict=True)
    ]
    planes = _turned_back(op, op.Floor(op.total(along)), channels)
    cut = [
        op.Floor(op.Mul(select(op, planes, places, axis=1), _column(op, weights * STEPS * SECOND_CUT)))
        for places, weights in zip(np.searchsorted(used, rows.places), rows.weights, strict=True)
    ]
    return op.Floor(op.Add(op.Mul(op.total(cut), 0.25), 0.5))


def _column(op: Builder, weights: NDArray[np.float64]) -> ir.Value:
    return op.constant(weights[:, None], np.float32)
