"""What the figures of all frames say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

WORST_IS_HIGHEST = frozenset({"shift"})
"""Of all other figures the lowest is the worst."""


def summary(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, quartiles and worst of each figure, from the frames' records; how many frames, how many agree.

    Returns:
        Ready for JSON. `frames` of a figure is the number of frames that have it: a map of zeros has no centre.
    """
    figures = ("correlation", "overlap", "shift", "inside_a", "inside_b", "inside_change")
    found: dict[str, Any] = {
        "frames": len(records),
        "top_class_agreement": sum(one["top_agrees"] for one in records) / len(records) if records else None,
    }
    for name in figures:
        values = [one[name] for one in records if one.get(name) is not None]
        if values:
            found[name] = _spread(name, values)
    return found


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Of one figure."""
    assert all(map(math.isfinite, values))
    low, middle, high = np.percentile(values, (25, 50, 75))
    worst = max(values) if name in WORST_IS_HIGHEST else min(values)
    return {
        "mean": float(np.mean(values)),
        "worst": float(worst),
        "quartile_1": float(low),
        "median": float(middle),
        "quartile_3": float(high),
        "frames": len(values),
    }
