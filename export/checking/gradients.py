"""Gradients against finite differences on ONNX Runtime, in float32: what the score does when a layer moves.

Values that a layer chooses but that have no gradient are held while it moves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import CheckError
from aerocam.export.gradients.autodiff import QUANTISING, ancestors, carries_gradient, nodes_between, values_read
from aerocam.export.gradients.rule_tables import NAMES
from aerocam.export.nodes.builder import NARROW, Builder, make_input, tensor_table
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.precision import in_float32
from aerocam.export.reading.light import LightModel
from aerocam.export.scores.embed import LENGTH
from aerocam.export.sessions import SessionFolder, random_feeds
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

KINKS = 0.1
"""A difference above this is worth a word to the user."""

STEPS = (1e-2, 3e-2, 1e-1, 3e-3, 1e-3, 1e-4)
"""Step sizes tried for a central difference, relative to the activations' root mean square."""

ENOUGH = KINKS / 5
"""A difference below which no other step is tried: that of a wrong gradient is 1 and more."""

RANDOM_DIRECTIONS = 2

ULPS = 4
"""What a score may be off by rounding, in units of its last place: no difference below that means anything."""

ROUNDINGS = 4
"""Moves in the last place that say how much a score is rounded on its way."""

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
    least: float = 0.0,
) -> float:
    """Return how far a gradient is from central differences: along itself, and along random directions.

    Args:
        run: Maps an offset on the layer to the score.
        gradient: That of the score at the layer.
        activations: The layer's values, which set the scale of the steps.
        seed: Seed of the random directions.
        score: The score where the layer is not moved; None: `run` computes it.
        random: How many random directions.
        least: A difference of scores that means nothing, where that is more than float32 rounds.

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
    scale, least = _scale(activations), max(_resolution(score), least)
    return max(_error_along(run, g, direction * scale, activations.dtype, least) for direction in directions)


def is_faint(score: float, gradient: NDArray, activations: NDArray, least: float = 0.0) -> bool:
    """Return whether the longest step along a gradient changes the score by less than float32 can tell, or `least`.

    Nothing is checked then, as in networks that were never trained, whose signal dies away. A gradient of zeros is not
    faint.
    """
    g = gradient.astype(np.float64)
    largest = float(np.abs(g).max())
    change = max(STEPS) * _scale(activations) * float(np.vdot(g, g)) / largest if largest else 0.0
    return 0 < change < max(_resolution(score), least)


def _rounding(run: Callable[[NDArray], float], activations: NDArray, score: float, epsilon: float, seed: int) -> float:
    """Return what the score may be off by rounding: its own, and what the activations' last place does to it."""
    rng = np.random.default_rng(seed)
    offsets = (epsilon * activations * rng.choice([-1, 1], activations.shape) for _ in range(ROUNDINGS))
    moved = max(abs(run(offset.astype(activations.dtype)) - score) for offset in offsets)
    return max(ULPS * moved, epsilon * abs(score))


def _resolution(score: float) -> float:
    return ULPS * float(np.spacing(np.float32(abs(score))))


def _scale(activations: NDArray) -> float:
    """Return the root mean square of the activations; 1 where all are 0."""
    return float(np.sqrt(np.mean(activations.astype(np.float64) ** 2))) or 1.0


def _error_along(
    run: Callable[[NDArray], float], gradient: NDArray, direction: NDArray, dtype: Any, least: float
) -> float:
    """Return the best relative error over `STEPS` along one direction; the first good one ends the search.

    Steps after which nothing can be told from rounding, by gradient or difference, count only if no other is left: 0.
    """
    usual = float(np.linalg.norm(gradient)) * float(np.sqrt(np.mean(direction**2)))
    best, told = float("inf"), False
    for step in STEPS:
        offset = (direction * step).astype(dtype)
        slope = float(np.vdot(gradient, offset.astype(np.float64)))
        difference = (float(run(offset)) - float(run(-offset))) / 2
        if max(abs(slope), abs(difference)) < least:
            continue
        told = True
        size = max(min(abs(slope), abs(difference)), usual * step, least)
        best = min(best, abs(difference - slope) / size)
        if best < ENOUGH:
            break
    return best if told else 0.0


def held_names(model: ir.Model, layers: Sequence[str]) -> list[str]:
    """Return the names of the first tensors on every way from a layer to the score that have no gradient by their type.

    Indices of a MaxPool or TopK, classes of an ArgMax, conditions of a Where: they jump where the layer is moved across
    a tie, and after a ReLU whole windows are ties of zeros. The score jumps with them and finite differences say
    nothing; between the jumps it has the gradient that it has with them held. A segmenter's mask is held too.
    Floats are not held, whatever the rule of their operator: one that is wrongly without a gradient has to show. Of a
    TopK, the indices are held also where its values alone are read. The length of an embedding is held, as its score
    says.

    Args:
        model: A rewritten model.
        layers: Names of what is moved; none of it is quantised on the way to the score.
    """
    tensors = tensor_table(model)
    moved, needed, held = {tensors[name] for name in layers}, ancestors(tensors[manifest.SCORE]), []
    if LENGTH in tensors:
        held.append(LENGTH)
    for node in model.graph:
        if not any(x in moved for x in values_read(node)):
            continue
        for y in node.outputs:
            if carries_gradient(y):
                moved.add(y)
            elif y in needed or (node.op_type == "TopK" and node.outputs[0] in needed):
                held.append(str(y.name))
    return held


