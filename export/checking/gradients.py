"""Gradients against finite differences on ONNX Runtime, in float32: what the score does when a layer moves.

Values that a layer chooses but that have no gradient are held while it moves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import CheckError
from aerocam.export.gradients.autodiff import QUANTISING, ancestors, carries_gradient, nodes_between, values_read
from aerocam.export.gradients.rule_tables import NAMES
from aerocam.export.nodes.builder import make_input, tensor_table
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, random_feeds
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

KINKS = 0.1
"""A difference above this is worth a word to the user."""

STEPS = (1e-2, 3e-2, 1e-1, 3e-3, 1e-3)
"""Step sizes tried for a central difference, relative to the activations' root mean square."""

ENOUGH = KINKS / 5
"""A difference below which no other step is tried: that of a wrong gradient is 1 and more."""

RANDOM_DIRECTIONS = 2

ULPS = 4
"""What a score may be off by rounding, in units of its last place: no difference below that means anything."""

MOVED = "aerocam_check_moved"
"""Input of a `probe`: the numbers of the layer."""


def gradient_error(
    run: Callable[[NDArray], float],
    gradient: NDArray,
    activations: NDArray,
    seed: int = 0,
    *,
    score: float | None = None,
    random: int = RANDOM_DIRECTIONS,
) -> float:
    """Return how far a gradient is from central differences: along itself, and along random directions.

    Args:
        run: Maps an offset on the layer to the score.
        gradient: That of the score at the layer.
        activations: The layer's values, which set the scale of the steps.
        seed: Seed of the random directions.
        score: The score where the layer is not moved; None: `run` computes it.
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
    """Return whether the longest step along a gradient changes the score by less than float32 can tell.

    Nothing is checked then, as in networks that were never trained, whose signal dies away. A gradient of zeros is not
    faint.
    """
    g = gradient.astype(np.float64)
    largest = float(np.abs(g).max())
    change = max(STEPS) * _scale(activations) * float(np.vdot(g, g)) / largest if largest else 0.0
    return 0 < change < _resolution(score)


def _resolution(score: float) -> float:
    return ULPS * float(np.spacing(np.float32(abs(score))))


def _scale(activations: NDArray) -> float:
    """Return the root mean square of the activations; 1 where all are 0."""
    return float(np.sqrt(np.mean(activations.astype(np.float64) ** 2))) or 1.0


def _error_along(
    run: Callable[[NDArray], float], gradient: NDArray, direction: NDArray, dtype: Any, least: float
) -> float:
    """Return the best relative error over `STEPS` along one direction; the first good one ends the search."""
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


def held_names(model: ir.Model, layers: Sequence[str]) -> list[str]:
    """Return the names of the first tensors on every way from a layer to the score that have no gradient by their type.

    Indices of a MaxPool or TopK, classes of an ArgMax, conditions of a Where: they jump where the layer is moved across
    a tie, and after a ReLU whole windows are ties of zeros. The score jumps with them and finite differences say
    nothing; between the jumps it has the gradient that it has with them held. A segmenter's mask is held too.
    Floats are not held, whatever the rule of their operator: one that is wrongly without a gradient has to show.

    Args:
        model: A rewritten model.
        layers: Names of what is moved; none of it is quantised on the way to the score.
    """
    tensors = tensor_table(model)
    moved, needed, held = {tensors[name] for name in layers}, ancestors(tensors[manifest.SCORE]), []
    for node in model.graph:
        if not any(x in moved for x in values_read(node)):
            continue
        for y in node.outputs:
            if carries_gradient(y):
                moved.add(y)
            elif y in needed:
                held.append(str(y.name))
    return held


def is_quantised(model: ir.Model, layer: str) -> bool:
    """Return whether numbers are rounded between a layer and the score: finite differences of steps say nothing."""
    tensors = tensor_table(model)
    path = nodes_between(model.graph, [tensors[layer]], tensors[manifest.SCORE])
    rounded = any(node.op_type in QUANTISING for node in path)
    if rounded:
        logger.info("layer %r: its gradients go straight through quantised operators and are not checked", layer)
    return rounded


def score_of(
    sessions: SessionFolder, moved: ir.Model, arrays: Mapping[str, NDArray], activations: NDArray
) -> Callable[[NDArray], NDArray]:
    """Return a function of an offset on a layer's activations that gives the scores, (targets,)."""
    session = sessions.open(LightModel.of(moved))
    still = {value.name: arrays[value.name] for value in session.get_inputs() if value.name != MOVED}
    return lambda offset: session.run([manifest.SCORE], {**still, MOVED: activations + offset})[0]


def probe(model: ir.Model, layer_name: str, held: Sequence[str] = ()) -> ir.Model:
    """Cut a model down to what computes the score from a layer, whose numbers become the input `MOVED`.

    Args:
        model: A rewritten model; it is changed.
        layer_name: Name of the layer.
        held: Names of tensors that become inputs.
    """
    graph = model.graph
    tensors = tensor_table(model)
    layer = tensors[layer_name]
    moved = ir.Value(name=MOVED, type=layer.type, shape=layer.shape)
    graph.inputs.append(moved)
    graph.outputs[:] = [value for value in graph.outputs if value.name == manifest.SCORE]
    layer.replace_all_uses_with(moved)
    for name in held:
        make_input(graph, tensors[name])
    passes.RemoveUnusedNodesPass()(model)
    return model


def worst_error(
    run: Callable[[NDArray], NDArray],
    layer: str,
    gradients: NDArray,
    activations: NDArray,
    scores: NDArray,
    seed: int,
    random: int,
) -> float:
    """Return how far the gradients of the first and the last target are, at worst, from finite differences."""
    stack = gradients.reshape(-1, *activations.shape)
    errors = []
    for target in sorted({0, len(stack) - 1}):

        def score_at(offset: NDArray, target: int = target) -> float:
            return float(run(offset)[target])

        score = float(scores[target])
        errors.append(gradient_error(score_at, stack[target], activations, seed, score=score, random=random))
        if is_faint(score, stack[target], activations):
            logger.warning("layer %r: its gradients are too faint to be seen in a float32 score, or checked", layer)
    return max(errors)


def check_finite(
    model: ir.Model, rules: Mapping[str, manifest.Rule], providers: Sequence[Provider] | None = None
) -> None:
    """Check that what other rules give, which is no derivative to compare with differences, is finite on a picture.

    Args:
        model: A rewritten model.
        rules: Outputs, and the rule of each, none of them `gradient`.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        CheckError: One of these outputs is not finite.
    """
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    feeds = random_feeds(model, np.random.default_rng(0))
    feeds[manifest.TARGET] = np.full(static_shape(target), -1, np.int32)
    with SessionFolder(providers) as sessions:
        arrays = sessions.open(LightModel.of(model)).run(list(rules), feeds)
    for (name, rule), array in zip(rules.items(), arrays, strict=True):
        if not np.isfinite(array).all():
            raise CheckError(
                f"{name}: the {NAMES[rule]} are not finite on {sessions.provider}; try another provider,"
                " please report the model"
            )
        logger.info("%s: %s are no derivative; finite, and not compared with differences", name, NAMES[rule])
