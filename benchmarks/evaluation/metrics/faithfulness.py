"""What becomes of the score when the model sees only what the map lights up, and how simple the map is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aerocam.benchmarks.evaluation.case import Case
from aerocam.benchmarks.evaluation.metrics.masking import finite, masked, score
from aerocam.benchmarks.evaluation.metrics.registry import Value, metric
from aerocam.benchmarks.evaluation.similarity import pearson

GRADCAM_PLUS_PLUS = "Chattopadhay et al., Grad-CAM++, 2018"
ADCC = "Poppi et al., Revisiting the Evaluation of Class Activation Mapping for Explainability, 2021"
NAN = float("nan")


@metric(
    "average_drop",
    group="faithfulness",
    direction="lower",
    definition="max(0, Y - O) / (Y + epsilon), a fraction: Y is the target's score on the picture x, O that on the"
    " picture under the map M (x M after normalisation, or M times the raw picture), NaN where Y + epsilon <= 0 or the"
    " map is not finite; with a threshold M is 1 above it and 0 elsewhere, signed leaves out the max; mean over"
    " pictures.",
    source=f"{GRADCAM_PLUS_PLUS}; the defaults equal torch-cam's ClassificationMetric",
    variant="torch-cam; space='raw', epsilon=0: openvino_xai; space='raw', threshold=0.5, signed=True, epsilon=0, times"
    " 100: CF-CAM's ad.py",
)
def average_drop(
    case: Case,
    space: str = "normalised",
    score: str = "probability",
    epsilon: float = 1e-7,
    threshold: float | None = None,
    signed: bool = False,
) -> Value:
    """Return the share of its score that the target loses; `METRICS` has the definition."""
    before, after = _before_and_after(case, space, score, threshold)
    if not (before + epsilon > 0 and np.isfinite(after)):
        return NAN
    lost = before - after
    return (lost if signed else max(0.0, lost)) / (before + epsilon)


@metric(
    "drop_in_confidence",
    group="faithfulness",
    direction="lower",
    definition="max(0, Y - O), not divided by Y, with Y and O as for average_drop; NaN where the map is not finite;"
    " mean over pictures.",
    source="pytorch-grad-cam's DropInConfidence (its score is whatever target it is given)",
)
def drop_in_confidence(case: Case, space: str = "normalised", score: str = "probability") -> Value:
    """Return how much score the target loses; `METRICS` has the definition."""
    before, after = _before_and_after(case, space, score)
    return max(0.0, before - after) if np.isfinite(after) else NAN


@metric(
    "increase_in_confidence",
    group="faithfulness",
    direction="higher",
    definition="1 where O > Y, else 0, with Y and O as for average_drop; NaN where the map is not finite; mean over"
    " pictures.",
    source=f"{GRADCAM_PLUS_PLUS}; equals torch-cam's conf_increase and pytorch-grad-cam's IncreaseInConfidence",
)
def increase_in_confidence(case: Case, space: str = "normalised", score: str = "probability") -> Value:
    """Return 1 if the target's score rises, else 0; `METRICS` has the definition."""
    before, after = _before_and_after(case, space, score)
    return float(after > before) if np.isfinite(after) else NAN


@metric(
    "average_gain",
    group="faithfulness",
    direction="higher",
    definition="max(0, O - Y) / (1 - Y + epsilon), with Y and O as for average_drop and the probability as the score;"
    " NaN where 1 - Y + epsilon <= 0 or the map is not finite; mean over pictures.",
    source="Zhang et al., Opti-CAM, 2024; the formula and epsilon of xplique's AverageGainMetric",
)
def average_gain(case: Case, space: str = "normalised", epsilon: float = 1e-8) -> Value:
    """Return the share of what was left to gain that the target gains; `METRICS` has the definition."""
    before, after = _before_and_after(case, space, "probability")
    left = 1 - before + epsilon
    return max(0.0, after - before) / left if left > 0 and np.isfinite(after) else NAN


