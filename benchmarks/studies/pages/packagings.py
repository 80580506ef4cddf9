"""`python -m aerocam.benchmarks.studies.pages.packagings`: what two files cost, and what several targets do.

The record is kept as JSON, the table as a page beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import Protocol, alternate, machine, noise, open_plain, ratio, timed
from aerocam.benchmarks.studies.costs.tail import TAIL, find_tail
from aerocam.benchmarks.studies.pages.publishing import YOLO_LAST, origin, publish
from aerocam.export import export_model
from aerocam.runtime import open_session

RECORD, PAGE = "packagings.json", "packagings.md"
PLAIN, FUSED, FORWARD, BOTH, FIVE = "plain", "fused", "forward", "split", "five"
TARGETS = 5

ROWS: dict[str, tuple[Callable[[], Path], str, int]] = {
    "EfficientNet-Lite0, last layer": (zoo.lite0.model, "auto", 200),
    "YOLOv8n, last scale": (zoo.yolov8n_doclaynet, YOLO_LAST[1], 25),
    "SSDLite, all scales": (zoo.ssdlite.model, "auto", 80),
}
"""Network, layer and rounds."""


def measure(path: Path, layer: str, protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Time a model plain, fused, split, and fused for five targets; gradients leave the graph, one thread."""
    options: dict[str, Any] = {"layers": layer, "check": False}
    fused = export_model(path, folder / "fused.onnx", **options)
    five = export_model(path, folder / "five.onnx", targets=TARGETS, **options)
    two = export_model(path, folder / "two.onnx", packaging="split", **options)
    parts = two.manifest.split
    assert parts is not None
    half = open_session(two.path.with_name(parts.explain), threads=1)
    forward, plain = open_session(two.path, threads=1), open_plain(path, 1)
    image = noise(plain)
    width = 2 if fused.manifest.task == "detect" else 1
    one = {manifest.TARGET: np.full(width, -1, np.int32)}
    several = {manifest.TARGET: np.full(TARGETS * width, -1, np.int32)}

    def split() -> None:
        carried = {**image, **forward.run(image)}
        half.run({**{name: carried[name] for name in parts.carried}, **one})

    sessions = {FUSED: (open_session(fused.path, threads=1), one), FIVE: (open_session(five.path, threads=1), several)}
    behind = open_plain(find_tail(path, layers=layer).proto.SerializeToString(), 1)
    calls: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain.run(None, image),
        FORWARD: lambda: forward.run(image),
        BOTH: split,
        TAIL: partial(behind.run, None, noise(behind)),
        **{name: partial(session.run, {**image, **target}) for name, (session, target) in sessions.items()},
    }
    samples = alternate({name: timed(call) for name, call in calls.items()}, protocol)
    times = {name: one.total() for name, one in samples.items()}
    return {
        "settings": {"layers": [item.name for item in fused.manifest.layers], "protocol": asdict(protocol)},
        "milliseconds": {name: float(np.median(values)) for name, values in times.items()},
        "forward / plain": ratio(times[FORWARD], times[PLAIN]),
        "split / (fused + tail)": ratio(times[BOTH], times[FUSED] + times[TAIL]),
        "five / one": ratio(times[FIVE], times[FUSED]),
    }


def measure_all() -> dict[str, Any]:
    """Measure every row, and return the record."""
    record: dict[str, Any] = {"machine": machine(), "rows": {}}
    for name, (path, layer, rounds) in ROWS.items():
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            record["rows"][name] = measure(path(), layer, Protocol(iterations=rounds), Path(folder))
    return record


def table(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    lines = [
        "# Two files, and several targets",
        "",
        f"{origin(RECORD, record['machine'])}, one thread. Medians of paired ratios, with their quartiles.",
        "",
        "- **forward / plain**: a frame that nobody asks about, with the file of two that runs on every frame;",
        "- **split / (fused + tail)**: a frame that both files explain, over the one file that explains always and the",
        "  forward pass of the part behind the layer;",
        f"- **five / one**: {TARGETS} targets in one pass over one.",
        "",
        "| network and layer | plain, ms | forward / plain | split / (fused + tail) | five / one |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, one in record["rows"].items():
        ratios = (one[key] for key in ("forward / plain", "split / (fused + tail)", "five / one"))
        cells = [f"{item['median']:.3f} ({item['q1']:.3f} to {item['q3']:.3f})" for item in ratios]
        lines.append(f"| {name} | {one['milliseconds'][PLAIN]:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(publish("studies.pages.packagings", measure_all, table, RECORD, PAGE))
