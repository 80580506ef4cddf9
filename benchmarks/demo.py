"""The demonstration: real weights, real photographs, real video, from nothing to an overlay that plays."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.overhead import measure_overhead
from aerocam.benchmarks.latency.timing import Protocol
from aerocam.export import export_model
from aerocam.files import make_folder, write_together
from aerocam.progress import Progress
from aerocam.runtime import Explainer, VideoSink, VideoSource, process
from aerocam.runtime.drawing.overlay import Look
from aerocam.runtime.frames.opencv import cv2
from aerocam.runtime.results.page import ResultsPage
from aerocam.runtime.results.sheet import contact_sheet

logger = logging.getLogger("aerocam.demo")

PICTURES: tuple[tuple[str, str | None], ...] = (
    ("chelsea", None),
    ("coffee", None),
    ("camera", None),
    ("rocket", None),
    ("astronaut", "football helmet"),
    ("astronaut", "space shuttle"),
)
"""Photographs and the class explained; None: the model's own top class."""

METHODS = ("gradcam", "layercam", "eigencam", "cfcam", "cfcam-published")

VIDEO = "cockatoo"
MODEL, FAST_MODEL = "lite0.cam.onnx", "lite0.gradcam.onnx"
PAGE, SHEET, BENCH = "pictures.html", "contact-sheet.png", "bench.json"
OVERLAY, RECORDS = "cockatoo.webm", "cockatoo.jsonl"


def run_demo(folder: Path, threads: int = 2, max_frames: int | None = None, rounds: int = 50) -> dict[str, Any]:
    """Do all of it, and say where everything lies.

    Args:
        folder: Where the results go; made if absent.
        threads: Threads for ONNX Runtime.
        max_frames: Cut the video short; None: all of it.
        rounds: Timed rounds of the bench.

    Returns:
        Facts of the run: peaks of the Grad-CAM maps (x, y in px), frames written, the bench record.
    """
    protocol = Protocol(iterations=rounds)  # first, as it may refuse them
    make_folder(folder)
    plain = zoo.lite0.model()
    logger.info("EfficientNet-Lite0 with its ImageNet weights: %s", plain)
    arguments: dict[str, Any] = {"preprocess": zoo.lite0.PREPROCESS, "labels": zoo.lite0.labels()}
    export_model(plain, folder / MODEL, **arguments)
    export_model(plain, folder / FAST_MODEL, head="gradcam", **arguments)
    logger.info("exported: %s (any method) and %s (Grad-CAM in the graph)", folder / MODEL, folder / FAST_MODEL)
    peaks = make_sheet(folder / MODEL, folder / SHEET, threads)
    logger.info("contact sheet: %s", folder / SHEET)
    make_page(folder / MODEL, folder / PAGE, threads)
    logger.info("page with each photograph's three best classes, and where they are: %s", folder / PAGE)
    frames = explain_video(folder / FAST_MODEL, folder, threads, max_frames)
    logger.info("video: %s (%d frames; plays in a browser), records: %s", folder / OVERLAY, frames, folder / RECORDS)
    bench = measure_overhead(plain, threads=1, protocol=protocol)
    write_together({folder / BENCH: (json.dumps(bench, indent=2) + "\n").encode()})
    for form, figures in bench["ratio to plain"].items():
        logger.info("Grad-CAM, %s: %.3f times the plain model (median)", form, figures["median"])
    logger.info("bench record: %s", folder / BENCH)
    return {"peaks": peaks, "frames": frames, "bench": bench}


def make_sheet(
    model: Path, sheet: Path, threads: int, pictures: Sequence[tuple[str, str | None]] = PICTURES
) -> dict[str, tuple[int, int]]:
    """Explain the photographs by every method; where Grad-CAM's maps peak, (x, y) in px, by `picture: class`."""
    rows: list[list[NDArray[np.uint8]]] = [[zoo.photograph(name)] for name, _ in pictures]
    peaks = {}
    for method in METHODS:
        with Explainer(model, method=method, threads=threads) as explainer:
            for row, (name, target) in zip(rows, pictures, strict=True):
                explanation = explainer(zoo.photograph(name), target)
                row.append(explanation.overlay())
                if method == "gradcam":
                    y, x = np.unravel_index(explanation.map[0].argmax(), explanation.map[0].shape)
                    peaks[f"{name}: {explanation.target.label}"] = (int(x), int(y))
    picture = contact_sheet(rows, ("picture", *METHODS), tile=(180, 260))
    write_together({sheet: cv2.imencode(sheet.suffix, picture)[1].tobytes()})
    return peaks


def make_page(model: Path, page: Path, threads: int) -> None:
    """Explain the three best classes of each photograph, with Otsu's regions, on one page."""
    look = Look(regions="otsu")
    facts = {"Model": "EfficientNet-Lite0, ImageNet", "Method": "gradcam", "Regions": "otsu"}
    with Explainer(model, method="gradcam", threads=threads) as explainer, ResultsPage(page, facts, look) as results:
        for name in dict.fromkeys(name for name, _ in PICTURES):
            explanation = explainer(zoo.photograph(name), [-1, -2, -3])
            results.add(name, explanation, explanation.save(page.parent / "pictures", name, regions="otsu"))


def explain_video(model: Path, folder: Path, threads: int, max_frames: int | None) -> int:
    """Lay Grad-CAM over the video; the number of frames written."""
    records: list[dict[str, Any]] = []
    with (
        Explainer(model, threads=threads) as explainer,
        VideoSource(str(zoo.video(VIDEO))) as source,
        VideoSink(folder / OVERLAY, source.size, source.fps) as sink,
    ):
        progress = Progress(min(source.count, max_frames or source.count))
        summary = process(source, explainer, sink, records.append, max_frames=max_frames, progress=progress)
        progress.close()
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_together({folder / RECORDS: lines.encode()})
    return summary.frames
