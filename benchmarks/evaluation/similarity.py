"""How alike two maps of one frame are: of two versions of a network, of two precisions, of two frames in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.errors import UsageError
from aerocam.geometry import Box

WINDOW = 7
"""Side of SSIM's uniform window, px."""


def pearson(first: Floats, second: Floats, epsilon: float = 0.0) -> float:
    """Return Pearson's correlation over px; for a constant map NaN, or 0 with an `epsilon` beside the deviations."""
    a, b = (np.asarray(x, np.float64).ravel() for x in (first, second))
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a * a).mean() * (b * b).mean()) + epsilon
    return float((a * b).mean() / spread) if spread > 0 else float("nan")


def ssim(first: Floats, second: Floats) -> float:
    """Return the structural similarity of two maps in [0, 1]: scikit-image's, uniform window of 7 px, data range 1.

    Raises:
        UsageError: The maps are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(first.shape) < WINDOW:
        raise UsageError(f"map: found {first.shape} px, SSIM expects at least {WINDOW} a side; take another metric")
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    return float(structural_similarity(a, b, data_range=1.0, win_size=WINDOW))


@dataclass(frozen=True)
class Consistency:
    """Two maps compared.

    Attributes:
        correlation: Pearson's over the px, -1 to 1; NaN where one of the maps is constant.
        overlap: Sum of the lesser over sum of the greater value, px by px (weighted Jaccard), 0 to 1; NaN where both
            are zero.
        shift: Distance of the centres of mass, px; NaN where one of the maps is zero.
    """

    correlation: float
    overlap: float
    shift: float


def consistency(first: Floats, second: Floats) -> Consistency:
    """Compare two maps (H, W) over the same frame, none of them negative."""
    union = float(np.maximum(first, second).sum(dtype=np.float64))
    shared = float(np.minimum(first, second).sum(dtype=np.float64))
    return Consistency(pearson(first, second), shared / union if union > 0 else math.nan, shift(first, second))


def shift(first: Floats, second: Floats) -> float:
    """Return the distance between the centres of mass of two maps, px."""
    return math.dist(centre_of_mass(first), centre_of_mass(second))


def centre_of_mass(saliency: Floats) -> tuple[float, float]:
    """Return (x, y) in px, the middle of the first px being (0.5, 0.5); NaN if the map is zero."""
    total = float(saliency.sum(dtype=np.float64))
    if total <= 0:
        return math.nan, math.nan
    height, width = saliency.shape
    columns, rows = (saliency.sum(axis=axis, dtype=np.float64) for axis in (0, 1))
    return float(columns @ (np.arange(width) + 0.5)) / total, float(rows @ (np.arange(height) + 0.5)) / total


def mass_inside(saliency: Floats, box: Box) -> float:
    """Return the share of the map's mass inside a box (x0, y0, x1, y1), edges in px; NaN if the map is zero.

    A px counts by its middle.
    """
    total = float(saliency.sum(dtype=np.float64))
    height, width = saliency.shape
    x0, y0, x1, y1 = (math.ceil(edge - 0.5) for edge in box)
    inside = saliency[max(y0, 0) : max(min(y1, height), 0), max(x0, 0) : max(min(x1, width), 0)]
    return float(inside.sum(dtype=np.float64)) / total if total > 0 else math.nan
