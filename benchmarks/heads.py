"""What each fused head costs, against the plain model and against the part of it behind the layer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.benchmarks.latency import Protocol, alternate, ratio, timed
from aerocam.benchmarks.tail import PLAIN, TAIL, find_tail, open_plain
from aerocam.errors import UsageError
from aerocam.export import export_model


def measure_heads(
    path: Path, layer: str, methods: Sequence[str], *, threads: int, protocol: Protocol
) -> dict[str, Any]:
    """Time a model plain, its tail alone, and the model with each head, in turn in one process, on noise.

    Args:
        path: A plain ONNX model.
        layer: The target layer.
        methods: Of `aerocam.export.CAM_HEADS`.
        threads: Threads inside an operator.
        protocol: How to measure.

    Returns:
        A JSON-able record: settings; medians in ms of the plain model and the tail; per method the nodes added, the
        quartiles of the ratio to plain, and the median of what is added over the tail's median. A method that is
        refused at this layer has the reason instead.
    """
    plain, tail = open_plain(path, threads), find_tail(path, layers=layer)
    image = {item.name: _noise(item.shape) for item in plain.get_inputs()}
    behind = open_plain(tail.proto.SerializeToString(), threads)
    given = {item.name: _noise(item.shape) for item in behind.get_inputs()}
    calls: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain.run(None, image),
        TAIL: lambda: behind.run(None, given),
    }
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            try:
                done = export_model(path, Path(folder) / "fused.onnx", layers=layer, head=method, check=False)
            except UsageError as error:
                rows[method] = {"refused": str(error)}
                continue
            rows[method] = {"nodes": done.nodes_after - done.nodes_before}
            calls[method] = _explaining(open_plain(done.path, threads), image)
    samples = alternate({name: timed(call) for name, call in calls.items()}, protocol)
    times = {name: one.total() for name, one in samples.items()}
    middle = {name: float(np.median(times[name])) for name in (PLAIN, TAIL)}
    for method in rows.keys() & calls.keys():
        rows[method]["to plain"] = ratio(times[method], times[PLAIN])
        rows[method]["added to tail"] = float(np.median(times[method] - times[PLAIN])) / middle[TAIL]
    settings = {"layer": layer, "threads": threads, "protocol": asdict(protocol)}
    return {"settings": settings, "milliseconds": middle, "methods": rows}


def _explaining(session: Any, image: Mapping[str, NDArray[np.float32]]) -> Callable[[], object]:
    """A run for the model's own top choice."""
    target = next(item for item in session.get_inputs() if item.name == manifest.TARGET)
    feeds = {**image, manifest.TARGET: np.full(target.shape, -1, np.int32)}
    return lambda: session.run(None, feeds)


def _noise(shape: Sequence[int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)
