"""The self-check of fused ends: on a random frame, against the same steps in NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.export.checking.outputs import largest_difference, with_outputs
from aerocam.export.checking.report import EndsReport
from aerocam.export.ends import steps
from aerocam.export.ends.fusing import RAW
from aerocam.export.nodes.builder import make_input, tensor_table
from aerocam.export.reading.light import LightModel
from aerocam.export.sessions import SessionFolder, onnxruntime_errors, own_choice, random_feeds
from aerocam.geometry import Geometry
from aerocam.manifest import Manifest
from aerocam.providers import Provider


def without_frame(model: ir.Model, written: Manifest) -> ir.Model:
    """Return a copy that takes the tensor again in place of a frame, and draws no overlay."""
    plain, preprocess = model.clone(), written.preprocess
    if preprocess is None or preprocess.frame is None:
        return plain
    graph = plain.graph
    left_out = {
        preprocess.input,
        None if written.head is None else written.head.overlay,
    }  # a split one carries the tensor
    graph.outputs[:] = [value for value in graph.outputs if value.name not in left_out]
    make_input(graph, tensor_table(plain)[preprocess.input])
    passes.RemoveUnusedNodesPass()(plain)
    graph.inputs[:] = [value for value in graph.inputs if value.name != manifest.FRAME]
    return plain


@onnxruntime_errors()
def check_ends(
    model: ir.Model, written: Manifest, providers: Sequence[Provider] | None = None, seed: int = 0
) -> EndsReport:
    """Run a model with fused ends on a random frame, and the same steps one by one.

    Args:
        model: The rewritten model, in one piece.
        written: Its manifest.
        providers: Execution providers to run on; None: the CPU.
        seed: Seed of the frame.
    """
    preprocess, head = written.preprocess, written.head
    feeds = random_feeds(model, np.random.default_rng(seed)) | {manifest.TARGET: own_choice(model, written.score)}
    inner = {RAW} if preprocess is None or preprocess.frame is None else {RAW, preprocess.input}
    plain = without_frame(model, written)
    with SessionFolder(providers) as sessions:
        fused = _run(sessions, with_outputs(model, inner), feeds)
        expected = _run(sessions, LightModel.of(plain), feeds | fused)
    outputs, tensor, overlay = 0.0, (0.0, 0.0), (0.0, 0.0)
    if preprocess is not None and preprocess.frame is not None:
        outputs = largest_difference(list(expected.values()), [fused[name] for name in expected])
        made = fused[preprocess.input]
        error = np.abs(made - steps.tensor_of(feeds[manifest.FRAME], preprocess).astype(made.dtype))
        std = np.array(preprocess.std)
        tensor = _most(error * (std if preprocess.layout == "NHWC" else std[:, None, None]))
    maps = 0.0
    if head is not None and RAW in fused:
        maps = float(np.abs(fused[head.output] - _maps(fused[RAW], written)).max())
    if head is not None and head.overlay is not None:
        raw = fused[RAW] if RAW in fused else fused[head.output]
        overlay = _most(np.abs(fused[head.overlay] - _overlay(raw, feeds[manifest.FRAME], written)))
    return EndsReport(tensor, outputs, maps, overlay, sessions.provider)


def _run(sessions: SessionFolder, model: LightModel, arrays: dict[str, NDArray]) -> dict[str, NDArray]:
    """Run a model, and return all its outputs by name."""
    session = sessions.open(model)
    names = [value.name for value in session.get_outputs()]
    feeds = {value.name: arrays[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, feeds), strict=True))


def _most(error: NDArray) -> tuple[float, float]:
    return float(error.max()), float(error.mean())


def _maps(raw: NDArray, written: Manifest) -> NDArray[np.float64]:
    """Compute what a head's map should be, in the form in which it leaves the graph."""
    preprocess, head = written.preprocess, written.head
    assert head is not None
    if head.form == "layer":
        return steps.maps_of(raw.astype(np.float64), head.method)
    assert preprocess is not None
    maps = steps.maps_of(raw.astype(np.float64), head.method, preprocess.size)
    return maps if preprocess.frame is None else steps.placed(maps, Geometry.of(preprocess, preprocess.frame))


def _overlay(raw: NDArray, frame: NDArray[np.uint8], written: Manifest) -> NDArray[np.float64]:
    preprocess, head = written.preprocess, written.head
    assert preprocess is not None
    assert preprocess.frame is not None
    assert head is not None
    maps = steps.maps_of(raw.astype(np.float64), head.method, preprocess.size)
    return steps.overlaid(frame, maps, Geometry.of(preprocess, preprocess.frame))
