"""`python -m aerocam.benchmarks.studies.pages.tails`: what gradients cost at the layer that is taken when nobody says.

Every real network of the zoo, one after the other. The record is kept as JSON, the table as a page beside it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from aerocam import manifest
from aerocam.benchmarks import zoo
from aerocam.benchmarks.latency.timing import Protocol, machine
from aerocam.benchmarks.studies.costs.processes import export_cost
from aerocam.benchmarks.studies.costs.tail import measure_tail
from aerocam.benchmarks.studies.pages.publishing import origin, publish

PROTOCOL = Protocol(iterations=30)
RECORD, PAGE = "tails.json", "tails.md"


REASONS = (
    "Ratios to the tail above 1.2 have these reasons. Where the tail is a pooling and a product, a fraction of a",
    "millisecond, what is added are 9 to 33 small nodes of some 10 microseconds each, the choice of the class (a",
    "segmenter's goes over the whole map), and copies of activations and gradients that leave the graph: see the",
    "ratio to plain there. `lite0-half` computes in float16, which this processor emulates. In SSDLite the",
    "forward pass has activations and batch norms fused into its convolutions; in the gradient they are passes of",
    "their own.",
)
"""Reasons of ratios above 1.2."""


@dataclass(frozen=True)
class Network:
    """A network with what `measure_tail` is told of it."""

    path: Callable[[], Path]
    task: manifest.Task | None = None
    input_shapes: Mapping[str, tuple[int, ...]] | None = None


def networks(folder: Path = Path()) -> Iterator[tuple[str, Network]]:
    """Yield all networks of the zoo by name; those that have to be written first go into a folder."""
    for variant in (None, *zoo.lite0.VARIANTS):
        name = f"lite0-{variant}" if variant else "lite0"
        yield name, Network(partial(zoo.lite0.model, variant=variant))
    yield "yolov8n", Network(zoo.yolov8n_doclaynet)
    yield "ssdlite", Network(partial(_saved, folder / "ssdlite.onnx", zoo.ssdlite.with_means))
    for name, network in zoo.OCR_MODELS.items():
        task: manifest.Task | None = "classify" if name.endswith("cls") else "segment"
        yield name, Network(partial(zoo.ocr_model, name), task, {"x": network.input_shape})
    for name in zoo.light.LIGHT_NAMES:
        yield name, Network(partial(_saved, folder / f"{name}.onnx", partial(zoo.light.with_random_weights, name)))


def _saved(path: Path, make: Callable[[], onnx.ModelProto]) -> Path:
    onnx.save(make(), path)
    return path


def measure_all() -> dict[str, Any]:
    """Measure every network, and return the record."""
    record: dict[str, Any] = {"machine": machine(), "networks": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, network in networks(Path(folder)):
            print(f"{name} ...", flush=True)
            path, task, shapes = network.path(), network.task, network.input_shapes
            costs = measure_tail(path, task=task, input_shapes=shapes, protocol=PROTOCOL)
            record["networks"][name] = {**costs, "export": export_cost(path, task=task, input_shapes=shapes)}
    return record


def table(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown page."""
    settings = next(iter(record["networks"].values()))["settings"]
    lines = [
        "# What gradients cost at the layer that is taken when nobody says",
        "",
        f"{origin(RECORD, record['machine'])}, {settings['threads']} thread,"
        f" {settings['protocol']['iterations']} rounds, one after the other in one process.",
        "",
        "- **plain**: the network; **tail**: its part from the target layer to the score, run alone; both medians.",
        "- **added**: activations, gradients, the choice of the class; median and quartiles, round by round.",
        "- **/ plain**, **/ tail**: the median of what is added, over these.",
        "- **s**, **MB**: of the export, with its self-check, in a process of its own; **file**: the model's MB.",
        "",
        *REASONS,
        "",
        "| network | layer | nodes | added | plain, ms | tail, ms | added, ms | / plain | / tail | s | MB | file |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_line(name, one) for name, one in record["networks"].items()),
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, one: Mapping[str, Any]) -> str:
    nodes, times, added = one["nodes"], one["milliseconds"], one["added"]
    cells = [
        name,
        ", ".join(f"`{layer}`" for layer in one["settings"]["layers"]),
        str(nodes["before"]),
        str(nodes["after"] - nodes["before"]),
        f"{times['plain']:.1f}",
        f"{times['tail']:.2f}",
        f"{added['median']:.2f} ({added['q1']:.2f} to {added['q3']:.2f})",
        f"{added['median'] / times['plain']:.3f}",
        f"{one['ratio']:.2f}",
        f"{one['export']['seconds']:.1f}",
        f"{one['export']['peak MB']:.0f}",
        f"{one['export']['MB']:.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(publish("studies.pages.tails", measure_all, table, RECORD, PAGE))
