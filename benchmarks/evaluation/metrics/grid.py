"""Localisation on mosaics."""

from __future__ import annotations

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Floats
from aerocam.benchmarks.evaluation.metrics.masking import raw_of
from aerocam.benchmarks.evaluation.metrics.registry import metric
from aerocam.runtime.maps.saliency import finite, resize

SILENT = 1e-7
"""Positive mass up to which a map shows nothing."""


@metric(
    "gridpg",
    group="grid",
    direction="higher",
    definition=(
        "The share of the positive mass of the raw map (of several layers the first one's), resized linearly to the"
        " input (half-pixel centres), that lies inside the target's cell of the mosaic; 0 where that mass is at most"
        " 1e-7; chance is 1 / n^2 on n x n cells; mean over targets."
    ),
    source="Rao et al., Better Understanding Differences in Attribution Methods, arXiv:2303.11884, the localisation"
    " score L of the grid pointing game; in DiFull and DiPart the same, on networks of their own",
    needs=("mosaic",),
    variant="resized, then ReLU; of the raw map, not the normalised one",
)
def gridpg(case: Case) -> float:
    """Return the share of the map's positive mass inside the target's cell, 0 to 1; `METRICS` has the definition."""
    return cell_share(positive(raw_of(case.maps), case.map.shape), case.truth.cells, case.truth.cell)


def positive(raw: Floats, size: tuple[int, ...]) -> Floats:
    """Return the positive part of a raw map (h, w), resized to the input tensor's (H, W); 0 where not finite."""
    resized: Floats = np.maximum(resize(finite(raw[None]), (size[0], size[1])), 0)[0]
    return resized


def cell_share(attribution: Floats, cells: int, cell: int) -> float:
    """Return the share of a map (H, W) without negative values that lies inside a cell, counted by rows."""
    total = float(attribution.sum(dtype=np.float64))
    if total <= SILENT:
        return 0.0
    return float(attribution[cell_window(attribution.shape, cells, cell)].sum(dtype=np.float64)) / total


def cell_window(size: tuple[int, ...], cells: int, cell: int) -> tuple[slice, slice]:
    """Return the rows and columns of a cell in a map (H, W); edges are rounded down if n does not divide the sides."""
    (height, width), (row, column) = size, divmod(cell, cells)
    rows = slice(height * row // cells, height * (row + 1) // cells)
    return rows, slice(width * column // cells, width * (column + 1) // cells)
