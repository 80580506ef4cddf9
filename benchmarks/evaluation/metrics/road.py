"""ROAD: what becomes of the score when px are taken away so that the model cannot see where (Rong et al., 2022)."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.case import Case, Floats
from aerocam.benchmarks.evaluation.metrics.imputation import impute
from aerocam.benchmarks.evaluation.metrics.masking import finite, first, numbers, order, score
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric

PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
SOURCE = (
    "Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, 2022; equals"
    " pytorch-grad-cam's {} on maps without equal values, but for the noise that is drawn"
)
VARIANT = "removal by rank, so that a map with many zeros is not imputed whole; the score's change, not an accuracy"
REMOVED = (
    "of the P px the ceil((P - 1) p / 100) {kept} relevant ones are kept (equal ones: the last in reading order) and"
    " the others become what the noisy linear imputer says of them (its noise is Gaussian, drawn once per picture); the"
    " value is the mean over the percentiles p of the target's score then minus that on the picture; NaN where the map"
    " is not finite; mean over pictures."
)


@metric(
    "road_morf",
    group="road",
    direction="lower",
    definition=f"Most relevant first: {REMOVED.format(kept='least')}",
    source=SOURCE.format("ROADMostRelevantFirstAverage"),
    variant=VARIANT,
)
def road_morf(
    case: Case, percentiles: Sequence[float] = PERCENTILES, noise: float = 0.01, score: str = "probability"
) -> Value:
    """Return the change of score when the most relevant px go, and the curve; `METRICS` has the definition."""
    return _change(case, 1, percentiles, noise, score)


@metric(
    "road_lerf",
    group="road",
    direction="higher",
    definition=f"Least relevant first: {REMOVED.format(kept='most')}",
    source=SOURCE.format("ROADLeastRelevantFirstAverage"),
    variant=VARIANT,
)
def road_lerf(
    case: Case, percentiles: Sequence[float] = PERCENTILES, noise: float = 0.01, score: str = "probability"
) -> Value:
    """Return the change of score when the least relevant px go, and the curve; `METRICS` has the definition."""
    return _change(case, -1, percentiles, noise, score)


@metric(
    "road_combined",
    group="road",
    direction="higher",
    definition="(road_lerf - road_morf) / 2 of each picture, 0 of a constant map; mean over pictures.",
    source=SOURCE.format("ROADCombined"),
    variant=VARIANT,
)
def road_combined(
    case: Case, percentiles: Sequence[float] = PERCENTILES, noise: float = 0.01, score: str = "probability"
) -> Value:
    """Return half the difference of `road_lerf` and `road_morf`, and both curves; `METRICS` has the definition."""
    most, least = (_change(case, sign, percentiles, noise, score) for sign in (1, -1))
    if isinstance(most, float) or isinstance(least, float):
        return float("nan")
    value = (least["value"] - most["value"]) / 2
    return {"value": value, "fraction": most["fraction"], "morf": most["score"], "lerf": least["score"]}


def _change(case: Case, sign: int, percentiles: Sequence[float], noise: float, kind: str) -> Value:
    """Return the mean change of score, and the curve: the fractions of px removed, and the change at each."""
    percentiles = numbers("percentiles", percentiles, 0, 100)
    if not finite(case.map):
        return float("nan")
    ranked = order(case.map if sign > 0 else -case.map)
    gone = [ranked.size - math.ceil((ranked.size - 1) * value / 100) for value in percentiles]
    size = (case.map.shape[0], case.map.shape[1])
    tensors = _imputed(_Known(case.tensor), _Known(ranked), size, tuple(gone), noise, case.seed)
    scores = score(case, tensors, kind) - score(case, case.tensor, kind)
    curve = {"fraction": [count / ranked.size for count in gone], "score": scores.tolist()}
    return {"value": float(scores.mean()), **curve}


class _Known:
    """An array that is told from another by what it holds, so that solutions can be kept."""

    def __init__(self, array: NDArray) -> None:
        self.array, self.content = array, (array.shape, array.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


@functools.lru_cache(maxsize=2)  # both orders of a picture: the three metrics solve each system once
def _imputed(
    tensor: _Known, ranked: _Known, size: tuple[int, int], gone: tuple[int, ...], noise: float, seed: int
) -> Floats:
    """Return the picture without the first px of an order, once for each count in `gone`: float32 (n, C, H, W)."""
    x: Floats = tensor.array[0]
    grain = noise * np.random.default_rng(seed).standard_normal(x.shape, np.float32)
    made = []
    for count in gone:
        missing = first(ranked.array, count, size)
        made.append(impute(x, missing) + grain * missing)
    return np.stack(made).astype(np.float32)