def is_quantised(model: ir.Model, layer: str) -> bool:
    """Return whether numbers are rounded between a layer and the score: finite differences of steps say nothing."""
    tensors = tensor_table(model)
    path = nodes_between(model.graph, [tensors[layer]], tensors[manifest.SCORE])
    return any(node.op_type in QUANTISING for node in path)


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
        _hold_values(graph, tensors[name].producer())
        make_input(graph, tensors[name])
    ir.passes.Sequential(passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass())(model)
    return model


def _hold_values(graph: ir.Graph, node: ir.Node | None) -> None:
    """Let what reads the values of a TopK read what stands at its indices, which are held: no rank changes on the way.

    Between near ties, as random weights have them, the k-th largest has the slope of another entry at once.
    """
    if node is None or node.op_type != "TopK":
        return
    op, (values, indices) = Builder(graph, "held"), node.outputs
    entries = op.GatherElements(node.inputs[0], indices, axis=node.attributes.get_int("axis", -1))
    for user, place in list(values.uses()):
        user.replace_input_with(place, entries)


def worst_error(
    run: Callable[[NDArray], NDArray],
    gradients: NDArray,
    activations: NDArray,
    scores: NDArray,
    seed: int,
    random: int,
    epsilon: float,
) -> float | None:
    """Return how far the gradients of the first and the last target are, at worst, from finite differences.

    None where a gradient is too faint to be seen in the score. How much the score is rounded on its way (`epsilon` is
    the spacing of the numbers that it is computed in) is measured only where the two seem to differ.
    """
    stack = gradients.reshape(-1, *activations.shape)
    errors = []
    for target in sorted({0, len(stack) - 1}):

        def score_at(offset: NDArray, target: int = target) -> float:
            return float(run(offset)[target])

        score, gradient, least = float(scores[target]), stack[target], 0.0
        error = gradient_error(score_at, gradient, activations, seed, score=score, random=random)
        if np.isfinite(error) and error > ENOUGH:
            least = _rounding(score_at, activations, score, epsilon, seed)
            error = gradient_error(score_at, gradient, activations, seed, score=score, random=random, least=least)
        if is_faint(score, gradient, activations, least):
            return None
        errors.append(error)
    return max(errors)


@dataclass(frozen=True)
class Layer:
    """What a target layer's gradients are checked by.

    Attributes:
        name: Its name.
        activations: The name of its activations.
        gradient: That of the tensor with its gradients.
        held: Names of what does not move with it, see `held_names`.
        scale: What the gradients are multiplied by.
        random: How many random directions are tried.
    """

    name: str
    activations: str
    gradient: str
    held: Sequence[str]
    scale: float
    random: int

    def error(
        self, sessions: SessionFolder, light: LightModel, arrays: Mapping[str, NDArray], seed: int, epsilon: float
    ) -> float | None:
        """Return `worst_error` of a model with these inputs and results."""
        run = score_of(sessions, probe(light.whole(), self.name, self.held), arrays, arrays[self.activations])
        gradient = arrays[self.gradient]
        true = gradient if self.scale == 1 else gradient.astype(np.float32) / np.float32(self.scale)
        scores = arrays[manifest.SCORE]
        return worst_error(run, true, arrays[self.activations], scores, seed, self.random, epsilon)

    def error_in_float32(
        self, sessions: SessionFolder, light: LightModel, arrays: Mapping[str, NDArray], seed: int
    ) -> float:
        """Return `error` of a float16 model in float32, or how far its gradients are from those, if that is more."""
        single = in_float32(light)
        feeds = widened({item.name: arrays[item.name] for item in light.proto.graph.input})
        needed = [self.activations, self.gradient, manifest.SCORE, *self.held]
        results = feeds | dict(zip(needed, sessions.open(single).run(needed, feeds), strict=True))
        error = self.error(sessions, single, results, seed, float(np.finfo(np.float32).eps)) or 0.0
        gradient = results[self.gradient]
        apart = np.linalg.norm(arrays[self.gradient].astype(float) - gradient) / max(np.linalg.norm(gradient), 1e-30)
        return max(error, float(apart))


def widened(feeds: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return inputs with float32 in place of narrower floats."""
    narrow = {dtype.numpy() for dtype in NARROW}
    return {name: x.astype(np.float32) if x.dtype in narrow else x for name, x in feeds.items()}


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
