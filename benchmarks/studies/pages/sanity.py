"""`python -m aerocam.benchmarks.studies.pages.sanity`: do maps depend on weights, precision and the next frame?

Of EfficientNet-Lite0: model-parameter randomisation, consistency of float32 with float16 and int8, stability in time.
The record is kept as JSON, the tables as a page beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.benchmarks.evaluation.between_models import average, compare_models
from aerocam.benchmarks.evaluation.in_time import stability_in_time
from aerocam.benchmarks.evaluation.randomisation import cascade
from aerocam.benchmarks.latency.timing import machine
from aerocam.benchmarks.studies.pages.publishing import publish
from aerocam.export import export_model
from aerocam.runtime import Explainer
from aerocam.runtime.frames.opencv import cv2

RECORD, PAGE = "sanity.json", "sanity.md"
METHODS = ("gradcam", "layercam", "eigencam", "cfcam-published", "cfcam", "randomcam")
RANDOMISED, COUNTS, SEED = 8, (0, 1, 2, 5, 10, 20, 50), 0
"""How many photographs the randomised networks are shown, how many of its 50 weights are random, and their seed."""

CLIP, FIRST, LAST = "cockatoo", 180, 225
"""Frames of a clip in which the bird is seen well: the first, and the one after the last."""


def clip() -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of the clip."""
    capture = cv2.VideoCapture(str(zoo.video(CLIP)))
    for number in range(LAST):
        good, frame = capture.read()
        assert good, f"{CLIP}: frame {number} cannot be read"
        if number >= FIRST:
            yield np.asarray(frame, np.uint8)


def measure_all() -> dict[str, Any]:
    """Measure everything, and return the record."""
    pictures = [zoo.labelled_photograph(name) for name in zoo.LABELLED]
    arguments: dict[str, Any] = {"preprocess": zoo.lite0.PREPROCESS, "check": False}
    print("randomisation ...", flush=True)
    steps = cascade(zoo.lite0.model(), pictures[:RANDOMISED], METHODS, counts=COUNTS, seed=SEED, options=arguments)
    record: dict[str, Any] = {"machine": machine(), "randomisation": {}, "precision": {}, "in time": {}}
    record["randomisation"] = {method: [asdict(step) for step in cascaded] for method, cascaded in steps.items()}
    with tempfile.TemporaryDirectory() as room:
        folder, plain = Path(room), zoo.lite0.model()
        first = export_model(plain, folder / "float32.cam.onnx", **arguments).path
        others = {
            "float16": export_model(plain, folder / "float16.cam.onnx", precision="float16", **arguments).path,
            "int8": export_model(zoo.lite0.model(variant="int8"), folder / "int8.cam.onnx", **arguments).path,
        }
        for method in METHODS:
            print(f"{method} ...", flush=True)
            agreements = {name: average(compare_models(first, path, pictures, method)) for name, path in others.items()}
            record["precision"][method] = {name: asdict(one) for name, one in agreements.items()}
            with Explainer(first, method=method) as explainer:
                stability = stability_in_time(explainer, clip())
            record["in time"][method] = {**asdict(stability), "relative": stability.relative}
    return record


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    host, count = record["machine"], len(zoo.LABELLED)
    lines = [
        "# Do maps depend on what they should?",
        "",
        f"`python -m aerocam.benchmarks.studies.pages.sanity` wrote this page and `{RECORD}`, with ONNX Runtime",
        f"{host['onnxruntime']} on the CPU. EfficientNet-Lite0, last layer; its labelled photographs are few: no"
        " benchmark on ImageNet.",
        "",
        "## Randomised weights",
        "",
        "Spearman's rank correlation (SSIM) with the original map, when so many weights nearest the output are drawn",
        f"anew (normal, each weight's own mean and deviation; seed {SEED}). {RANDOMISED} photographs, the original top"
        " class. Lower is better:",
        "a map that stays does not show what the network has learnt. A method that reads no gradients has to stay",
        "until a layer before its own changes. Empty: the map is zero on every photograph. Biases stay as they are.",
        "",
    ]
    lines += [*_randomisation(record["randomisation"]), "", "## float32 against float16 and int8", ""]
    lines += [
        f"Means over {count} photographs, float32's top class; int8: the zoo's, without calibration. Shift: of the"
        " centre of mass, px.",
        "",
    ]
    lines += ["| method | against | correlation | SSIM | shift | same top class |", "|---|---|--:|--:|--:|--:|"]
    for method, rows in record["precision"].items():
        for name, one in rows.items():
            figures = f"{one['correlation']:.4f} | {one['ssim']:.4f} | {one['shift']:.2f} | {one['same_class']:.2f}"
            lines.append(f"| {method} | {name} | {figures} |")
    lines += ["", "## In time", "", f"{CLIP}, frames {FIRST} to {LAST - 1}, the first one's top class: Pearson's"]
    lines += ["correlation of consecutive maps, of the grey frames, and the one over the other.", ""]
    lines += ["| method | maps | frames | relative |", "|---|--:|--:|--:|"]
    for method, one in record["in time"].items():
        lines.append(f"| {method} | {one['maps']:.4f} | {one['frames']:.4f} | {one['relative']:.4f} |")
    return "\n".join(lines) + "\n"


def _randomisation(rows: Mapping[str, Any]) -> list[str]:
    """Return a row per method, a column per step."""
    counts = [step["randomised"] for step in next(iter(rows.values()))]
    lines = [f"| method | {' | '.join(map(str, counts))} |", f"|---|{'--:|' * len(counts)}"]
    for method, steps in rows.items():
        lines.append(f"| {method} | {' | '.join(map(_cell, steps))} |")
    return lines


def _cell(one: Mapping[str, Any]) -> str:
    """Return a step's figures as a cell."""
    if one["constant"] == RANDOMISED:
        return f"empty ({one['ssim']:.2f})"
    empty = f", {one['constant']} empty" if one["constant"] else ""
    return f"{one['spearman']:.2f} ({one['ssim']:.2f}{empty})"


if __name__ == "__main__":
    sys.exit(publish("studies.pages.sanity", measure_all, page, RECORD, PAGE))
