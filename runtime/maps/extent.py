"""Where a map is, in a few numbers, so that a reader of records need not have the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aerocam.geometry import Point


@dataclass(frozen=True)
class Extent:
    """Says where a map is, in px of the frame.

    Attributes:
        peak: (x, y) of its greatest value, the first of several.
        centre: (x, y) of its centre of mass.
        spread: Standard deviation of its mass around the centre, along x and along y.
    """

    peak: Point
    centre: Point
    spread: Point


def extent(saliency: NDArray[np.float32], region: tuple[int, int, int, int]) -> Extent | None:
    """Return where a map is.

    Args:
        saliency: (h, w), none of it negative, of any size.
        region: (top, left, bottom, right) in px, the part of the frame that it covers.

    Returns:
        None where the map is zero everywhere.
    """
    mass = float(saliency.sum(dtype=np.float64))
    if mass <= 0:
        return None
    top, left, bottom, right = region
    height, width = saliency.shape
    xs = left + (np.arange(width) + 0.5) * (right - left) / width
    ys = top + (np.arange(height) + 0.5) * (bottom - top) / height
    along_x = saliency.sum(axis=0, dtype=np.float64) / mass
    along_y = saliency.sum(axis=1, dtype=np.float64) / mass
    x, y = float(along_x @ xs), float(along_y @ ys)
    row, column = divmod(int(saliency.argmax()), width)
    spread = float(np.sqrt(along_x @ (xs - x) ** 2)), float(np.sqrt(along_y @ (ys - y) ** 2))
    return Extent((float(xs[column]), float(ys[row])), (x, y), spread)
