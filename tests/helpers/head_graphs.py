"""Graphs of what a head is made of: nodes appended by a function, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from onnx import helper

from aerocam.export.nodes.builder import Builder
from onnx_graphs import model

Build = Callable[..., ir.Value | Sequence[ir.Value]]
Run = Callable[..., list[NDArray[Any]]]


def graph_of(build: Build, arrays: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """What `build(op, *inputs)` appends, as a model of inputs like these arrays; its outputs are `y0`, `y1`, ..."""
    kept = [helper.make_node("Identity", [name], [f"{name}_unused"]) for name in arrays]
    graph = ir.from_proto(model(kept, arrays, {}, [f"{name}_unused" for name in arrays])).graph
    op = Builder(graph)
    values = build(op, *graph.inputs)
    for i, value in enumerate([values] if isinstance(values, ir.Value) else values):
        op.output(value, f"y{i}")
    del graph.outputs[: len(arrays)]
    return ir.to_proto(ir.Model(graph, ir_version=8))


def runner(build: Build, *arrays: NDArray[Any]) -> Run:
    """`build` as a function of arrays of these shapes and types."""
    named = {f"x{i}": array for i, array in enumerate(arrays)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    content = graph_of(build, named).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(*given: NDArray[Any]) -> list[NDArray[Any]]:
        return session.run(None, {name: np.asarray(x, named[name].dtype) for name, x in zip(named, given, strict=True)})

    return run
