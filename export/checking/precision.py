"""The self-check of a conversion to float16, on ONNX Runtime: that numbers fit, and how far the outputs move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from aerocam.errors import CheckError
from aerocam.export.checking.gradients import largest_difference
from aerocam.export.nodes.builder import Builder
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, random_feeds
from aerocam.providers import Provider

LARGEST = float(np.finfo(np.float16).max)

PEAKS = "aerocam_check_peaks"
"""Output with the largest magnitude of every float16 tensor."""


@onnxruntime_errors()
def outputs_apart(
    original: LightModel, converted: ir.Model, providers: Sequence[Provider] | None = None, seed: int = 0
) -> float:
    """How far the outputs of a converted model are from the original's on a random picture.

    Args:
        original: The model as it was, with static inputs.
        converted: The same in float16; it is changed.
        providers: Execution providers to run on; None: the CPU.
        seed: Of the picture.

    Returns:
        The largest difference, relative to the largest entry of its output.

    Raises:
        CheckError: Numbers do not fit into float16 on their way, or outputs are not finite any more.
    """
    names = [item.name for item in original.proto.graph.output]
    feeds = random_feeds(converted, np.random.default_rng(seed))
    measured = _measure_peaks(converted)
    with SessionFolder(providers) as sessions:
        before = sessions.open(original).run(names, feeds)
        *after, peaks = sessions.open(LightModel.of(converted)).run([*names, PEAKS], feeds)
    for value, peak in zip(measured, peaks, strict=True):
        if not peak <= LARGEST:
            raise CheckError(
                f"--precision float16: {value.name!r} has numbers up to {peak:.2g} on {sessions.provider}, those of"
                f" float16 end at {LARGEST:.0f}; export the model as it is, without --precision"
            )
    found = largest_difference(before, after)
    if not np.isfinite(found):
        raise CheckError(
            f"--precision float16: outputs are not finite, or whole numbers that differ, on {sessions.provider};"
            " export the model as it is, without --precision"
        )
    return found


def _measure_peaks(model: ir.Model) -> list[ir.Value]:
    """Append `PEAKS`; the tensors that it is of.

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
