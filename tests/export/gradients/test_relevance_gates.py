"""Products in relevance: gates and attention, signals that share, and activations written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.gradients.relevance import RELEVANCE
from aerocam.export.nodes.builder import Builder
from onnx_graphs import f32, model, run_ort, saved
from relevance_networks import BODIES, NUMBERS, X, explained, network
from small_networks import transformer

node = helper.make_node
Array = NDArray[Any]


def test_attention_gives_all_to_the_values(tmp_path: Path) -> None:
    proto = transformer(False)
    x = f32(1, 3, 8, 8, seed=2)
    found, score = explained(export_model(saved(tmp_path, proto), layers=["patches", "x"], relevance=True).path, x, 1)
    for r in found.values():
        assert r.sum() == pytest.approx(score, rel=1e-4)
    guarded = onnx.ModelProto()
    guarded.CopyFrom(proto)
    (at,) = [i for i, item in enumerate(guarded.graph.node) if item.op_type == "Softmax"]
    nodes = [*guarded.graph.node]
    nodes[at] = node("Softmax", ["scores"], ["raw"], axis=-1)
    nodes[at + 1 : at + 1] = [node("IsNaN", ["raw"], ["nan"]), node("Where", ["nan", "nought", "raw"], ["weights"])]
    del guarded.graph.node[:]
    guarded.graph.node.extend(nodes)
    guarded.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nought"))
    again, _ = explained(export_model(saved(tmp_path, guarded), layers=["patches"], relevance=True).path, x, 1)
    np.testing.assert_allclose(again["patches"], found["patches"], atol=1e-6)
    with pytest.raises(ModelError, match="layer 'q': it acts as a constant, such as a gate; choose another layer"):
        export_model(saved(tmp_path, proto), layers="q", relevance=True)


@pytest.mark.parametrize(
    ("body", "signal"),
    [("squeeze-and-excitation", "s"), ("gated linear unit", "s"), ("silu", "s"), ("hard-swish", "s")],
)
def test_a_gate_counts_as_a_constant(tmp_path: Path, body: str, signal: str) -> None:
    """The relevance of the signal is that of the product, entry by entry."""
    path = saved(tmp_path, network(*BODIES[body], **NUMBERS))
    found, _ = explained(export_model(path, layers=[signal, "b"], relevance=True).path, X, 3)
    np.testing.assert_allclose(found[signal], found["b"], atol=1e-5 * np.abs(found["b"]).max())


def test_a_layer_that_is_only_a_gate_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, network(*BODIES["gated linear unit"]))
    with pytest.raises(ModelError, match="layer 't': it acts as a constant, such as a gate; choose another layer"):
        export_model(path, layers="t", relevance=True)


def test_two_signals_have_half_each(tmp_path: Path) -> None:
    path = saved(tmp_path, network(*BODIES["two signals"]))
    found, _ = explained(export_model(path, layers=["s", "t", "b"], relevance=True).path, X, 3)
    for layer in ("s", "t"):
        np.testing.assert_allclose(found[layer], found["b"] / 2, atol=1e-5 * np.abs(found["b"]).max())


WRITTEN_OUT: dict[str, list[tuple[str, list[Any]]]] = {
    "silu by a quotient": [("Neg", ["x"]), ("Exp", ["0"]), ("Add", ["1", 1.0]), ("Div", ["x", "2"])],
    "hard-swish by HardSigmoid": [("HardSigmoid", ["x"]), ("Mul", ["0", "x"])],
    "gelu": [("Div", ["x", 2**0.5]), ("Erf", ["0"]), ("Add", ["1", 1.0]), ("Mul", ["x", "2"]), ("Mul", ["3", 0.5])],
    "gelu, halved first": [
        ("Mul", ["x", 0.5]), ("Div", ["x", 2**0.5]), ("Erf", ["1"]), ("Add", ["2", 1.0]), ("Mul", ["0", "3"]),
    ],
    "gelu by tanh": [
        ("Pow", ["x", 3.0]), ("Mul", ["0", 0.044715]), ("Add", ["x", "1"]), ("Mul", ["2", 0.79788456]), ("Tanh", ["3"]),
        ("Add", ["4", 1.0]), ("Mul", ["x", "5"]), ("Mul", ["6", 0.5]),
    ],
    "mish": [("Softplus", ["x"]), ("Tanh", ["0"]), ("Mul", ["x", "1"])],
    "square": [("Mul", ["x", "x"])],
    "relu by Max": [("Max", ["x", 0.0])],
    "relu6 by Min": [("Relu", ["x"]), ("Min", ["0", 6.0])],
    "reciprocal": [("Add", ["x", 5.0]), ("Abs", ["0"]), ("Reciprocal", ["1"]), ("Mul", ["x", "2"])],
    "power of a constant": [("Pow", [2.0, "x"])],
    "constant by x": [("Div", [2.0, "x"])],
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_all_relevance_passes_a_function_written_out(name: str) -> None:
    """Entry by entry: M_x = f(x) / x M_y."""
    nodes, constants = [], {}
    for i, (kind, inputs) in enumerate(WRITTEN_OUT[name]):
        for place, item in enumerate(inputs):
            if isinstance(item, float):
                constants[f"k{i}{place}"] = np.float32(item)
                inputs = [*inputs[:place], f"k{i}{place}", *inputs[place + 1 :]]
        nodes.append(node(kind, inputs, [str(i)]))
    x, m = 4 * f32(1, 2, 3, 4, seed=1), f32(1, 2, 3, 4, seed=2)
    graph = ir.from_proto(model(nodes, {"x": x}, constants, [str(len(nodes) - 1)])).graph
    op = Builder(graph)
    score = op.sum(op.Mul(graph.outputs[0], m), [0, 1, 2, 3], keepdims=False)
    (found,) = differentiate(op, score, op.constant(np.float32(1)), list(graph.inputs), RELEVANCE)
    op.output(found, "m")
    y, multiplier = run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), {"x": x})
    if name == "reciprocal":  # no function passes: x is the signal, its reciprocal beside it a gate
        np.testing.assert_allclose(multiplier, m / np.abs(x + 5), rtol=1e-4)
    assert np.abs(x * multiplier - y * m).max() < 1e-5 * np.abs(y * m).max()
