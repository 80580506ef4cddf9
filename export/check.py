"""The self-check of an export, on ONNX Runtime: original outputs, and gradients against finite differences."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.errors import CheckError, ModelError, UsageError, did_you_mean, missing
from aerocam.export.autodiff import QUANTISING, nodes_between
from aerocam.export.differences import KINKS, gradient_error, is_faint
from aerocam.export.held import held_values
from aerocam.export.shapes import static_shape

logger = logging.getLogger("aerocam.export")

OUTPUT_TOLERANCE = 1e-6
"""Largest difference of an original output, relative to its largest entry."""

HALF_TOLERANCE = 4e-3
"""The same where the model computes in float16: ONNX Runtime rounds at other places once a tensor becomes an output."""

GRADIENT_TOLERANCE = 0.5
"""Largest difference between gradient and finite difference along a direction, relative to the gradient's size there.

Differences in float32 stumble over the kinks of ReLU and max-pooling: far from the score a right gradient may be off by
0.1 to 0.4. A wrong sign is off by 2, a lost or misplaced gradient by 1. What each rule is worth in float64 is tested.
"""

DELTA = "aerocam_check_delta_{}"


@dataclass(frozen=True)
class CheckReport:
    """What the self-check measured.

    Attributes:
        outputs: Largest relative difference of an original output.
        gradients: Per layer, the largest relative difference to a central finite difference.
        provider: Execution provider it ran on.
        tolerance: Largest `outputs` that is good.
    """

    outputs: float
    gradients: dict[str, float]
    provider: str
    tolerance: float = OUTPUT_TOLERANCE

    def require(self) -> CheckReport:
        """This report, if it is good.

        Raises:
            CheckError: An output or a gradient is off by more than its tolerance, or not finite.
        """
        if not self.outputs <= self.tolerance:
            raise CheckError(
                f"the exported model's outputs differ from the original's by {self.outputs:.2g} on {self.provider},"
                f" at most {self.tolerance:.0e} is expected; please report the model"
            )
        for name, difference in self.gradients.items():
            if not difference <= GRADIENT_TOLERANCE:
                raise CheckError(
                    f"layer {name!r}: its gradients differ from finite differences by {difference:.2g} on"
                    f" {self.provider}, at most {GRADIENT_TOLERANCE} is expected; try another layer or provider,"
                    " please report the model"
                )
            if difference > KINKS:
                logger.warning(
                    "layer %r: gradients and finite differences differ by %.2g; kinks of ReLU and max-pooling do that"
                    " far from the score",
                    name,
                    difference,
                )
        return self


def open_model(proto: onnx.ModelProto, providers: Sequence[str] | None = None, optimize: bool = True) -> Any:
    """An ONNX Runtime session on a model.

    Raises:
        UsageError: A provider that this ONNX Runtime does not have.
        ModelError: ONNX Runtime cannot load the model, or does not start a provider.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("onnxruntime", "export", "to check an exported model") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted, available = list(providers or ["CPUExecutionProvider"]), onnxruntime.get_available_providers()
    for name in wanted:
        if name not in available:
            raise UsageError(f"--providers {name}: not in this ONNX Runtime. {did_you_mean(name, available)}")
    with _onnxruntime_errors():
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=wanted)
    if dropped := [name for name in wanted if name not in session.get_providers()]:
        raise ModelError(f"ONNX Runtime did not start {', '.join(dropped)}; see its log lines above")
    return session


