"""AggAtt: what a method's maps look like from its best to its worst, not at hand-picked examples.

The maps of all questions are sorted by their GridPG share, cut into bins (few at both ends, where methods succeed and
fail most), and averaged bin by bin (arXiv:2303.11884). The averages share one scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.metrics.grid import cell_window
from aerocam.errors import UsageError
from aerocam.runtime.frames.opencv import cv2

FRACTIONS = (0.0, 0.02, 0.05, 0.5, 0.95, 0.98, 1.0)
"""Where the bins end, as shares of all maps, from the best map on."""

PERCENTILE = 99.5
"""Percentile of all values of the bins' means that is shown at full brightness."""

SIDE, MARGIN, LINE = 112, 6, 18
"""Side of a panel, gap between panels, and height of a line of text, px."""


@dataclass(frozen=True, eq=False)
class Aggregate:
    """Maps averaged bin by bin.

    Attributes:
        means: float32 (bins, H, W), the target's cell at the top left.
        counts: How many maps are in each bin.
        shares: The mean GridPG share of each bin.
        scale: The value at full brightness.
    """

    means: Floats
    counts: tuple[int, ...]
    shares: tuple[float, ...]
    scale: float


def to_first_cell(attribution: Floats, cells: int, cell: int) -> Floats:
    """Return a new map (H, W) in which the target's cell and the one at the top left have changed places.

    Raises:
        UsageError: `cells` does not divide the sides of the map.
    """
    if any(side % cells for side in attribution.shape):
        raise UsageError(f"AggAtt: found a map of {attribution.shape} px, sides that {cells} divides are expected")
    moved = attribution.copy()
    first, own = cell_window(attribution.shape, cells, 0), cell_window(attribution.shape, cells, cell)
    moved[first], moved[own] = attribution[own], attribution[first]
    return moved


def aggregate(maps: Sequence[Floats], cells: int, fractions: Sequence[float] = FRACTIONS) -> Aggregate:
    """Sort maps by the share of their mass in the cell at the top left, the best first, and average bin by bin.

    Among equal shares the map with more mass inside is first. Bins end at the nearest whole number of maps.

    Args:
        maps: float32 (H, W) each, none of it negative, the target's cell at the top left: see `to_first_cell`.
        cells: Along each side.
        fractions: Where the bins end, from 0 to 1.

    Raises:
        UsageError: There are so few maps that a bin would be empty.
    """
    edges = [round(len(maps) * fraction) for fraction in fractions]
    if any(start == end for start, end in pairwise(edges)):
        least = np.ceil(1 / np.diff(fractions).min()).astype(int)
        raise UsageError(f"AggAtt: found {len(maps)} maps, about {least} are expected, or a bin is empty; give more")
    stack = np.stack(maps)
    rows, columns = cell_window(stack.shape[1:], cells, 0)
    inside = stack[:, rows, columns].sum(axis=(1, 2), dtype=np.float64)
    total = stack.sum(axis=(1, 2), dtype=np.float64)
    shares = np.divide(inside, total, out=np.zeros_like(total), where=total > 0)
    order = np.lexsort((-inside, -shares))
    bins = [order[start:end] for start, end in pairwise(edges)]
    means = np.stack([stack[one].mean(axis=0) for one in bins])
    scale = float(np.percentile(means, PERCENTILE))
    return Aggregate(means, tuple(map(len, bins)), tuple(float(shares[one].mean()) for one in bins), scale)


def picture(rows: Mapping[str, Aggregate], cells: int) -> NDArray[np.uint8]:
    """Draw one row per method and one panel per bin, the best maps on the left: uint8 (H, W, 3), BGR.

    Each row has its own scale; below each panel how many maps it is the mean of, and their mean share.
    """
    return np.concatenate([_row(name, one, cells) for name, one in rows.items()])


def _row(name: str, one: Aggregate, cells: int) -> NDArray[np.uint8]:
    """Draw the panels of one method."""
    step = SIDE + MARGIN
    canvas = np.full((SIDE + 2 * LINE + MARGIN, len(one.means) * step + MARGIN, 3), 255, np.uint8)
    _write(canvas, name, (MARGIN, LINE - 5))
    for number, (mean, count, share) in enumerate(zip(one.means, one.counts, one.shares, strict=True)):
        left = MARGIN + number * step
        canvas[LINE : LINE + SIDE, left : left + SIDE] = _panel(mean, one.scale, cells)
        _write(canvas, f"n {count}, {share:.2f}", (left, LINE + SIDE + LINE - 5))
    return canvas


def _panel(mean: Floats, scale: float, cells: int) -> NDArray[np.uint8]:
    """Draw a mean map in colour, with the borders of the cells."""
    levels = np.clip(mean / scale if scale > 0 else mean, 0, 1) * 255
    small = cv2.resize(levels.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    panel = cv2.applyColorMap(small.round().astype(np.uint8), cv2.COLORMAP_INFERNO)
    for line in range(1, cells):
        panel[SIDE * line // cells], panel[:, SIDE * line // cells] = 255, 255
    return np.asarray(panel, np.uint8)


def _write(canvas: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
