"""Every kind of export through NVIDIA's own parser and builder; the table of what that takes is printed and kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engine_table
from aerocam.benchmarks.latency.timing import machine
from aerocam.errors import UsageError
from aerocam.runtime.trt.building import Built, build_engines
from checkout import ROOT
from engine_graphs import Graph, graphs
from rtx import rtx

rtx()

CAPABILITY = "8.6"
TYPES = {"lite0-half": "float16", "lite0-int8": "int8"}
"""In which most products of a network run that is not in float32."""

PAGE = ROOT / "docs/engines.md"
WRITES = "AEROCAM_ENGINES_PAGE" in os.environ


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that goes with the test: all of them together are some gigabytes."""
    with tempfile.TemporaryDirectory(prefix="aerocam-engine-") as name:
        yield Path(name)


@pytest.mark.slow
@pytest.mark.parametrize("graph", [graph for graph in graphs() if graph.often or WRITES], ids=str)
def test_an_export_becomes_an_engine(graph: Graph, folder: Path, record_property: Callable[[str, Any], None]) -> None:
    if graph.refused:
        with pytest.raises(UsageError, match=graph.refused):
            graph.export(folder)
        return
    done = build_engines(graph.export(folder), compute_capability=CAPABILITY)
    assert all(built.path.stat().st_size == built.record.plan_bytes > 0 for built in done)
    assert {built.computed_in[0] for built in done} == {TYPES.get(graph.network, "float32")}
    record_property(engine_table.PROPERTY, row(graph, done))


def row(graph: Graph, done: list[Built]) -> dict[str, Any]:
    """What the table has of a graph."""
    return {
        "order": graphs().index(graph),
        "network": graph.network,
        "layer": graph.layer,
        "leaves": graph.leaves,
        "types": list(dict.fromkeys(name for built in done for name in built.computed_in)),
        "parse": sum(built.parse_seconds for built in done),
        "build": sum(built.build_seconds for built in done),
        "bytes": sum(built.record.plan_bytes for built in done),
        "layers": sum(built.layers for built in done),
        "made": {
            "tensorrt": f"{done[0].record.bindings} {done[0].record.tensorrt}",
            "compute capability": CAPABILITY,
            "processor": machine()["processor"],
        },
    }


def test_the_page_has_every_graph() -> None:
    """`make engines` writes it; a graph that is added or taken out makes it old."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    expected = [[graph.network, graph.layer, graph.leaves] for graph in graphs() if not graph.refused]
    assert [row[:3] for row in rows[1:]] == expected
    assert rows[0] == list(engine_table.COLUMNS)
