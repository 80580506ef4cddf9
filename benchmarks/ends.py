"""What fused ends cost: frame to overlay by a graph that does it all, against the runtime's steps around a fused head.

python -m aerocam.benchmarks.ends            EfficientNet-Lite0, frames of three sizes, one thread
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks.latency import Protocol, Samples, Stages, alternate, percentiles, ratio
from aerocam.benchmarks.machine import machine

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
    from aerocam.benchmarks import zoo
    from aerocam.export import export_model
    from aerocam.runtime import Explainer
    from aerocam.runtime.opencv import cv2

    cv2.setNumThreads(threads)
    rule = replace(zoo.lite0.PREPROCESS, resize="stretch", interpolation="linear")
    forms: dict[str, dict[str, Any]] = {
        "steps": {},
        "frame in": {"frame": size},
        "both ends": {"frame": size, "overlay": True},
    }
    frame = cv2.resize(zoo.photograph("coffee"), size[::-1])
    candidates: dict[str, Callable[[bool], Stages]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in forms.items():
            path = Path(folder) / f"{name}.onnx"
            export_model(zoo.lite0.model(), path, head="gradcam", preprocess=rule, check=False, **options)
            explainer = Explainer(path, threads=threads)
            candidates[name] = lambda timed, explainer=explainer: _once(explainer, frame)  # type: ignore[misc]
        return alternate(candidates, protocol)


def _once(explainer: Any, frame: NDArray[np.uint8]) -> Stages:
    explanation = explainer(frame)
    started = perf_counter()
    explanation.overlay(caption=False)
    return {**explanation.timings, "overlay": 1e3 * (perf_counter() - started)}


def lines(size: tuple[int, int], samples: Mapping[str, Samples]) -> list[str]:
    """The table's, one per form; medians, and the ratio of the whole to that of the steps."""
    base = samples["steps"].total()
    found = []
    for name, one in samples.items():
        stages = {stage: percentiles(values)["p50"] for stage, values in one.stages().items()}
        parts = stages["preprocess"], stages["infer"], stages["overlay"], percentiles(one.total())["p50"]
        figures = ratio(one.total(), base)
        found.append(
            f"{f'{size[0]}x{size[1]}':>10} {name:<9} {' '.join(f'{part:8.2f}' for part in parts)}"
            f"  {figures['median']:.3f} ({figures['q1']:.3f} to {figures['q3']:.3f})"
        )
    return found


if __name__ == "__main__":
    main()
