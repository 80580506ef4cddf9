"""How alike two maps are."""

from __future__ import annotations

import numpy as np

from aerocam.benchmarks.evaluation.case import Floats
from aerocam.errors import UsageError

WINDOW = 7
"""Side of SSIM's uniform window, px."""


def pearson(first: Floats, second: Floats, epsilon: float = 0.0) -> float:
    """Pearson's correlation over px; NaN where a map is constant, but 0 with an `epsilon` beside the deviations."""
    a, b = (np.asarray(x, np.float64).ravel() for x in (first, second))
    a, b = a - a.mean(), b - b.mean()
    spread = np.sqrt((a * a).mean() * (b * b).mean()) + epsilon
    return float((a * b).mean() / spread) if spread > 0 else float("nan")


def ssim(first: Floats, second: Floats) -> float:
    """Structural similarity of two maps in [0, 1], by scikit-image: window of 7 px, uniform, data range 1.

    Raises:
        UsageError: The maps are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(first.shape) < WINDOW:
        raise UsageError(f"map: found {first.shape} px, SSIM expects at least {WINDOW} a side; take another metric")
    a, b = (np.asarray(x, np.float64) for x in (first, second))
    return float(structural_similarity(a, b, data_range=1.0, win_size=WINDOW))
