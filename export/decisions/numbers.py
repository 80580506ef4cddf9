"""What the numbers of a class axis are where a model is run: shares of 1, probabilities, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.scores.logits import is_bounded

TOLERANCE = 2e-3
"""What probabilities may be off by: float16 has three digits."""

Kind = Literal["shares", "probabilities", "logits", "constant"]


@dataclass(frozen=True)
class Numbers:
    """What numbers along an axis of classes were measured to be.

    Attributes:
        kind: `shares`: they lie in 0 to 1 and add up to 1. `probabilities`: each lies in 0 to 1. `logits`: neither.
            `constant`: they are the same for every picture and place, and say nothing.
        unit: What they add up to, 1 or 100.
        low: The least of all.
        high: The largest of all.
        level: The mean over the classes in standard deviations from 0, at the median place.
    """

    kind: Kind
    unit: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        """Return in words what was measured."""
        values = f"numbers from {self.low:.3g} to {self.high:.3g}"
        ends = {"shares": f" that add up to {self.unit:g}", "constant": ", the same everywhere"}
        return f"{values}{ends.get(self.kind, '')} on test pictures"


def measured(tensor: ir.Value, arrays: Sequence[NDArray], axis: int) -> Numbers:
    """Say what numbers are.

    Args:
        tensor: The tensor that holds them; numbers in 0 to 1 are no probabilities where nothing keeps them there.
        arrays: What it holds, an array per picture.
        axis: Its axis of classes.
    """
    rows = np.concatenate([np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]) for array in arrays])
    rows = rows.astype(np.float64)
    low, high, spread = float(rows.min()), float(rows.max()), rows.std(axis=1)
    level = float(np.median(rows.mean(axis=1) / np.where(spread > 0, spread, np.inf)))
    unit = 100.0 if high > 1 + TOLERANCE else 1.0
    if not np.isfinite(rows).all() or (rows == rows[:1]).all():
        kind: Kind = "constant" if np.isfinite(rows).all() else "logits"
    elif low < -TOLERANCE * unit or high > unit * (1 + TOLERANCE):
        kind = "logits"
    elif rows.shape[1] > 1 and np.abs(rows.sum(axis=1) - unit).max() < TOLERANCE * unit * max(
        1, np.sqrt(rows.shape[1]) / 8
    ):
        kind = "shares"
    else:
        kind = "probabilities" if unit == 1.0 and is_bounded(tensor) else "logits"
    return Numbers(kind, unit if kind == "shares" else 1.0, low, high, level)
