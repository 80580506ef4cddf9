"""The self-check of an export, on ONNX Runtime: original outputs, and gradients against finite differences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import CheckError, ModelError
from aerocam.export.checking.differences import RANDOM_DIRECTIONS, gradient_error, held_values, is_faint
from aerocam.export.checking.report import OUTPUT_TOLERANCE, CheckReport
from aerocam.export.gradients.autodiff import QUANTISING, nodes_between
from aerocam.export.gradients.rule_tables import NAMES
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.precision import computed_in_half
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, own_choice, random_feeds
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

HALF_TOLERANCE = 4e-3
"""The same where the model computes in float16: ONNX Runtime rounds at other places once a tensor becomes an output."""

MOVED = "aerocam_check_moved"
"""Input of a `probe`: the numbers of the layer."""


@onnxruntime_errors()
def check_model(
    original: LightModel,
    model: ir.Model,
    pairs: Mapping[str, tuple[str, str]],
    providers: Sequence[Provider] | None = None,
    seed: int = 0,
) -> CheckReport:
    """Compare a rewritten model with the original and its gradients with finite differences, on a random picture.

    Args:
        original: The model as it was, with static inputs.
        model: The rewritten one.
        pairs: Per target layer, its own name and that of the tensor with its gradients.
        providers: Execution providers to run on; None: the CPU.
        seed: Of the picture and of the directions.
    """
    pairs = {name: pair for name, pair in pairs.items() if not _is_quantised(model, name)}
    scale = np.float32(_seed_scale(model))
    held = _held(model, list(pairs))
    needed = {manifest.SCORE, *held, *(name for pair in pairs.values() for name in pair)}
    explained = with_outputs(model, needed)
    feeds = random_feeds(model, np.random.default_rng(seed))
    own = own_choice(model)
    names = [item.name for item in original.proto.graph.output]
    with SessionFolder(providers) as sessions:
        session = sessions.open(original)
        before = session.run(names, {item.name: feeds[item.name] for item in session.get_inputs()})
        del session
        session = sessions.open(explained)
        *after, chosen = session.run([*names, manifest.CHOSEN], {**feeds, manifest.TARGET: own})
        feeds[manifest.TARGET] = chosen
        wanted = [item.name for item in explained.proto.graph.output if item.name in needed]
        found = feeds | dict(zip(wanted, session.run(wanted, feeds) if wanted else [], strict=True))
        del session
        outputs = largest_difference(before, after)
        if not outputs <= OUTPUT_TOLERANCE:
            outputs = _without_optimization(sessions, original, explained, {**feeds, manifest.TARGET: own}, outputs)
        gradients = {}
        for layer, (activations, gradient) in pairs.items():
            run = _score_of(sessions, probe(explained.whole(), layer, held), found, found[activations])
            random = RANDOM_DIRECTIONS if len(pairs) == 1 else 1
            true = found[gradient] if scale == 1 else found[gradient].astype(np.float32) / scale
            arrays = true, found[activations], found[manifest.SCORE]
            gradients[layer] = _worst_error(run, layer, *arrays, seed, random)
    tolerance = HALF_TOLERANCE if computed_in_half(model) else OUTPUT_TOLERANCE
    return CheckReport(outputs, gradients, sessions.provider, tolerance)


def _seed_scale(model: ir.Model) -> float:
    return manifest.Manifest.from_json(model.metadata_props[manifest.KEY], "the model").seed_scale


def _score_of(
    sessions: SessionFolder, moved: ir.Model, found: Mapping[str, NDArray], activations: NDArray
) -> Callable[[NDArray], NDArray]:
    """The scores (targets,) as a function of an offset on a layer's activations."""
    session = sessions.open(LightModel.of(moved))
    still = {item.name: found[item.name] for item in session.get_inputs() if item.name != MOVED}
    return lambda offset: session.run([manifest.SCORE], {**still, MOVED: activations + offset})[0]


def _worst_error(
    run: Callable[[NDArray], NDArray],
    layer: str,
    gradients: NDArray,
    activations: NDArray,
    scores: NDArray,
    seed: int,
    random: int,
) -> float:
    """How far the gradients of the first target and the last are from finite differences."""
    stack = gradients.reshape(-1, *activations.shape)
    errors = []
    for target in sorted({0, len(stack) - 1}):

        def one(offset: NDArray, target: int = target) -> float:
            return float(run(offset)[target])

        score = float(scores[target])
        errors.append(gradient_error(one, stack[target], activations, seed, score=score, random=random))
        if is_faint(score, stack[target], activations):
            logger.warning("layer %r: its gradients are too faint to be seen in a float32 score, or checked", layer)
    return max(errors)