@metric(
    "coherency",
    group="faithfulness",
    direction="higher",
    definition="(r + 1) / 2 with r Pearson's correlation over px, cov / (deviation * deviation + 1e-8), of the map M"
    " and the method's map of the picture under M: 0.5 where one of them is constant, NaN where one is not finite; mean"
    " over pictures.",
    source=f"{ADCC}; equals pytorch-grad-cam's Coherency",
)
def coherency(case: Case, space: str = "normalised") -> Value:
    """Return how alike the map and the map of the picture under it are; `METRICS` has the definition."""
    if not finite(case.map):
        return NAN
    again = case.subject.explain(masked(case, case.map, space), case.target).map
    return (pearson(again, case.map, 1e-8) + 1) / 2 if finite(again) else NAN


@metric(
    "complexity",
    group="faithfulness",
    direction="lower",
    definition="The mean of the map's values over its px (its L1 norm divided by the number of px); NaN where the map"
    " is not finite; mean over pictures.",
    source=f"{ADCC}; equals pytorch-grad-cam's Complexity, not Quantus' (an entropy)",
)
def complexity(case: Case) -> Value:
    """Return how much of the picture the map lights up; `METRICS` has the definition."""
    return float(np.mean(case.map, dtype=np.float64)) if finite(case.map) else NAN


def harmonic(coherent: float, complex_: float, drop: float) -> float:
    """Return 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop)): 0 if a denominator is, NaN if a part is."""
    parts = np.array([coherent, 1 - complex_, 1 - drop])
    if not np.isfinite(parts).all():
        return NAN
    return float(3 / (1 / parts).sum()) if (parts > 0).all() else 0.0


def harmonic_of_means(values: Sequence[Any]) -> float:
    """Return ADCC over a set: the harmonic mean of each part's mean over the pictures that have all three."""
    parts = ("coherency", "complexity", "average_drop")
    whole = np.array([[value[part] for part in parts] for value in values if np.isfinite(value["value"])], float)
    return harmonic(*whole.mean(axis=0).tolist()) if len(whole) else NAN


@metric(
    "adcc",
    group="faithfulness",
    direction="higher",
    definition="3 / (1 / Coh + 1 / (1 - Com) + 1 / (1 - AD)) with coherency, complexity and average_drop (no epsilon)"
    " each averaged over the pictures first, 0 where a denominator is; pictures where one is NaN have no value.",
    source=f"{ADCC}; averages as openvino_xai's evaluate does",
    gather=harmonic_of_means,
    variant="the means first, then the harmonic mean",
)
def adcc(case: Case, space: str = "normalised", score: str = "probability") -> Value:
    """Return the three parts and their harmonic mean for one picture; `METRICS` has the definition."""
    parts: Mapping[str, Any] = {
        "coherency": coherency(case, space),
        "complexity": complexity(case),
        "average_drop": average_drop(case, space, score, epsilon=0.0),
    }
    return {"value": harmonic(*parts.values()), **parts}


@metric(
    "adcc_per_picture",
    group="faithfulness",
    direction="higher",
    definition="3 / (1 / Coh + 1 / (1 - Com) + 1 / (1 - AD)) of each picture's coherency, complexity and average_drop"
    " (no epsilon), 0 where a denominator is, NaN where one of them is; mean over pictures.",
    source=ADCC,
    variant="the harmonic mean of each picture first, then the mean",
)
def adcc_per_picture(case: Case, space: str = "normalised", score: str = "probability") -> Value:
    """Return what `adcc` returns, to be averaged over pictures as a number; `METRICS` has the definition."""
    return adcc(case, space, score)


def _before_and_after(case: Case, space: str, kind: str, threshold: float | None = None) -> tuple[float, float]:
    """Return the target's score on the picture and under its map; NaN for the second if the map is not finite."""
    before = float(score(case, case.tensor, kind)[0])
    if not finite(case.map):
        return before, NAN
    mask = case.map if threshold is None else (case.map > threshold).astype(np.float32)
    return before, float(score(case, masked(case, mask, space), kind)[0])
