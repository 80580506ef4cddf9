"""The check of a model's own outputs: unchanged by the rewriting, little moved by float16; and of the file's form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.errors import CheckError, ModelError
from aerocam.export.nodes.builder import Builder, tensor_table
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, random_feeds
from aerocam.providers import Provider

logger = logging.getLogger("aerocam.export")

LARGEST = float(np.finfo(np.float16).max)

ROUNDINGS = 4
"""How many times what the input's last place does to the outputs is put down to rounding."""

PICKING = {"ArgMax": 0, "ArgMin": 0, "NonMaxSuppression": 0, "TopK": 1}
"""Operators that pick by size, and which of their outputs holds the indices."""

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


def run_batch(session: Any, names: Sequence[str], feeds: Mapping[str, NDArray]) -> list[NDArray]:
    """Run an original, and return its outputs for one picture; where it takes a fixed batch, it gets that many."""
    arrays, batch = {}, 1
    for value in session.get_inputs():
        array = feeds[value.name]
        if array.ndim and value.shape[0] != len(array):
            batch = value.shape[0]
            array = np.repeat(array, batch, axis=0)
        arrays[value.name] = array
    outputs = session.run(names, arrays)
    return [array[: len(array) // batch] if array.ndim else array for array in outputs]


def largest_difference(before: Sequence[NDArray], after: Sequence[NDArray]) -> float:
    """Return the largest difference of any output, relative to the output's largest entry (inf if not finite)."""
    worst = 0.0
    for a, b in zip(before, after, strict=True):
        if not _is_float(a):
            worst = max(worst, 0.0 if np.array_equal(a, b) else float("inf"))
        elif not (np.isfinite(a).all() and np.isfinite(b).all()):
            worst = max(worst, 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf"))
        elif a.size:
            worst = max(worst, float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30)))
    return worst


def difference_by_rounding(
    sessions: SessionFolder, original: LightModel, explained: LightModel, feeds: Mapping[str, NDArray], seed: int = 0
) -> tuple[float, float]:
    """Compare outputs once more, without what makes rounding visible.

    ONNX Runtime's own fusions are off: one more output can keep two operators from being fused, and so from rounding as
    the fused one does. What the original picks (`PICKING`) is given to both: near ties fall the other way in the last
    place, and whole rows of outputs change places with them.

    Args:
        sessions: Where models are opened.
        original: The model as it was.
        explained: The rewritten one.
        feeds: Inputs of both.
        seed: Seed of the moved inputs.

    Returns:
        The largest difference, relative to the output's largest entry, and what of it rounding may do: `ROUNDINGS`
        times what the original's own outputs differ by where its input moves in the last place.
    """
    names = [value.name for value in original.proto.graph.output]
    shared = _picks(original) & _picks(explained)
    picks = sorted(shared - set(names))
    compared = [name for name in names if name not in shared]
    inputs = [value.name for value in original.proto.graph.input if value.name in feeds]
    own = {name: feeds[name] for name in inputs}
    session = sessions.open(with_outputs(original.whole(), set(picks)), optimize=False)
    results = run_batch(session, [*compared, *picks], own)
    del session
    before, given = results[: len(compared)], dict(zip(map(_given, picks), results[len(compared) :], strict=True))
    session = sessions.open(_with_given(explained, picks), optimize=False)
    outputs = largest_difference(before, session.run(compared, {**feeds, **given}))
    del session
    session = sessions.open(_with_given(original, picks), optimize=False)
    rng = np.random.default_rng(seed)
    moved = (session.run(compared, {name: _in_last_place(x, rng) for name, x in own.items()} | given) for _ in range(3))
    rounding = max(largest_difference(before, after) for after in moved)
    logger.info("outputs differ by %.2g where nothing is fused; by %.2g if the input moves", outputs, rounding)
    return outputs, ROUNDINGS * rounding


def _picks(light: LightModel) -> set[str]:
    """Return the names of tensors of indices that `PICKING` operators give."""
    nodes = (node for node in light.proto.graph.node if node.op_type in PICKING and not node.domain)
    return {node.output[PICKING[node.op_type]] for node in nodes if len(node.output) > PICKING[node.op_type]} - {""}


def _given(name: str) -> str:
    return f"{name}_given"


def _with_given(light: LightModel, names: Sequence[str]) -> LightModel:
    """Return a copy in which what reads these tensors of indices reads an input in their place."""
    model = light.whole()
    tensors = tensor_table(model)
    for name in names:
        given = ir.Value(name=_given(name), type=ir.TensorType(ir.DataType.INT64))
        model.graph.inputs.append(given)
        for user, place in list(tensors[name].uses()):
            user.replace_input_with(place, given)
    return LightModel.of(model)


def _in_last_place(x: NDArray, rng: np.random.Generator) -> NDArray:
    """Return floats moved up or down in their last place."""
    if not _is_float(x):
        return x
    return (x * (1 + np.finfo(x.dtype).eps * rng.choice([-1, 1], x.shape))).astype(x.dtype)


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
        before = run_batch(sessions.open(original), names, feeds)
        *after, peaks = sessions.open(LightModel.of(converted)).run([*names, PEAKS], feeds)
    for value, peak in zip(measured, peaks, strict=True):
        if not peak <= LARGEST:
            raise CheckError(
                f"`precision='float16'`: {value.name!r} has numbers up to {peak:.2g} on {sessions.provider}, those of"
                f" float16 end at {LARGEST:.0f}; export the model as it is, without `precision`"
            )
    pairs = list(zip(before, after, strict=True))
    difference = largest_difference(*zip(*(pair for pair in pairs if _is_float(pair[0])), strict=True))
    if not np.isfinite(difference):
        raise CheckError(
            f"`precision='float16'`: outputs are not finite on {sessions.provider}; export the model as it is, without"
            " `precision`"
        )
    if not all(_is_float(a) or np.array_equal(a, b) for a, b in pairs):
        logger.warning("`precision='float16'`: whole numbers among the outputs, such as classes, differ on noise")
    return difference


def _is_float(array: NDArray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


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