def _without_optimization(
    sessions: SessionFolder,
    original: LightModel,
    explained: LightModel,
    feeds: Mapping[str, NDArray],
    optimized: float,
) -> float:
    """0 where the outputs are the same to the bit without ONNX Runtime's own fusions, else the difference with them.

    An output more in a graph can keep two operators from being fused, which rounds in another way.
    """
    names = [item.name for item in original.proto.graph.output]
    session = sessions.open(original, optimize=False)
    before = session.run(names, {item.name: feeds[item.name] for item in session.get_inputs()})
    del session
    after = sessions.open(explained, optimize=False).run(names, dict(feeds))
    if largest_difference(before, after) != 0.0:
        return optimized
    logger.info("outputs differ by %.2g where ONNX Runtime fuses operators, and by nothing where not", optimized)
    return 0.0


def _held(model: ir.Model, layers: Sequence[str]) -> list[str]:
    """Names of what is held while the layers are moved."""
    tensors = _tensors(model)
    values = held_values(model.graph, [tensors[name] for name in layers], tensors[manifest.SCORE])
    return [str(value.name) for value in values]


def _tensors(model: ir.Model) -> dict[str | None, ir.Value]:
    return {value.name: value for value in (*model.graph.inputs, *(y for node in model.graph for y in node.outputs))}


def _is_quantised(model: ir.Model, layer: str) -> bool:
    """Whether numbers are rounded between a layer and the score; finite differences of stairs say nothing."""
    tensors = _tensors(model)
    path = nodes_between(model.graph, [tensors[layer]], tensors[manifest.SCORE])
    rounded = any(node.op_type in QUANTISING for node in path)
    if rounded:
        logger.info("layer %r: its gradients go straight through quantised operators and are not checked", layer)
    return rounded


def require_valid(light: LightModel) -> None:
    """Have onnx check the model.

    Raises:
        ModelError: It is not valid.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(light.proto)
    given = [tensor for tensor in proto.graph.initializer if tensor.name in light.weights]
    for tensor in given:  # as inputs: of a reference the checker would want to see the file
        proto.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        proto.graph.initializer.remove(tensor)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the rewritten model is not valid ONNX ({error}); please report the model") from error


def with_outputs(model: ir.Model, names: Set[str]) -> LightModel:
    """A copy in which these tensors, as far as nodes compute them, are outputs."""
    light = LightModel.of(model)
    computed = (y for node in model.graph for y in node.outputs)
    more = [y for y in computed if y.name in names and not y.is_graph_output()]
    light.proto.graph.output.extend(ir.to_proto(y) for y in more)
    return light


def largest_difference(before: Sequence[NDArray], after: Sequence[NDArray]) -> float:
    """Largest difference of any original output, relative to that output's largest entry (inf if not finite)."""
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if not np.issubdtype(a.dtype, np.floating):
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
        elif not (np.isfinite(a).all() and np.isfinite(b).all()):
            worst = max(worst, 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf"))
        elif a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def probe(model: ir.Model, name: str, held: Sequence[str] = ()) -> ir.Model:
    """What computes the score from a layer, whose numbers are a new input: what finite differences need.

    Args:
        model: A rewritten model; it is changed.
        name: The layer's.
        held: Names of tensors that become inputs.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.outputs}
    tensors = _tensors(model)
    layer = tensors[name]
    moved = ir.Value(name=MOVED, type=layer.type, shape=layer.shape)
    graph.inputs.append(moved)
    for user, place in list(layer.uses()):
        user.replace_input_with(place, moved)
    for computed in (tensors[name] for name in held):
        given = ir.Value(name=computed.name, type=computed.type, shape=computed.shape)
        computed.name = f"{computed.name}_computed"
        graph.inputs.append(given)
        for user, place in list(computed.uses()):
            user.replace_input_with(place, given)
    graph.outputs[:] = [outputs[manifest.SCORE]]
    passes.RemoveUnusedNodesPass()(model)
    return model


def check_finite(
    model: ir.Model, rules: Mapping[str, manifest.Rule], providers: Sequence[Provider] | None = None
) -> None:
    """Make sure that what is no gradient is finite, on a random picture; differences of the score say nothing of it.

    Args:
        model: A rewritten model.
        rules: Outputs, and the rule of each, none of them `gradient`.
        providers: Execution providers to run on; None: the CPU.

    Raises:
        CheckError: One of them is not finite.
    """
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    feeds = random_feeds(model, np.random.default_rng(0))
    feeds[manifest.TARGET] = np.full(static_shape(target), -1, np.int32)
    with SessionFolder(providers) as sessions:
        found = sessions.open(LightModel.of(model)).run(list(rules), feeds)
    for (name, rule), array in zip(rules.items(), found, strict=True):
        if not np.isfinite(array).all():
            raise CheckError(
                f"{name}: the {NAMES[rule]} are not finite on {sessions.provider}; try another provider,"
                " please report the model"
            )
        logger.info("%s: %s are no derivative; finite, and not compared with differences", name, NAMES[rule])
