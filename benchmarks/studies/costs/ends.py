"""What fused ends cost: frame to overlay by a graph that does it all, against the runtime's steps around a fused head.

python -m aerocam.benchmarks.studies.costs.ends            EfficientNet-Lite0, frames of three sizes, one thread
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency import timing
from aerocam.benchmarks.latency.timing import Protocol, Samples, Stages, alternate, machine, percentiles, ratio, timed
from aerocam.export import export_model
from aerocam.export.ends.frame_in import frame_in
from aerocam.export.nodes.builder import Builder
from aerocam.manifest import FRAME, Preprocess
from aerocam.runtime import Explainer
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.frames.preprocess import Preprocessor

STEPS, FRAME_IN, BOTH = "steps", "frame in", "both ends"
SIZES = ((224, 224), (480, 640), (720, 1280))
"""Frames, (H, W) in px."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads inside an operator, and OpenCV's (default: 1)")
    parser.add_argument("--iterations", type=int, default=30, metavar="N", help="timed rounds (default: 30)")
    args = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in machine().items()), f", threads {args.threads}", sep="")
    print(f"{'frame':>10} {'form':<9} {'prepare':>8} {'model':>8} {'overlay':>8} {'all, ms':>8}  ratio (quartiles)")
    for size in SIZES:
        for line in lines(size, measure(size, args.threads, Protocol(args.iterations))):
            print(line)


def measure(size: tuple[int, int], threads: int, protocol: Protocol) -> dict[str, Samples]:
    """Time the steps, the graph with the frame in, and the graph with both ends.

    The tensor is 224x224; a frame of that size goes in as it is, others are stretched by a linear resize.

    Args:
        size: (H, W) of the frame, px.
        threads: Of ONNX Runtime and of OpenCV.
        protocol: How to measure.
    """
    rule, frame = _setting(size, threads)
    forms: dict[str, dict[str, Any]] = {STEPS: {}, FRAME_IN: {"frame": size}, BOTH: {"frame": size, "overlay": True}}
    candidates: dict[str, Callable[[bool], Stages]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in forms.items():
            path = Path(folder) / f"{name}.onnx"
            export_model(zoo.lite0.model(), path, head="gradcam", preprocess=rule, check=False, **options)
            explainer = Explainer(path, threads=threads)
            candidates[name] = partial(_once, explainer, frame)
        return alternate(candidates, protocol)


def _setting(size: tuple[int, int], threads: int) -> tuple[Preprocess, NDArray[np.uint8]]:
    """Let OpenCV have so many threads, and return the preprocessing and the frame that all is measured with."""
    cv2.setNumThreads(threads)
    rule = replace(zoo.lite0.PREPROCESS, resize="stretch", interpolation="linear")
    return rule, cv2.resize(zoo.photograph("coffee"), size[::-1])


def measure_preprocessing(size: tuple[int, int], threads: int, protocol: Protocol) -> dict[str, Samples]:
    """Time preprocessing alone: in a graph, by the runtime's OpenCV, and by NumPy.

    Args:
        size: As for `measure`, as for the others.
        threads: See there.
        protocol: See there.
    """
    rule, frame = _setting(size, threads)
    x = ir.Value(name=rule.input, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(rule.shape))
    model = ir.Model(ir.Graph([x], [], nodes=[], opset_imports={"": 17}, name="preprocessing"), ir_version=8)
    Builder(model.graph, "out").output(x, "tensor")
    frame_in(model, replace(rule, frame=size))
    session = timing.open_plain(ir.to_proto(model).SerializeToString(), threads)
    opencv = Preprocessor(rule)
    calls: dict[str, Callable[[], object]] = {
        "graph": lambda: session.run(None, {FRAME: frame}),
        "OpenCV": lambda: opencv(frame),
        "NumPy": lambda: _by_numpy(frame, rule),
    }
    return alternate({name: timed(call) for name, call in calls.items()}, protocol)


def _by_numpy(frame: NDArray[np.uint8], rule: Preprocess) -> NDArray[np.float32]:
    """Preprocess a frame as one writes it in NumPy: stretched linearly to the tensor, normalised, channels first."""
    picture = frame[..., ::-1]
    if frame.shape[:2] != rule.size:
        for axis, (have, want) in enumerate(zip(frame.shape[:2], rule.size, strict=True)):
            place = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
            low = np.minimum(place.astype(int), have - 2)
            part = (place - low).astype(np.float32).reshape(-1, *(1,) * (2 - axis))
            first, second = (np.take(picture, low + i, axis).astype(np.float32) for i in (0, 1))
            picture = first + (second - first) * part
        picture = np.rint(picture)
    tensor = (picture.astype(np.float32) - np.array(rule.mean, np.float32)) / np.array(rule.std, np.float32)
    return np.ascontiguousarray(tensor.transpose(2, 0, 1)[None])


def _once(explainer: Explainer, frame: NDArray[np.uint8], timed: bool) -> Stages:
    """Explain a frame and draw its overlay, timed or not; the milliseconds of each stage."""
    explanation = explainer(frame)
    started = perf_counter()
    explanation.overlay(caption=False)
    return {**explanation.timings, "overlay": 1e3 * (perf_counter() - started)}


def lines(size: tuple[int, int], samples: Mapping[str, Samples]) -> list[str]:
    """Return the table's lines, one per form: medians, and the ratio of the whole to that of the steps."""
    base = samples[STEPS].total()
    rows = []
    for name, one in samples.items():
        stages = {stage: percentiles(values)["p50"] for stage, values in one.stages().items()}
        parts = stages["preprocess"], stages["infer"], stages["overlay"], percentiles(one.total())["p50"]
        figures = ratio(one.total(), base)
        rows.append(
            f"{f'{size[0]}x{size[1]}':>10} {name:<9} {' '.join(f'{part:8.2f}' for part in parts)}"
            f"  {figures['median']:.3f} ({figures['q1']:.3f} to {figures['q3']:.3f})"
        )
    return rows


if __name__ == "__main__":
    main()
