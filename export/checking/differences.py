"""Finite differences on ONNX Runtime, in float32: a gradient is held against what the score does when a layer moves.

Values that a layer chooses but that have no gradient are held while it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.export.gradients.autodiff import ancestors, carries_gradient, values_read

KINKS = 0.1
"""A difference above this is worth a word to the user."""

STEPS = (1e-2, 3e-2, 1e-1, 3e-3, 1e-3)
"""Step sizes tried for a central difference, relative to the activations' root mean square."""

ENOUGH = KINKS / 5
"""A difference below which no other step is tried: that of a wrong gradient is 1 and more."""

RANDOM_DIRECTIONS = 2

ULPS = 4
"""What a score may be off by rounding, in units of its last place: no difference below that means anything."""


def gradient_error(
    run: Callable[[NDArray], float],
    gradient: NDArray,
    activations: NDArray,
    seed: int = 0,
    *,
    score: float | None = None,
    random: int = RANDOM_DIRECTIONS,
) -> float:
    """How far a gradient is from central differences: along itself, and along random directions.

    Args:
        run: Maps an offset on the layer to the score.
        gradient: Of the score at the layer.
        activations: The layer's values, which set the scale of the steps.
        seed: Of the random directions.
        score: Where the layer is not moved; None: `run` says.
        random: How many random directions.

    Returns:
        The worst over the directions of the best over `STEPS` of |difference - <gradient, direction>|, relative to the
        smaller of the two, but no less than what a gradient of this norm gives along a random direction, or than what
        a float32 score can tell apart. Infinite if the gradient is not finite.
    """
    if not np.isfinite(gradient).all():
        return float("inf")
    g = gradient.astype(np.float64)
    norm = float(np.linalg.norm(g))
    rng = np.random.default_rng(seed)
    directions = [g / np.abs(g).max()] if norm else []
    directions += [rng.standard_normal(g.shape) for _ in range(random)]
    score = run(np.zeros_like(activations)) if score is None else score
    scale, least = _scale(activations), _resolution(score)
    return max(_error_along(run, g, direction * scale, activations.dtype, least) for direction in directions)


def is_faint(score: float, gradient: NDArray, activations: NDArray) -> bool:
    """Whether the longest step along a gradient changes the score by less than float32 can tell: nothing was checked.

    So in networks that were never trained, whose signal dies away. A gradient of zeros is another matter.
    """
    g = gradient.astype(np.float64)
    largest = float(np.abs(g).max())
    change = max(STEPS) * _scale(activations) * float(np.vdot(g, g)) / largest if largest else 0.0
    return 0 < change < _resolution(score)


def _resolution(score: float) -> float:
    return ULPS * float(np.spacing(np.float32(abs(score))))


def _scale(activations: NDArray) -> float:
    """Their root mean square; 1 where all are 0."""
    return float(np.sqrt(np.mean(activations.astype(np.float64) ** 2))) or 1.0


def _error_along(
    run: Callable[[NDArray], float], gradient: NDArray, direction: NDArray, dtype: Any, least: float
) -> float:
    """The best relative error over `STEPS` along one direction; the first good one ends the search."""
    usual = float(np.linalg.norm(gradient)) * float(np.sqrt(np.mean(direction**2)))
    best = float("inf")
    for step in STEPS:
        offset = (direction * step).astype(dtype)
        slope = float(np.vdot(gradient, offset.astype(np.float64)))
        difference = (float(run(offset)) - float(run(-offset))) / 2
        size = max(min(abs(slope), abs(difference)), usual * step, least)
        best = min(best, abs(difference - slope) / size)
        if best < ENOUGH:
            break
    return best


def held_values(graph: ir.Graph, layers: Sequence[ir.Value], score: ir.Value) -> list[ir.Value]:
    """The first values on every way from a layer to the score that have no gradient by their very type.

    Indices of a MaxPool or TopK, classes of an ArgMax, conditions of a Where: they jump where the layer is moved across
    a tie, and after a ReLU whole windows are ties of zeros. The score jumps with them and finite differences say
    nothing; between the jumps it has the gradient that it has with them held. So is what makes up a segmenter's score.
    Floats are not held, whatever the rule of their operator: one that is wrongly without a gradient has to show.

    Args:
        graph: Of a rewritten model.
        layers: What is moved; none of them is quantised on the way to the score.
        score: What is differenced.
    """
    moved, needed, found = set(layers), ancestors(score), []
    for node in graph:
        if not any(x in moved for x in values_read(node)):
            continue
        for y in node.outputs:
            if carries_gradient(y):
                moved.add(y)
            elif y in needed:
                found.append(y)
    return found
