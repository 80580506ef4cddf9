"""`python -m aerocam.benchmarks.studies.pages.heads`: what every method costs, fused into the graph and beside it.

The record is kept as JSON, the tables as a page beside it.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import Protocol, machine, ratio
from aerocam.benchmarks.studies.costs import cfcam as cfcam_cost
from aerocam.benchmarks.studies.costs import ends
from aerocam.benchmarks.studies.costs import scorecam as scorecam_cost
from aerocam.benchmarks.studies.costs.heads import measure_heads
from aerocam.benchmarks.studies.costs.processes import peak_of_explaining, peak_of_plain
from aerocam.benchmarks.studies.pages.publishing import YOLO_LAST, origin, publish
from aerocam.export import CAM_HEADS, export_model
from aerocam.export.heads import TAIL_HEADS

RECORD, PAGE = "heads.json", "heads.md"
HEADS = sorted([*CAM_HEADS, *TAIL_HEADS])

LAST: dict[str, tuple[Callable[[], Path], str, int, int]] = {
    "EfficientNet-Lite0, 1 thread": (zoo.lite0.model, "auto", 1, 100),
    "EfficientNet-Lite0, 2 threads": (zoo.lite0.model, "auto", 2, 100),
    "YOLOv8n, 1 thread": (zoo.yolov8n_doclaynet, YOLO_LAST[1], 1, 8),
    "YOLOv8n, 2 threads": (zoo.yolov8n_doclaynet, YOLO_LAST[1], 2, 8),
}
MIDDLE: dict[str, tuple[Callable[[], Path], str, int, int]] = {
    "EfficientNet-Lite0, `blocks.10/add`": (zoo.lite0.model, "blocks.10/add", 1, 100),
    "YOLOv8n, `model.9`": (zoo.yolov8n_doclaynet, "/model.9/cv2/act/Mul_output_0", 1, 12),
}
"""Network, layer, threads and rounds."""

MIDDLE_HEADS = [name for name in sorted(CAM_HEADS) if name not in ("cam", "cfcam-published", "relevance")]


def memory(folder: Path) -> dict[str, dict[str, float]]:
    """Measure peaks of processes in MB: plain, with Grad-CAM fused, with Grad-CAM in NumPy."""
    picture, peaks = zoo.photograph_file("coffee"), {}
    arguments: dict[str, Any] = {"preprocess": zoo.lite0.PREPROCESS}
    for name, path, layer, told in (
        ("EfficientNet-Lite0", zoo.lite0.model(), "auto", arguments),
        ("YOLOv8n", zoo.yolov8n_doclaynet(), YOLO_LAST[1], {}),
    ):
        tensors = export_model(path, folder / "tensors.onnx", layers=layer, check=False, **told)
        fused = export_model(path, folder / "fused.onnx", layers=layer, head="gradcam", check=False, **told)
        assert tensors.manifest.preprocess is not None
        rule = dataclasses.asdict(tensors.manifest.preprocess)
        peaks[name] = {
            "plain": peak_of_plain(path, rule, picture),
            "fused": peak_of_explaining(fused.path, picture),
            "runtime": peak_of_explaining(tensors.path, picture, "gradcam"),
        }
    return peaks


def fused_ends() -> dict[str, Any]:
    """Measure per frame size the whole pipeline with a frame in, and with both ends, against the runtime's steps."""
    ratios = {}
    for size in ends.SIZES:
        samples = ends.measure(size, 1, Protocol(iterations=40))
        steps = samples[ends.STEPS].total()
        alone = ends.measure_preprocessing(size, 1, Protocol(iterations=100))
        ratios["x".join(map(str, size))] = {
            "milliseconds": {name: float(np.median(one.total())) for name, one in samples.items()},
            "preprocessing, ms": {name: float(np.median(one.total())) for name, one in alone.items()},
            **{name: ratio(one.total(), steps) for name, one in samples.items() if name != ends.STEPS},
        }
    return ratios


def measure() -> dict[str, Any]:
    """Measure everything, one after the other."""
    record: dict[str, Any] = {"machine": machine()}
    for key, rows, heads in (("last", LAST, HEADS), ("middle", MIDDLE, MIDDLE_HEADS)):
        record[key] = {}
        for name, (path, layer, threads, rounds) in rows.items():
            print(f"{name} ...", flush=True)
            protocol = Protocol(iterations=rounds)
            record[key][name] = measure_heads(
                path(), layer, heads, threads=threads, protocol=protocol, tail=key == "middle"
            )
    print("CF-CAM, ScoreCAM, ends, memory ...", flush=True)
    record["cfcam"] = cfcam_cost.measure(2, Protocol(iterations=30))
    record["scorecam"] = scorecam_cost.measure(zoo.lite0.model(), threads=1, protocol=Protocol(iterations=20))
    record["ends"] = fused_ends()
    with tempfile.TemporaryDirectory() as folder:
        record["memory"] = memory(Path(folder))
    return record


