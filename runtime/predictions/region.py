"""Regions of interest: the part of a frame over which a dense output is explained, moved to the output's positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.errors import UsageError
from aerocam.geometry import Box, Size
from aerocam.runtime.frames.preprocess import Placement

RegionLike = Sequence[float] | NDArray[Any] | None
"""(x0, y0, x1, y1), a box, or (x, y), the pixel there, in frame px; a mask (H, W) over the frame; None: everything."""


@dataclass(frozen=True, eq=False)
class RegionOfInterest:
    """Holds a region of the frame.

    Attributes:
        box: (x0, y0, x1, y1) in frame px, edges; of a mask all of it.
        mask: float (H, W), weights of the frame's pixels, none negative; None for a box.
        point: Whether the box is the one pixel that was asked for.
    """

    box: Box
    mask: NDArray[Any] | None = None
    point: bool = False

    @classmethod
    def of(cls, region: RegionLike) -> RegionOfInterest | None:
        """Take a region as it was given; None for everything.

        Raises:
            UsageError: It is no region, or is empty.
        """
        if region is None:
            return None
        try:
            numbers = np.asarray(region, np.float64)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape not in ((2,), (4,)) and numbers.ndim != 2:
            raise UsageError(
                f"`region`: got {type(region).__name__} of shape {numbers.shape}, expected (x0, y0, x1, y1) or (x, y)"
                " in px of the frame, or a mask (H, W) over it"
            )
        if not np.isfinite(numbers).all():
            raise UsageError("`region`: got numbers that are not finite, expected px of the frame, or weights")
        if numbers.ndim == 2:
            if (numbers < 0).any() or not numbers.any():
                found = "negative weights" if (numbers < 0).any() else "a mask of zeros"
                raise UsageError(f"`region`: got {found}, expected weights of 0 or more, some of them above 0")
            return cls((0, 0, numbers.shape[1], numbers.shape[0]), numbers)
        if len(numbers) == 2:
            x, y = np.floor(numbers).tolist()
            return cls((x, y, x + 1, y + 1), point=True)
        x0, y0, x1, y1 = numbers.tolist()
        if not (x0 < x1 and y0 < y1):
            raise UsageError(f"`region=({x0:g}, {y0:g}, {x1:g}, {y1:g})`: it is empty, expected x0 < x1 and y0 < y1")
        return cls((x0, y0, x1, y1))

    def weights(self, placement: Placement, size: Size) -> NDArray[np.float32]:
        """Return the weights of an output's positions, float32 (h, w): how much of the region each of them covers.

        Args:
            placement: Where the frame lies in the input tensor.
            size: (h, w) of the positions, which divide the tensor evenly.

        Raises:
            UsageError: A mask of another size than the frame, or nothing of the region lies in the tensor.
        """
        height, width = placement.frame_size
        if self.mask is not None and self.mask.shape != (height, width):
            raise UsageError(f"`region`: a mask of shape {self.mask.shape}, the frame has {(height, width)}; resize it")
        rows, columns = (_edges(placement, size[axis], axis) for axis in (0, 1))
        if self.mask is not None:
            weights = _overlaps(rows, np.arange(height + 1)) @ self.mask @ _overlaps(columns, np.arange(width + 1)).T
        else:
            x0, y0, x1, y1 = self.box
            weights = np.outer(_overlaps(rows, [y0, y1]), _overlaps(columns, [x0, x1]))
        if not weights.any():
            top, left, bottom, right = placement.region
            raise UsageError(
                f"`region`: nothing of it lies in what the model sees of a frame of {width}x{height} px, x from {left}"
                f" to {right} and y from {top} to {bottom}; give another one"
            )
        return np.asarray(weights / weights.max(), np.float32)


def _edges(placement: Placement, count: int, axis: int) -> NDArray[np.float64]:
    """Return the edges of `count` equal parts of the tensor in frame px, cut to the frame: (count + 1,)."""
    tensor, resized, frame = (sizes[axis] for sizes in (placement.tensor_size, placement.resized, placement.frame_size))
    edges = (np.arange(count + 1) * (tensor / count) - placement.offset[axis]) * (frame / resized)
    return np.clip(edges, 0, frame)


def _overlaps(parts: NDArray[np.float64], edges: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """Return the length that each part has in common with each interval between edges: (parts, intervals)."""
    starts, ends = np.asarray(edges[:-1], np.float64), np.asarray(edges[1:], np.float64)
    common = np.minimum(parts[1:, None], ends) - np.maximum(parts[:-1, None], starts)
    return np.maximum(common, 0)
