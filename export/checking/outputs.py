"""The check of a model's own outputs: unchanged by the rewriting, little moved by float16; and of the file's form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.errors import CheckError, ModelError
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, random_feeds
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

LARGEST = float(np.finfo(np.float16).max)

PEAKS = "aerocam_check_peaks"
"""Output with the largest magnitude of every float16 tensor."""


def require_valid(light: LightModel) -> None:
    """Raise unless onnx accepts the model.

    Raises:
        ModelError: The model is not valid ONNX.
    """
    try:
        onnx.checker.check_model(light.with_inputs())  # of a reference the checker would want to see the file
    except onnx.checker.ValidationError as error:
        raise ModelError(f"the rewritten model is not valid ONNX ({error}); please report the model") from error


def with_outputs(model: ir.Model, names: Set[str]) -> LightModel:
    """Return a copy in which these tensors, as far as nodes compute them, are outputs."""
    light = LightModel.of(model)
    computed = (y for node in model.graph for y in node.outputs)
    more = [y for y in computed if y.name in names and not y.is_graph_output()]
    light.proto.graph.output.extend(ir.to_proto(y) for y in more)
    return light


def largest_difference(before: Sequence[NDArray], after: Sequence[NDArray]) -> float:
    """Return the largest difference of any output, relative to the output's largest entry (inf if not finite)."""
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if not np.issubdtype(a.dtype, np.floating):
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
        elif not (np.isfinite(a).all() and np.isfinite(b).all()):
            worst = max(worst, 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf"))
        elif a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def without_optimization(
    sessions: SessionFolder,
    original: LightModel,
    explained: LightModel,
    feeds: Mapping[str, NDArray],
    optimized: float,
) -> float:
    """Return 0 where the outputs are equal to the bit without ONNX Runtime's own fusions, else `optimized`.

    One more output can keep two operators of a graph from being fused, and so from rounding as the fused one does.
    """
    names = [value.name for value in original.proto.graph.output]
    session = sessions.open(original, optimize=False)
    before = session.run(names, {value.name: feeds[value.name] for value in session.get_inputs()})
    del session
    after = sessions.open(explained, optimize=False).run(names, dict(feeds))
    if largest_difference(before, after) != 0.0:
        return optimized
    logger.info("outputs differ by %.2g where ONNX Runtime fuses operators, and by nothing where not", optimized)
    return 0.0


@onnxruntime_errors()
def outputs_apart(
    original: LightModel, converted: ir.Model, providers: Sequence[Provider] | None = None, seed: int = 0
) -> float:
    """Measure how far the outputs of a converted model are from the original's on a random picture.

    Args:
        original: The model as it was, with static inputs.
        converted: The same in float16; it is changed.
        providers: Execution providers to run on; None: the CPU.
        seed: Seed of the picture.

    Returns:
        The largest difference, relative to the largest entry of its output.

    Raises:
        CheckError: Numbers do not fit into float16 on their way, or outputs are not finite any more.
    """
    names = [value.name for value in original.proto.graph.output]
    feeds = random_feeds(converted, np.random.default_rng(seed))
    measured = _measure_peaks(converted)
    with SessionFolder(providers) as sessions:
        before = sessions.open(original).run(names, feeds)
        *after, peaks = sessions.open(LightModel.of(converted)).run([*names, PEAKS], feeds)
    for value, peak in zip(measured, peaks, strict=True):
        if not peak <= LARGEST:
            raise CheckError(
                f"`precision='float16'`: {value.name!r} has numbers up to {peak:.2g} on {sessions.provider}, those of"
                f" float16 end at {LARGEST:.0f}; export the model as it is, without `precision`"
            )
    difference = largest_difference(before, after)
    if not np.isfinite(difference):
        raise CheckError(
            f"`precision='float16'`: outputs are not finite, or whole numbers that differ, on {sessions.provider};"
            " export the model as it is, without `precision`"
        )
    return difference


def _measure_peaks(model: ir.Model) -> list[ir.Value]:
    """Append the output `PEAKS`, and return the tensors whose peaks it has.

    ONNX Runtime's CPU provider computes in float32 and rounds what is read by others only: without these, outputs alone
    would not show what float16 cannot hold.
    """
    half = [y for node in model.graph for y in node.outputs if y.dtype == ir.DataType.FLOAT16]
    measured = [y for y in half if y.shape is not None and y.shape.is_static() and np.prod(static_shape(y)) > 0]
    op = Builder(model.graph, "peaks")
    peaks = []
    for value in measured:
        rank = len(static_shape(value))
        size = op.Abs(op.Cast(value, to=ir.DataType.FLOAT))
        peaks.append(op.reshape(op.reduce("ReduceMax", size, range(rank)) if rank else size, 1))
    op.output(op.Concat(*peaks, axis=0), PEAKS)
    return measured
