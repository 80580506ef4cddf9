"""What a gradient costs against the part of the network that it goes back through: the tail, from layer to score."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnx_ir as ir
from numpy.typing import NDArray

from aerocam import manifest
from aerocam.benchmarks.latency.timing import Protocol, alternate, open_plain, ratio, timed
from aerocam.export import export_model
from aerocam.export.gradients.autodiff import nodes_between, values_read
from aerocam.export.layers.target_layers import AUTO, choose_layers
from aerocam.export.nodes.shapes import static_shape
from aerocam.export.preprocessing import default_task
from aerocam.export.reading.graph import load_model
from aerocam.export.scores import find_score

PLAIN, EXPLAINED, TAIL = "plain", "explained", "tail"


@dataclass(frozen=True)
class Tail:
    """The nodes between some target layers and the score as a model of their own.

    Attributes:
        proto: That model; its output is the tensor of logits.
        inputs: What it reads: the layers, and whatever else comes from outside it.
        layers: Names of the layers.
    """

    proto: onnx.ModelProto
    inputs: tuple[str, ...]
    layers: tuple[str, ...]


def find_tail(
    path: str | Path,
    *,
    layers: str | Sequence[str] = AUTO,
    task: manifest.Task | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Tail:
    """Cut the tail out of a model; arguments and errors are those of `export_model`."""
    model = load_model(path, input_shapes)
    site = find_score(model, task or default_task(model), None)
    chosen = choose_layers(model, site, [layers] if isinstance(layers, str) else layers)
    nodes = nodes_between(model.graph, [item.value for item in chosen], site.logits)
    inside = {y for node in nodes for y in node.outputs}
    read = dict.fromkeys(x for node in nodes for x in values_read(node))
    inputs = [str(x.name) for x in read if x not in inside and (x.producer() is not None or x.is_graph_input())]
    proto = onnx.utils.Extractor(ir.to_proto(model)).extract_model(inputs, [str(site.logits.name)])
    return Tail(proto, tuple(inputs), tuple(item.name for item in chosen))


def measure_tail(
    path: str | Path,
    *,
    layers: str | Sequence[str] = AUTO,
    task: manifest.Task | None = None,
    threads: int = 1,
    protocol: Protocol | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Time a model, the model as `export_model` writes it, and the tail's forward pass alone.

    Args:
        path: A plain ONNX model.
        layers: As for `export_model`.
        task: As for `export_model`.
        threads: Threads inside an operator.
        protocol: How to measure.
        input_shapes: As for `export_model`.

    Returns:
        A JSON-able record: settings, nodes before and after, milliseconds of the three (medians), the quartiles of
        what was added round by round, and `ratio`, the median of that over the tail's.
    """
    protocol = protocol or Protocol()
    common: dict[str, Any] = {"layers": layers, "task": task, "input_shapes": input_shapes}
    tail = find_tail(path, **common)
    with tempfile.TemporaryDirectory() as folder:
        done = export_model(path, Path(folder) / "explained.onnx", check=False, **common)
        sessions = {
            PLAIN: open_plain(str(path), threads),
            EXPLAINED: open_plain(str(done.path), threads),
            TAIL: open_plain(tail.proto.SerializeToString(), threads),
        }
    feeds = _feeds(path, tail, sessions[EXPLAINED], input_shapes)
    samples = alternate({name: timed(partial(sessions[name].run, None, feeds[name])) for name in sessions}, protocol)
    times = {name: taken.total() for name, taken in samples.items()}
    added = ratio(times[EXPLAINED] - times[PLAIN], np.ones(1))
    return {
        "settings": {"layers": tail.layers, "threads": threads, "protocol": asdict(protocol)},
        "nodes": {"before": done.nodes_before, "after": done.nodes_after},
        "milliseconds": {name: float(np.median(values)) for name, values in times.items()},
        "added": added,
        "ratio": added["median"] / float(np.median(times[TAIL])),
    }


def _feeds(
    path: str | Path, tail: Tail, explained: Any, input_shapes: Mapping[str, Sequence[int]] | None
) -> dict[str, dict[str, NDArray[Any]]]:
    """Return noise for the model, its own top choice as the target, and for the tail what the model has there."""
    rng = np.random.default_rng(0)
    model = load_model(path, input_shapes)
    typed = [(value, value.dtype) for value in model.graph.inputs if value.dtype is not None]
    plain = {str(value.name): rng.standard_normal(static_shape(value)).astype(dtype.numpy()) for value, dtype in typed}
    target = next(item for item in explained.get_inputs() if item.name == manifest.TARGET)
    computed = {str(y.name): y for node in model.graph for y in node.outputs}
    inner = [name for name in tail.inputs if name in computed]
    there = {value.name for value in model.graph.outputs}
    model.graph.outputs.extend(computed[name] for name in inner if name not in there)
    arrays = open_plain(ir.to_proto(model).SerializeToString(), 0).run(inner, plain)
    return {
        PLAIN: plain,
        EXPLAINED: {**plain, manifest.TARGET: np.full(target.shape, -1, np.int32)},
        TAIL: {**dict(zip(inner, arrays, strict=True)), **{k: v for k, v in plain.items() if k in tail.inputs}},
    }
