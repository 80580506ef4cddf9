"""What is measured of a candidate on one case, and what the figures of many cases say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aerocam.benchmarks.evaluation import case as evaluation
from aerocam.benchmarks.evaluation.case import Floats
from aerocam.benchmarks.evaluation.metrics.curves import deletion_auc, insertion_auc
from aerocam.benchmarks.evaluation.metrics.grid import positive
from aerocam.benchmarks.evaluation.similarity import pearson, ssim
from aerocam.benchmarks.studies.cfcam.candidates import raw_maps, shown
from aerocam.benchmarks.studies.cfcam.cases import Case

STEPS = 20
SHARES = (0.1, 0.3, 1.0)
"""Noise on the gradients, in standard deviations of these."""

SEEDS = 5
DRAWS = 10_000
"""Draws of the bootstrap."""


def figures(name: str, case: Case) -> dict[str, float]:
    """Return all figures of one candidate on one case, by name; those that the case cannot give are left out."""
    values: dict[str, float] = {}
    raws = raw_maps(name, case.activations, case.gradients)
    maps = shown(name, raws, case.size)
    if case.windows:
        values["localisation"] = _localisation(raws, case)
    if case.score is not None:
        values |= _curves(maps[0], case)
    if len(case.windows) in (0, 2):
        values["class sensitivity"] = _correlation(maps[0], maps[1])
        values |= _stability(name, maps[0], case)
    return values


def _localisation(raws: Floats, case: Case) -> float:
    """Return the share of the raw map's positive mass in the window, averaged over targets; of cells, GridPG."""
    shares = []
    for raw, window in zip(raws, case.windows, strict=True):
        mass = positive(raw, case.size)
        total = float(mass.sum())
        shares.append(float(mass[window].sum()) / total if total > 0 else 0.0)
    return float(np.mean(shares))


@dataclass(frozen=True)
class _Scored:
    """A case's score as a model of one class, for the metrics."""

    score: Callable[[Floats], float]
    classes: int = 1

    def probabilities(self, tensors: Floats) -> Floats:
        """Return the scores of tensors, float32 (n, 1)."""
        return np.array([[self.score(tensor[None])] for tensor in tensors], np.float32)


def _curves(saliency: Floats, case: Case) -> dict[str, float]:
    """Return the areas under insertion and deletion of the target's probability; a px taken away is 0 (normalised)."""
    assert case.score is not None
    assert case.tensor is not None
    subject: Any = _Scored(case.score)
    asked = evaluation.Case(subject, case.tensor, 0, evaluation.Map(saliency, saliency))
    metrics: dict[str, Callable[..., Any]] = {"insertion": insertion_auc, "deletion": deletion_auc}
    return {name: metric(asked, steps=STEPS, fill="zero")["value"] for name, metric in metrics.items()}


def _stability(name: str, clean: Floats, case: Case) -> dict[str, float]:
    """Return mean SSIM and correlation of the map with those under `SEEDS` draws of Gaussian noise on G."""
    gradients, means = case.gradients[0], {}
    for share in SHARES:
        draws = [np.random.default_rng(seed).standard_normal(gradients.shape) for seed in range(SEEDS)]
        noisy = np.stack([gradients + share * gradients.std() * draw for draw in draws]).astype(np.float32)
        maps = shown(name, raw_maps(name, case.activations, noisy), case.size)
        alike = [ssim(clean, one) for one in maps]
        means[f"SSIM, noise {share:g}"] = float(np.mean(alike))
        means[f"correlation, noise {share:g}"] = float(np.mean([_correlation(clean, one) for one in maps]))
    return means


def _correlation(first: Floats, second: Floats) -> float:
    """Return Pearson's correlation; 0 if a map is constant, as it tells nothing of the other."""
    correlation = pearson(first, second)
    return correlation if math.isfinite(correlation) else 0.0


def difference(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of paired differences, and its 95 % interval by bootstrap over the cases."""
    paired = np.subtract(values, reference)
    picks = np.random.default_rng(0).integers(len(paired), size=(DRAWS, len(paired)))
    low, high = np.percentile(paired[picks].mean(axis=1), (2.5, 97.5))
    return float(paired.mean()), float(low), float(high)


def table(names: Sequence[str], cases: Sequence[Case], say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """Return all figures by candidate and by name, one number per case, with the digits that are of use."""
    values: dict[str, dict[str, list[float]]] = {}
    for name in names:
        say(name)
        per_case = [figures(name, case) for case in cases]
        values[name] = {figure: [round(one[figure], 7) for one in per_case] for figure in per_case[0]}
    return values
