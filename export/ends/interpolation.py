"""How a picture is resized, as one matrix per axis: OpenCV's rules, rounding of their weights included.

Its cubic rule is not the same everywhere: built for Intel's processors OpenCV has Intel's library do it, with exact
weights, as here; elsewhere it rounds them, and 4 % of the pixels come out one level beside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

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


class Taps(NamedTuple):
    """Weighted rows that add up to the rows of a result: places and weights, (taps, rows of the result) each."""

    places: NDArray[np.int_]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: Matrix) -> Taps:
        """Return the entries of a matrix, as many per row as the fullest row has."""
        count = int((matrix != 0).sum(axis=1).max())
        places = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count]  # entries first, in their order
        return cls(places.T, np.take_along_axis(matrix, places, axis=1).T)

    def matrix(self, source: int) -> Matrix:
        """Return the matrix, (rows, source), that the taps are the entries of."""
        whole = np.zeros((self.places.shape[1], source))
        for places, weights in zip(self.places, self.weights, strict=True):
            np.add.at(whole, (np.arange(len(whole)), places), weights)
        return whole


@dataclass(frozen=True)
class Resize:
    """A resize, or a part of its result: rows @ picture @ columns.T.

    Attributes:
        rows: (target rows, source rows).
        columns: (target columns, source columns).
        linear: The rows' two taps, where OpenCV computes the resize by its fixed-point rule for uint8, which cuts off
            digits on the way, of each tap: at an edge both are its row. None: everything is rounded once, half to even.
    """

    rows: Matrix
    columns: Matrix
    linear: Taps | None = None

    def part(self, top: int, left: int, bottom: int, right: int) -> Resize:
        """Return the resize that gives a part of the result; its edges are in px of the result."""
        taps = self.linear
        if taps is not None:
            taps = Taps(taps.places[:, top:bottom], taps.weights[:, top:bottom])
        return Resize(self.rows[top:bottom], self.columns[left:right], taps)


def resize(source: tuple[int, int], target: tuple[int, int], interpolation: Interpolation) -> Resize:
    """Return the resize of a picture in uint8 from (H, W) to (H, W), px."""
    if source == target:
        return Resize(np.eye(source[0]), np.eye(source[1]))
    if interpolation == "nearest":
        return Resize(_nearest(source[0], target[0]), _nearest(source[1], target[1]))
    halved = (source[0], source[1]) == (2 * target[0], 2 * target[1])
    if interpolation == "area" and not halved and source[0] >= target[0] and source[1] >= target[1]:
        return Resize(_area(source[0], target[0]), _area(source[1], target[1]))
    if interpolation == "cubic":
        return Resize(_cubic(source[0], target[0]), _cubic(source[1], target[1]))
    taps = _enlarging_area if interpolation == "area" and not halved else _linear
    rows, columns = (
        Taps(along.places, np.rint(along.weights * STEPS) / STEPS)
        for along in (taps(source[0], target[0]), _clamped(taps(source[1], target[1])))
    )
    return Resize(rows.matrix(source[0]), columns.matrix(source[1]), rows)


def resize_floats(source: tuple[int, int], target: tuple[int, int]) -> Resize:
    """Return the linear resize of a map in float32."""
    rows, columns = (_clamped(_linear(have, want)).matrix(have) for have, want in zip(source, target, strict=True))
    return Resize(rows, columns)


def _scale(source: int, target: int) -> float:
    """Return source pixels per target pixel, worked out in OpenCV's order: at whole numbers the last digit decides."""
    return 1 / (target / source)


def _nearest(source: int, target: int) -> Matrix:
    places = np.minimum(np.floor(np.arange(target) * _scale(source, target)).astype(int), source - 1)
    return np.eye(source)[places]


def _area(source: int, target: int) -> Matrix:
    """Return the matrix of a resize in which each target pixel is the mean of what it covers."""
    scale, matrix = _scale(source, target), np.zeros((target, source))
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


def _linear(source: int, target: int) -> Taps:
    """Return the taps of linear interpolation with half-pixel centres; beyond an edge its pixel counts."""
    at = ((np.arange(target) + 0.5) * _scale(source, target) - 0.5).astype(np.float32)
    low = np.floor(at).astype(int)
    return _two_taps(source, low, at - low.astype(np.float32))


def _enlarging_area(source: int, target: int) -> Taps:
    """Return the taps of OpenCV's area rule where an axis grows: linear, and steeper between two pixels."""
    steps = np.arange(target)
    low = np.floor(steps * _scale(source, target)).astype(int)
    share = ((steps + 1) - (low + 1) * (target / source)).astype(np.float32)
    return _two_taps(source, low, np.where(share <= 0, np.float32(0), share - np.floor(share)))


def _two_taps(source: int, low: NDArray[np.int_], share: NDArray[np.float32]) -> Taps:
    """Return taps of weight 1 - share at `low` and share behind it, in float32; beyond an edge the edge twice."""
    places = np.clip(np.stack([low, low + 1]), 0, source - 1)
    return Taps(places, np.stack([1 - share, share]).astype(np.float64))


def _clamped(taps: Taps) -> Taps:
    """Return the taps with the whole weight on one where both are the edge, as OpenCV has it along rows."""
    edge = taps.places[0] == taps.places[1]
    return Taps(taps.places, np.where(edge, [[1.0], [0.0]], taps.weights))


def _cubic(source: int, target: int) -> Matrix:
    """Return the matrix of Keys' kernel (IEEE Trans. ASSP 29, 1981) over four pixels; beyond an edge the edge's."""
    at = ((np.arange(target) + 0.5) * _scale(source, target) - 0.5).astype(np.float32)
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
