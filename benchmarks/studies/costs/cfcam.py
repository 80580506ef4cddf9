"""What CF-CAM costs at 2048 x 7 x 7: in NumPy, and in the graph on ONNX Runtime; the memory of its clustering."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from aerocam.benchmarks.latency.timing import Protocol, alternate, open_plain, percentiles, timed
from aerocam.benchmarks.studies.costs.processes import run
from aerocam.export import CAM_HEADS
from aerocam.export.nodes.builder import Builder
from aerocam.runtime.methods import get

SHAPE = (1, 2048, 7, 7)
METHODS = ("cfcam", "cfcam-published")

_MEMORY = """
import numpy as np
from aerocam.runtime.methods import get
a, g = np.load(told["arrays"])
method = get(told["method"])
import sklearn.cluster
for _ in range(told["maps"]):
    method(a, g)
"""


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Draw activations as behind a ReLU, with channels that resemble eight patterns, and gradients; float32."""
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((8, 49))
    mixed = patterns[rng.integers(0, 8, SHAPE[1])] + 0.7 * rng.standard_normal((SHAPE[1], 49))
    scale = rng.lognormal(0, 1, (SHAPE[1], 1))
    activations = np.maximum(mixed * scale, 0).reshape(SHAPE).astype(np.float32)
    return activations, (1e-3 * rng.standard_normal(SHAPE)).astype(np.float32)


def measure(threads: int, protocol: Protocol) -> dict[str, Any]:
    """Time both modes in NumPy and in the graph, in turn, in ms; measure what one map adds to a process, in MB."""
    a, g = arrays()
    calls = {}
    for name in METHODS:
        method, session = get(name), open_plain(_head(name), threads)
        calls[f"{name}, NumPy"] = lambda method=method: method(a, g)
        calls[f"{name}, graph"] = lambda session=session: session.run(None, {"a": a, "g": g})
    samples = alternate({name: timed(call) for name, call in calls.items()}, protocol)
    times = {name: percentiles(taken.total()) for name, taken in samples.items()}
    return {
        "settings": {"shape": SHAPE, "threads": threads, "protocol": asdict(protocol)},
        "milliseconds": times,
        "MB": {name: _added_memory(name) for name in METHODS},
    }


def _head(name: str) -> bytes:
    """Make a model of nothing but the head."""
    values = [ir.Value(name=n, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(SHAPE)) for n in "ag"]
    graph = ir.Graph(values, [], nodes=[], opset_imports={"": 17}, name=name)
    op = Builder(graph)
    op.output(CAM_HEADS[name](op, *values), "map")
    return ir.to_proto(ir.Model(graph, ir_version=8)).SerializeToString()


def _added_memory(name: str) -> float:
    """Return the peak of a process that computes one map, less that of one that has only imported and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npy"
        np.save(path, np.stack(arrays()))
        peaks = []
        for maps in (0, 1):
            done = run(_MEMORY, arrays=str(path), method=name, maps=maps)
            done.check_returncode()
            peaks.append(float(done.stdout))
    return peaks[1] - peaks[0]
