"""Consistency between two versions of one network over pictures: float32 and float16, or quantised, or retrained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.evaluation.metrics.registry import mean
from aerocam.benchmarks.evaluation.similarity import pearson, shift, ssim
from aerocam.errors import UsageError
from aerocam.geometry import Size
from aerocam.runtime import Explainer


@dataclass(frozen=True)
class Agreement:
    """How far two models agree, of one picture or on average.

    Attributes:
        correlation: Pearson's of the maps' px; NaN where one map is constant.
        ssim: Structural similarity of the maps.
        shift: Between the maps' centres of mass, px of the input; NaN where one map is zero.
        same_class: Whether the top class is the same, or the share of pictures where it is.
        probability: The first model's top class: by how much the second's probability differs, without sign.
    """

    correlation: float
    ssim: float
    shift: float
    same_class: float
    probability: float


def compare_models(
    first: str | Path, second: str | Path, frames: Iterable[NDArray[np.uint8]], method: str
) -> list[Agreement]:
    """Explain the first model's top class of every picture by both models.

    Args:
        first: An exported file.
        second: Another, with an input of the same size.
        frames: uint8 (H, W, 3) in BGR.
        method: The CAM method.

    Raises:
        UsageError: The inputs differ in size or the models in classes, or a file does not give the method.
        ModelError: A file cannot be read.
    """
    with Explainer(first, method=method) as one, Explainer(second, method=method) as other:
        sizes = [_size(explainer) for explainer in (one, other)]
        classes = [explainer.manifest.score.classes for explainer in (one, other)]
        if classes[0] != classes[1]:
            raise UsageError(
                f"{second}: it has {classes[1]} classes, {first} has {classes[0]}; give two models of the same classes"
            )
        if sizes[0] != sizes[1]:
            raise UsageError(
                f"{second}: its input is {sizes[1]} px, that of {first} {sizes[0]}; give two models of the same size"
            )
        return [_agreement(one, other, frame) for frame in frames]


def _size(explainer: Explainer) -> Size:
    """Return the size of a model's input; explainers take models of pictures alone, which have one."""
    rule = explainer.manifest.preprocess
    assert rule is not None
    return rule.size


def _agreement(first: Explainer, second: Explainer, frame: NDArray[np.uint8]) -> Agreement:
    """Compare two models on one picture."""
    prediction = first.predict(frame)
    target, probability = int(prediction.probabilities.argmax()), float(prediction.probabilities.max())
    again = second.predict(frame)
    best, apart = int(again.probabilities.argmax()), abs(probability - float(again.probabilities[target]))
    maps = first.explain(prediction, target).tensor_map[0], second.explain(again, target).tensor_map[0]
    return Agreement(pearson(*maps), ssim(*maps), shift(*maps), float(best == target), apart)


def average(agreements: Iterable[Agreement]) -> Agreement:
    """Return the mean of each figure over the pictures that have a finite one."""
    rows: list[dict[str, Any]] = [asdict(agreement) for agreement in agreements]
    return Agreement(**{name: mean([row[name] for row in rows]) for name in Agreement.__dataclass_fields__})