@contextmanager
def _onnxruntime_errors() -> Iterator[None]:
    """ONNX Runtime's exceptions, which have no common base of their own, as a ModelError."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelError(
            f"ONNX Runtime cannot run the model ({error}); mend the model, or export it unchecked with --no-check"
        ) from error


@_onnxruntime_errors()
def check_model(
    original: onnx.ModelProto,
    model: ir.Model,
    pairs: Mapping[str, tuple[str, str]],
    providers: Sequence[str] | None = None,
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
    held = _held(model, [name for name in pairs if not _is_quantised(model, name)])
    proto = ir.to_proto(_with_outputs(model, {*held, *(name for pair in pairs.values() for name in pair)}))
    plain, explained = open_model(original, providers), open_model(proto, providers)
    feeds = random_feeds(model, np.random.default_rng(seed))
    target = next(value for value in model.graph.inputs if value.name == manifest.TARGET)
    own_choice = np.full(static_shape(target), -1, np.int32)
    outputs = compare_outputs(plain, explained, feeds, own_choice)
    if not outputs <= OUTPUT_TOLERANCE:
        outputs = _without_optimization(original, proto, providers, feeds, own_choice, outputs)
    pairs = {name: pair for name, pair in pairs.items() if not _is_quantised(model, name)}
    feeds[manifest.TARGET] = explained.run([manifest.CHOSEN], {**feeds, manifest.TARGET: own_choice})[0]
    moved = open_model(probe(ir.from_proto(proto), list(pairs), held), providers)
    arrays = {
        layer: [feeds[name] if name in feeds else explained.run([name], feeds)[0] for name in names]
        for layer, names in pairs.items()
    }
    feeds |= dict(zip(held, explained.run(held, feeds) if held else [], strict=True))
    zeros = {DELTA.format(i): np.zeros_like(a) for i, (a, _) in enumerate(arrays.values())}
    gradients = {}
    for i, (layer, (a, g)) in enumerate(arrays.items()):

        def run(offset: NDArray, delta: str = DELTA.format(i)) -> float:
            return float(moved.run([manifest.SCORE], {**feeds, **zeros, delta: offset})[0][0])

        gradients[layer] = gradient_error(run, g, a, seed)
        if is_faint(run(np.zeros_like(a)), g, a):
            logger.warning("layer %r: its gradients are too faint to be seen in a float32 score, or checked", layer)
    tolerance = HALF_TOLERANCE if computes_in_half(model) else OUTPUT_TOLERANCE
    return CheckReport(outputs, gradients, explained.get_providers()[0], tolerance)


def computes_in_half(model: ir.Model) -> bool:
    """Whether a node computes in float16 or bfloat16; storing weights so does not count."""
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return any(node.op_type != "Cast" and value.dtype in half for node in model.graph for value in node.outputs)


def _without_optimization(
    original: onnx.ModelProto,
    proto: onnx.ModelProto,
    providers: Sequence[str] | None,
    feeds: Mapping[str, NDArray],
    target: NDArray,
    optimized: float,
) -> float:
    """0 where the outputs are the same to the bit without ONNX Runtime's own fusions, else the difference with them.

    An output more in a graph can keep two operators from being fused, which rounds in another way.
    """
    plain, explained = (open_model(item, providers, optimize=False) for item in (original, proto))
    if compare_outputs(plain, explained, feeds, target) != 0.0:
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


def _with_outputs(model: ir.Model, names: Set[str]) -> ir.Model:
    """A copy in which these tensors, as far as nodes compute them, are outputs."""
    copy = ir.from_proto(ir.to_proto(model))
    for node in copy.graph:
        copy.graph.outputs.extend(y for y in node.outputs if y.name in names and not y.is_graph_output())
    return copy


def compare_outputs(plain: Any, explained: Any, feeds: Mapping[str, NDArray], target: NDArray) -> float:
    """Largest difference of any original output, relative to that output's largest entry (inf if not finite)."""
    names = [item.name for item in plain.get_outputs()]
    before = plain.run(names, dict(feeds))
    after = explained.run(names, {**feeds, manifest.TARGET: target})
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if not np.issubdtype(a.dtype, np.floating):
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
        elif not (np.isfinite(a).all() and np.isfinite(b).all()):
            worst = max(worst, 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf"))
        elif a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def probe(model: ir.Model, layers: Sequence[str], held: Sequence[str] = ()) -> onnx.ModelProto:
    """The model's score alone, with an offset added to each layer as a new input: what finite differences need.

    Args:
        model: A rewritten model; it is changed.
        layers: Names of the layers.
        held: Names of tensors that become inputs.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.outputs}
    tensors = _tensors(model)
    for i, name in enumerate(layers):
        layer = tensors[name]
        delta = ir.Value(name=DELTA.format(i), type=layer.type, shape=layer.shape)
        graph.inputs.append(delta)
        consumers = list(layer.uses())
        node = ir.Node("", "Add", [layer, delta], num_outputs=1, name=f"aerocam_check_{i}")
        node.outputs[0].name = f"aerocam_check_moved_{i}"
        producer = layer.producer()
        if producer is not None:
            graph.insert_after(producer, node)
        else:
            graph.insert_before(graph[0], node)
        for user, place in consumers:
            user.replace_input_with(place, node.outputs[0])
    for computed in (tensors[name] for name in held):
        given = ir.Value(name=computed.name, type=computed.type, shape=computed.shape)
        computed.name = f"{computed.name}_computed"
        graph.inputs.append(given)
        for user, place in list(computed.uses()):
            user.replace_input_with(place, given)
    graph.outputs[:] = [outputs[manifest.SCORE]]
    passes.RemoveUnusedNodesPass()(model)
    return ir.to_proto(model)


def random_feeds(model: ir.Model, rng: np.random.Generator) -> dict[str, NDArray]:
    """Standard-normal values for every float input but the target."""
    return {
        str(value.name): rng.standard_normal(static_shape(value)).astype(value.dtype.numpy())  # type: ignore[union-attr]
        for value in model.graph.inputs
        if value.name != manifest.TARGET
    }
