"""Resizing a frame with antialiasing, as Pillow does it, by products with the few numbers that are not 0."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aerocam.antialiasing import antialiased
from aerocam.geometry import Size
from aerocam.runtime.frames.opencv import MOST_CHANNELS, cv2

BLOCK = 8
"""Rows of the result that one product gives: more would multiply more zeros, fewer would be more products."""


class Band(NamedTuple):
    """Rows of a result from `begin` on, and the rows of the source, first to last, that they are made of."""

    begin: int
    first: int
    last: int
    weights: NDArray[np.float32]


class AntialiasedResize:
    """Resizes pictures of one size, or gives a part of the result: only what that needs is read.

    Columns come first. Of uint8 whole grey levels are kept between the axes and in the end, the same as Pillow's;
    floats are not rounded.
    """

    def __init__(self, source: Size, target: Size, interpolation: str, part: tuple[int, int, int, int]) -> None:
        """Work out the weights.

        Args:
            source: (H, W) of the pictures.
            target: (H, W) of the whole result.
            interpolation: `pil-bilinear` or `pil-bicubic`.
            part: (top, left, bottom, right) of the result that is wanted.
        """
        top, left, bottom, right = part
        rows = antialiased(source[0], target[0], interpolation)[top:bottom]
        self._used = slice(*_span(rows))
        self._rows = _bands(rows[:, self._used])
        self._columns = _bands(antialiased(source[1], target[1], interpolation)[left:right])

    def __call__(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Resize a picture, uint8 or float32, (H, W) or (H, W, C); return the part in its type."""
        turned = _multiplied(self._columns, _transposed(picture[self._used]))
        return _multiplied(self._rows, _transposed(turned))


def _span(matrix: NDArray[np.float64]) -> tuple[int, int]:
    """Return the first and behind the last column that is not 0 throughout."""
    used = np.flatnonzero(matrix.any(axis=0))
    return int(used[0]), int(used[-1]) + 1


def _bands(matrix: NDArray[np.float64]) -> list[Band]:
    bands = []
    for begin in range(0, len(matrix), BLOCK):
        block = matrix[begin : begin + BLOCK]
        first, last = _span(block)
        bands.append(Band(begin, first, last, np.ascontiguousarray(block[:, first:last], np.float32)))
    return bands


def _multiplied(bands: list[Band], picture: NDArray[Any]) -> NDArray[Any]:
    """Return weights @ picture along axis 0, in the picture's type."""
    flat = picture.reshape(len(picture), -1)
    result = np.empty((bands[-1].begin + len(bands[-1].weights), flat.shape[1]), picture.dtype)
    for begin, first, last, factors in bands:
        part = result[begin : begin + len(factors)]
        if picture.dtype == np.float32:
            np.matmul(factors, flat[first:last], out=part)
        else:  # exact, as weights have few digits; half up, as Pillow rounds
            sums = factors.astype(np.float64) @ flat[first:last].astype(np.float64) + 0.5
            np.clip(np.floor(sums, out=sums), 0, 255, out=part, casting="unsafe")
    return result.reshape(-1, *picture.shape[1:])


def _transposed(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the picture with rows and columns exchanged, contiguous; at colours OpenCV is ten times faster."""
    if picture.ndim == 2 or picture.shape[2] <= MOST_CHANNELS:
        return np.asarray(cv2.transpose(picture)).reshape(picture.shape[1], picture.shape[0], *picture.shape[2:])
    return np.ascontiguousarray(picture.swapaxes(0, 1))
