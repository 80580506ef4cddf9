"""Models for the tests of metrics: small ones whose scores and maps follow from a formula, and a real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from aerocam.benchmarks.evaluation.case import Case, Map, Truth

SIZE = (24, 20)
OBJECT = (6.0, 8.0, 14.0, 18.0)
"""Where the bright square of `square` lies: x0, y0, x1, y1."""

Explain = Callable[[np.ndarray, int], np.ndarray]


def no_map(tensor: np.ndarray, target: int) -> np.ndarray:
    """For metrics that ask for no further map."""
    raise AssertionError("no map was expected to be asked for")


@dataclass
class Toy:
    """Scores by a function; softmax over them. The map is what `maps` says, raw and normalised alike.

    Attributes:
        score: From tensors (n, C, H, W) to logits (n, classes).
        maps: From a tensor and a target to a map (H, W).
        noisy: From share and seed to a map.
    """

    score: Callable[[np.ndarray], np.ndarray]
    maps: Explain = no_map
    noisy: Callable[[float, int], np.ndarray] | None = None
    classes: int = 2
    fill: np.ndarray = field(default_factory=lambda: np.zeros(1, np.float32))

    def logits(self, tensors: np.ndarray) -> np.ndarray:
        return self.score(tensors)

    def probabilities(self, tensors: np.ndarray) -> np.ndarray:
        scores = self.score(tensors)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def explain(self, tensor: np.ndarray, target: int) -> Map:
        found = np.asarray(self.maps(tensor, target), np.float32)
        return Map(found, found)

    def explain_with_noise(self, tensor: np.ndarray, target: int, share: float, seed: int) -> Map:
        assert self.noisy is not None
        found = np.asarray(self.noisy(share, seed), np.float32)
        return Map(found, found)


def fixed(*probabilities: float) -> Callable[[np.ndarray], np.ndarray]:
    """Logits whose softmax gives class 0 these probabilities, in the order in which tensors are asked for."""
    left = list(probabilities)

    def score(tensors: np.ndarray) -> np.ndarray:
        p = np.array([left.pop(0) for _ in tensors])
        return np.stack([np.log(p), np.log(1 - p)], axis=1)

    return score


def case(subject: Toy, tensor: np.ndarray, map_: np.ndarray, **more: object) -> Case:
    """One picture (C, H, W) with a map (H, W), target 0."""
    found = np.asarray(map_, np.float32)
    one = np.asarray(tensor, np.float32)[None]
    return Case(subject=subject, tensor=one, target=0, maps=Map(found, found), **more)  # type: ignore[arg-type]


def object_mask() -> np.ndarray:
    """The px of `OBJECT`, by slices."""
    mask = np.zeros(SIZE, bool)
    mask[8:18, 6:14] = True
    return mask


def bright_square(map_: np.ndarray) -> Case:
    """A model that counts how much of the bright square it sees, and is distracted by texture elsewhere."""
    mask = object_mask()
    rng = np.random.default_rng(5)
    tensor = np.where(mask, 1.0, 0.3 * rng.random(SIZE))[None]
    weights = np.where(mask, 6.0 / mask.sum(), -2.0 / (~mask).sum())

    def score(tensors: np.ndarray) -> np.ndarray:
        seen = (np.asarray(tensors, float)[:, 0] * weights).sum(axis=(1, 2))
        return np.stack([seen - 2, np.zeros(len(tensors))], axis=1)

    truth = Truth(boxes=(OBJECT,), mask=mask)
    return case(Toy(score), tensor, map_, truth=truth)


def limits() -> dict[str, np.ndarray]:
    """Four maps of the bright square: what a metric must tell apart, the best first."""
    mask = object_mask()
    return {
        "perfect": mask.astype(np.float32),
        "constant": np.full(SIZE, 0.5, np.float32),
        "random": np.random.default_rng(11).random(SIZE).astype(np.float32),
        "inverted": (~mask).astype(np.float32),
    }
