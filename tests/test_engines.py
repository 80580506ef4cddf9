"""Every kind of export through NVIDIA's own parser and builder; the table of what that takes is printed and kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine_table
from aerocam.benchmarks.machine import machine
from aerocam.errors import UsageError
from aerocam.runtime.trt.building import Built, build_engines
from engine_graphs import Graph, graphs

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is there on Linux on x86-64 alone")

CAPABILITY = "8.6"
PAGE = Path(__file__).parents[1] / "docs/engines.md"


@pytest.mark.slow
@pytest.mark.parametrize("graph", graphs(), ids=str)
def test_an_export_becomes_an_engine(graph: Graph, tmp_path: Path, record_property: Callable[[str, Any], None]) -> None:
    if graph.refused:
        with pytest.raises(UsageError, match=graph.refused):
            graph.export(tmp_path)
        return
    done = build_engines(graph.export(tmp_path), compute_capability=CAPABILITY)
    assert all(built.path.stat().st_size == built.record.plan_bytes > 0 for built in done)
    record_property(engine_table.PROPERTY, row(graph, done))


def row(graph: Graph, done: list[Built]) -> dict[str, Any]:
    """What the table has of a graph."""
    return {
        "order": graphs().index(graph),
        "network": graph.network,
        "layer": graph.layer,
        "leaves": graph.leaves,
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
