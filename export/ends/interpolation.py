"""How a picture is resized, as one matrix per axis: OpenCV's rules, rounding of their weights included.

Its cubic rule is not the same everywhere: built for Intel's processors OpenCV has Intel's library do it, with exact
weights, as here; elsewhere it rounds them, and 4 % of the pixels come out one level beside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.manifest import Interpolation

STEPS = 2048
"""OpenCV's weights of its linear rule in uint8 are whole multiples of 1 / 2048."""

CUBIC = -0.75
"""The parameter of OpenCV's bicubic kernel."""

LEAST_SHARE = 1e-3
"""Part of a pixel that OpenCV's area rule leaves out."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Resize:
    """A resize, or a part of its result: rows @ picture @ columns.T.

    Attributes:
        rows: (target rows, source rows).
        columns: (target columns, source columns).
        linear: Whether OpenCV computes it in uint8 by its fixed-point rule for two taps per axis, which cuts off
            digits on the way. Everything else is rounded once, half to even.
    """

    rows: Matrix
    columns: Matrix
    linear: bool = False

    def part(self, top: int, left: int, bottom: int, right: int) -> Resize:
        """The same for a part of the result, in px of it."""
        return Resize(self.rows[top:bottom], self.columns[left:right], self.linear)


def resize(source: tuple[int, int], target: tuple[int, int], rule: Interpolation) -> Resize:
    """The resize of a picture in uint8 from (H, W) to (H, W), px."""
    if rule == "nearest":
        return Resize(_nearest(source[0], target[0]), _nearest(source[1], target[1]))
    halved = (source[0], source[1]) == (2 * target[0], 2 * target[1])
    if rule == "area" and not halved and source[0] >= target[0] and source[1] >= target[1]:
        return Resize(_area(source[0], target[0]), _area(source[1], target[1]))
    if rule == "cubic":
        return Resize(_cubic(source[0], target[0]), _cubic(source[1], target[1]))
    weights = _enlarging_area if rule == "area" and not halved else _linear
    rows, columns = (_in_steps(weights(have, want)) for have, want in zip(source, target, strict=True))
    return Resize(rows, columns, linear=True)


def resize_floats(source: tuple[int, int], target: tuple[int, int]) -> Resize:
    """The linear resize of a map in float32."""
    rows, columns = (_linear(have, want) for have, want in zip(source, target, strict=True))
    return Resize(rows, columns)


def _in_steps(matrix: Matrix) -> Matrix:
    return np.rint(matrix * STEPS) / STEPS


def _nearest(source: int, target: int) -> Matrix:
    scale = 1 / (target / source)  # in this order: it decides at whole numbers
    places = np.minimum(np.floor(np.arange(target) * scale).astype(int), source - 1)
    return np.eye(source)[places]


def _area(source: int, target: int) -> Matrix:
    """Each target pixel the mean of what it covers."""
    scale, matrix = source / target, np.zeros((target, source))
    for i in range(target):
        begin, end = i * scale, i * scale + scale
        cell = min(scale, source - begin)
        last = min(math.floor(end), source - 1)
        first = min(math.ceil(begin), last)
        matrix[i, first:last] = 1 / cell
        if first - begin > LEAST_SHARE:
            matrix[i, first - 1] += (first - begin) / cell
        if end - last > LEAST_SHARE:
            matrix[i, last] += min(end - last, 1.0, cell) / cell
    return matrix


def _linear(source: int, target: int) -> Matrix:
    """Half-pixel centres; beyond the edges their pixels."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(at).astype(int)
    return _two_taps(source, low, at - low.astype(np.float32))


def _enlarging_area(source: int, target: int) -> Matrix:
    """OpenCV's area rule where an axis grows: linear, and steeper between two pixels."""
    scale, steps = source / target, np.arange(target)
    low = np.floor(steps * scale).astype(int)
    share = (steps + 1) - (low + 1) / scale
    return _two_taps(source, low, np.where(share <= 0, 0.0, share - np.floor(share)).astype(np.float32))


def _two_taps(source: int, low: NDArray[np.int_], share: NDArray[np.float32]) -> Matrix:
    """Rows with 1 - share at `low` and share behind it, both as float32 has them."""
    matrix, rows = np.zeros((len(low), source)), np.arange(len(low))
    inside = (low >= 0) & (low < source - 1)
    share = np.where(inside, share, np.float32(0))
    np.add.at(matrix, (rows, np.clip(low, 0, source - 1)), 1 - share)
    np.add.at(matrix, (rows, np.clip(low + 1, 0, source - 1)), share)
    return matrix


def _cubic(source: int, target: int) -> Matrix:
    """Keys' kernel (IEEE Trans. ASSP 29, 1981) over four pixels, those beyond an edge that of the edge."""
    at = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    low = np.floor(at).astype(int)
    x, a = (at - low.astype(np.float32)).astype(np.float64), CUBIC
    taps = [
        ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a,
        ((a + 2) * x - (a + 3)) * x * x + 1,
        ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1,
    ]
    taps.append(1 - (taps[0] + taps[1] + taps[2]))
    matrix, rows = np.zeros((target, source)), np.arange(target)
    for step, weights in enumerate(taps, -1):
        np.add.at(matrix, (rows, np.clip(low + step, 0, source - 1)), weights)
    return matrix