def page(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    return "\n".join(
        [
            "# What every method costs",
            "",
            f"{origin(RECORD, record['machine'])}. Ratios are medians of ratios taken round by round, each head in",
            "turn with the plain model in one process; the record beside this page has quartiles and every setting.",
            "",
            *_last(record["last"]),
            *_middle(record["middle"]),
            *_others(record),
        ]
    )


def _last(rows: Mapping[str, Any]) -> list[str]:
    """Return the table of all heads at the last layer."""
    lines = [
        "## Fused, at the last layer: over the plain model",
        "",
        f"| head | {' | '.join(rows)} | nodes |",
        f"|---|{'--:|' * len(rows)}--:|",
    ]
    for method in HEADS:
        rows_of_method = [row["methods"][method] for row in rows.values()]
        cells = [f"{one['to plain']['median']:.3f}" if "to plain" in one else "refused" for one in rows_of_method]
        nodes = next((str(one["nodes"]) for one in rows_of_method if "nodes" in one), "")
        lines.append(f"| {method} | {' | '.join(cells)} | {nodes} |")
    plain = (f"{row['milliseconds']['plain']:.1f} ms" for row in rows.values())
    lines.append(f"| *plain model* | {' | '.join(plain)} | |")
    reasons = {one["refused"] for row in rows.values() for one in row["methods"].values() if "refused" in one}
    return [*lines, "", "Refused at export:", "", *(f"- {reason}" for reason in sorted(reasons)), ""]


def _middle(rows: Mapping[str, Any]) -> list[str]:
    """Return the table of heads at a layer inside the network."""
    lines = [
        "## Fused, at a layer inside: what is added over the forward pass of the part behind it",
        "",
        f"| head | {' | '.join(rows)} |",
        f"|---|{'--:|' * len(rows)}",
    ]
    for method in MIDDLE_HEADS:
        rows_of_method = (row["methods"][method] for row in rows.values())
        cells = (
            f"{one['added to tail']['median']:.2f}" if "added to tail" in one else "refused" for one in rows_of_method
        )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    parts = (f"{row['milliseconds']['tail']:.1f} of {row['milliseconds']['plain']:.1f} ms" for row in rows.values())
    return [*lines, f"| *the part behind* | {' | '.join(parts)} |", ""]


def _others(record: Mapping[str, Any]) -> list[str]:
    """Return the lines on CF-CAM by itself, ScoreCAM, memory and fused ends."""
    cfcam, scorecam, peaks = record["cfcam"], record["scorecam"], record["memory"]
    lines = ["## CF-CAM at 2048 x 7 x 7, two threads", "", "| | ms, median | MB added |", "|---|--:|--:|"]
    for name, times in cfcam["milliseconds"].items():
        method, _, form = name.partition(", ")
        added = f"{cfcam['MB'][method]:.0f}" if form == "NumPy" else ""
        lines.append(f"| {name} | {times['p50']:.1f} | {added} |")
    lines += [
        "",
        "## ScoreCAM",
        "",
        f"EfficientNet-Lite0, last layer, one thread: {scorecam['to plain']['median']:.3f} times as many plain passes",
        f"as there are channels (quartiles {scorecam['to plain']['q1']:.3f} to {scorecam['to plain']['q3']:.3f}).",
        "",
        "## Peak memory of a process that runs or explains a picture twenty times, MB",
        "",
        "| | plain | Grad-CAM fused | Grad-CAM in NumPy |",
        "|---|--:|--:|--:|",
    ]
    for name, one in peaks.items():
        plain = one["plain"]
        shares = (f"{one[form]:.0f} ({one[form] / plain:.3f})" for form in ("fused", "runtime"))
        lines.append(f"| {name} | {plain:.0f} | {' | '.join(shares)} |")
    lines += [
        "",
        "## Fused ends: frame to overlay over the runtime's steps, EfficientNet-Lite0, one thread",
        "",
        "| frame | frame in | frame in, overlay out | preprocessing alone, ms: in the graph | OpenCV | NumPy |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for size, one in record["ends"].items():
        cells = [f"{one[form]['median']:.2f}" for form in (ends.FRAME_IN, ends.BOTH)]
        cells += [f"{value:.2f}" for value in one["preprocessing, ms"].values()]
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.exit(publish("studies.pages.heads", measure, page, RECORD, PAGE))
