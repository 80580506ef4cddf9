"""How the score falls as the map's brightest px are taken away, and how it rises as they are put back."""

from __future__ import annotations

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Floats
from aerocam.benchmarks.evaluation.metrics.masking import check_count, filling, finite, first, order, score
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric

RISE = "Petsiuk et al., RISE, 2018; equals torch-cam's DeletionInsertionMetric"
VARIANT = "torch-cam; RISE itself inserts into fill='blur', which leaves some pictures recognisable from the start"
AREA = (
    "px are ranked by the map, largest first, equal ones in reading order; the score is taken after each"
    " ceil(P / steps) of the P px, with both ends; the area is by trapezoids over the true fraction of px; NaN where"
    " the map is not finite; mean over pictures."
)


@metric(
    "deletion_auc",
    group="curves",
    direction="lower",
    definition=f"The area under the target's score as px are replaced by the fill (zero after normalisation, a black"
    f" px, or the blurred picture): {AREA}",
    source=RISE,
)
def deletion_auc(case: Case, steps: int = 20, fill: str = "zero", score: str = "probability") -> Value:
    """Return the area under the score as px are taken away, and the curve; `METRICS` has the definition."""
    return _curve(case, steps, case.tensor, filling(case, fill), score)


@metric(
    "insertion_auc",
    group="curves",
    direction="higher",
    definition=f"The area under the target's score as px of the picture are put in place of the fill (zero after"
    f" normalisation, a black px, or the picture under RISE's Gaussian of 11 px and sigma 5): {AREA}",
    source=RISE,
    variant=VARIANT,
)
def insertion_auc(case: Case, steps: int = 20, fill: str = "zero", score: str = "probability") -> Value:
    """Return the area under the score as px are put back, and the curve; `METRICS` has the definition."""
    return _curve(case, steps, filling(case, fill), case.tensor, score)


def _curve(case: Case, steps: int, start: Floats, end: Floats, kind: str) -> Value:
    """Return the area, and the curve's points: the fractions of px taken from `end`, and the score at each."""
    check_count("steps", steps)
    if not finite(case.map):
        return float("nan")
    ranked, size = order(case.map), (case.map.shape[0], case.map.shape[1])
    counts = [*range(0, ranked.size, -(-ranked.size // steps)), ranked.size]
    tensors = np.concatenate([np.where(first(ranked, count, size), end, start) for count in counts])
    fractions, scores = np.array(counts) / ranked.size, score(case, tensors, kind)
    area = float((np.diff(fractions) * (scores[1:] + scores[:-1]) / 2).sum())
    return {"value": area, "fraction": fractions.tolist(), "score": scores.tolist()}
