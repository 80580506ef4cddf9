"""Operators that are written as simpler ones on reading: the same numbers, and PyTorch's gradients where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import checkout
from aerocam.errors import UnsupportedOperatorError
from aerocam.export import export_model
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.nodes.builder import Builder
from aerocam.export.reading.graph import load_model
from onnx_graphs import f32, model, node, node_model, run_ort, run_reference, saved

GOLDEN = np.load(checkout.GOLDEN / "recurrence/torch.npz")


@dataclass(frozen=True)
class Form:
    """A node in one form: shapes are drawn, arrays are constants, None is absent."""

    op: str
    inputs: Sequence[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 17

    def __str__(self) -> str:
        return f"{self.op}-" + ",".join(f"{name}={value}" for name, value in self.attributes.items())

    def proto(self) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
        """Return the model of the node, and feeds for what is drawn."""
        names = ["" if item is None else f"x{i}" for i, item in enumerate(self.inputs)]
        pairs = list(zip(names, self.inputs, strict=True))
        feeds = {name: f32(*item, seed=int(name[1:])) for name, item in pairs if isinstance(item, tuple)}
        constants = {name: item for name, item in pairs if isinstance(item, np.ndarray)}
        return node_model(self.op, feeds, constants, names, self.attributes, self.outputs, self.opset), feeds


def recurrent(op: str, gates: int, directions: int = 1, *, bare: bool = False, **attributes: Any) -> Form:
    """A recurrent node over 4 steps of 2 sequences: with all its inputs, or with its weights alone."""
    hidden, state = 5, (directions, 2, 5)
    inputs: list[Any] = [(4, 2, 3), f32(directions, gates * hidden, 3), f32(directions, gates * hidden, hidden, seed=1)]
    if not bare:
        inputs += [f32(directions, 2 * gates * hidden), np.full(2, 4, np.int32), state]
    if op == "LSTM" and not bare:
        inputs += [state, f32(directions, 3 * hidden, seed=2)]
    return Form(op, inputs, {"hidden_size": hidden, **attributes}, 3 if op == "LSTM" else 2)


HALF = f32(1, 1, 4, 8)
RECURRENT = [
    recurrent("LSTM", 4),
    recurrent("LSTM", 4, bare=True, direction="reverse"),
    recurrent("LSTM", 4, 2, direction="bidirectional"),
    recurrent("LSTM", 4, input_forget=1),
    recurrent("LSTM", 4, 2, direction="bidirectional",
              activations=["HardSigmoid", "Softsign", "Relu", "Sigmoid", "Elu", "tanh"]),
    recurrent("GRU", 3),
    recurrent("GRU", 3, 2, direction="bidirectional", linear_before_reset=1),
    recurrent("GRU", 3, bare=True, direction="reverse", linear_before_reset=1),
    recurrent("RNN", 1),
    recurrent("RNN", 1, 2, direction="bidirectional", activations=["Relu", "Tanh"]),
    recurrent("RNN", 1, bare=True),
]  # fmt: skip
OTHERS = [
    Form("AffineGrid", [(2, 2, 3), np.array([2, 3, 4, 5])], {}, opset=20),
    Form("AffineGrid", [(2, 3, 4), np.array([2, 1, 3, 4, 5])], {"align_corners": 1}, opset=20),
    Form("CenterCropPad", [(3, 6, 5), np.array([4, 8])], {"axes": [1, 2]}, opset=18),
    Form("Col2Im", [(2, 18, 16), np.array([5, 6]), np.array([2, 3])], {}, opset=18),
    Form("Col2Im", [(1, 8, 9), np.array([6, 7]), np.array([2, 2])],
         {"strides": [2, 2], "pads": [1, 0, 0, 1], "dilations": [1, 2]}, opset=18),
    Form("Col2Im", [(1, 4, 5), np.array([6]), np.array([2])], {"pads": [0, 0]}, opset=18),
    Form("CumProd", [(3, 7), np.array(1)], {}, opset=26),
    Form("CumProd", [(3, 7), np.array(-1)], {"exclusive": 1, "reverse": 1}, opset=26),
    Form("CumProd", [(5, 2), np.array(0)], {"reverse": 1}, opset=26),
    Form("MeanVarianceNormalization", [(6, 4)], {"axes": [0]}, opset=13),
    Form("Einsum", [(1, 3, 4, 5), (3, 6)], {"equation": "n...hw,...d->n...dhw"}),
    Form("Einsum", [(1, 3, 4, 5), (1, 3, 5, 6)], {"equation": "...ij, ...jk"}),
    Form("Einsum", [(2, 3, 4), (4, 5)], {"equation": "...i,ij"}),
    Form("RotaryEmbedding", [(1, 2, 4, 8), f32(1, 4, 4), f32(1, 4, 4, seed=1)], {"interleaved": 1}, opset=23),
    Form("RotaryEmbedding", [(1, 4, 16), f32(9, 2), f32(9, 2, seed=1), np.array([[0, 5, 2, 8]])],
         {"num_heads": 2, "rotary_embedding_dim": 4}, opset=23),
    Form("Shrink", [(3, 20)], {"lambd": 0.7, "bias": 0.25}),
    Form("Shrink", [(3, 20)], {}),
    Form("TensorScatter", [(2, 6, 3), (2, 2, 3), np.array([1, 4])], {}, opset=24),
    Form("TensorScatter", [(2, 4, 3), (2, 2, 3), np.array([1, 3])], {"mode": "circular"}, opset=24),
    Form("Attention", [(1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), f32(3, 5), (1, 2, 2, 4), (1, 2, 2, 4)], {}, 3, 23),
    Form("Attention", [(1, 3, 8), (1, 5, 8), (1, 5, 8)],
         {"q_num_heads": 2, "kv_num_heads": 2, "softcap": 2.0, "is_causal": 1}, 1, 23),
]  # fmt: skip


@pytest.mark.parametrize("form", [*RECURRENT, *OTHERS], ids=str)
def test_what_is_read_has_the_same_numbers(tmp_path: Path, form: Form) -> None:
    """Of ONNX Runtime where it has the operator, else of onnx's reference implementation."""
    proto, feeds = form.proto()
    loaded = load_model(saved(tmp_path, proto))
    left = {item.op_type for item in loaded.graph}
    assert form.op not in left - {"Einsum"}
    assert not any("." in item.attributes.get_string("equation", "") for item in loaded.graph)
    run = run_reference if form.op in ("CumProd", "TensorScatter") else run_ort
    for a, b in zip(run(proto, feeds), run_ort(ir.to_proto(loaded), feeds), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6)


def test_products_of_zeros_have_their_gradient(tmp_path: Path) -> None:
    """By hand: x = (2, 0, 3), y = (2, 0, 0), so dy1 / dx1 = 2, and dy2 / dx1 = 2 * 3."""
    proto = node_model("CumProd", {"x": f32(3)}, {"axis": np.array(0)}, ["x", "axis"], {}, opset=26)
    found = gradients(load_model(saved(tmp_path, proto)), {"x": np.float32([2, 0, 3])}, [np.float32([1, 10, 100])])
    np.testing.assert_array_equal(found["x"], np.float32([1 + 0 + 0, 20 + 600, 0]))


def gradients(
    loaded: ir.Model, feeds: Mapping[str, NDArray[Any]], weights: Sequence[NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Gradients of the sum of weights * outputs at every input, by name."""
    op = Builder(loaded.graph)
    outputs = [*loaded.graph.outputs]
    terms = [op.sum(op.reshape(op.Mul(y, w), -1), [0]) for y, w in zip(outputs, weights, strict=False)]
    found = differentiate(op, op.total(terms), op.constant(np.float32([1])), loaded.graph.inputs)
    names = [str(value.name) for value in loaded.graph.inputs]
    for name, value in zip(names, found, strict=True):
        op.output(value, f"d{name}")
    return dict(zip(names, run_ort(ir.to_proto(loaded), feeds, [f"d{name}" for name in names]), strict=True))


@pytest.mark.parametrize("name", sorted({key.partition("/")[0] for key in GOLDEN}))
def test_unrolled_steps_have_the_gradients_of_pytorch(tmp_path: Path, name: str) -> None:
    arrays = {key.partition("/")[2]: GOLDEN[key] for key in GOLDEN if key.startswith(name + "/")}
    kind, direction = name.split("-")
    feeds = {key: arrays[key] for key in ("x", "h", "c") if key in arrays}
    names = ["x", "W", "R", "B", "", *(key for key in ("h", "c") if key in arrays)]
    attributes = {"hidden_size": arrays["h"].shape[2], "direction": direction}
    attributes |= {"linear_before_reset": 1} if kind == "GRU" else {}
    count = len(feeds)
    proto = node_model(kind, feeds, {key: arrays[key] for key in "WRB"}, names, attributes, outputs=count)
    path = saved(tmp_path, proto)
    np.testing.assert_allclose(run_ort(ir.to_proto(load_model(path)), feeds)[0], arrays["y"], rtol=1e-5, atol=1e-6)
    weights = [arrays["y_weights"], *(np.ones_like(arrays[key]) for key in feeds if key != "x")]
    for key, found in gradients(load_model(path), feeds, weights).items():
        np.testing.assert_allclose(found, arrays[f"d{key}"], rtol=1e-5, atol=1e-5, err_msg=key)


def reader(**attributes: Any) -> onnx.ModelProto:
    """A reader of text in small: a convolution, an LSTM along its columns, class scores."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("ReduceMax", ["r"], ["columns"], axes=[2], keepdims=0),
        node("Transpose", ["columns"], ["steps"], perm=[2, 0, 1]),
        node("LSTM", ["steps", "W", "R"], ["", "h"], name="lstm", hidden_size=5, **attributes),
        node("Squeeze", ["h", "first"], ["f"]),
        node("MatMul", ["f", "k"], ["y"]),
    ]
    weights = {
        "w": f32(4, 3, 3, 3), "W": f32(1, 20, 4), "R": f32(1, 20, 5), "first": np.array([0]), "k": f32(5, 3),
    }  # fmt: skip
    return model(nodes, {"x": f32(1, 3, 8, 12)}, weights, ["y"])


def test_layers_in_front_of_an_lstm_are_explained(tmp_path: Path) -> None:
    done = export_model(saved(tmp_path, reader()), layers="r")
    assert done.report is not None
    assert done.report.gradients["r"] < 0.1


def test_a_form_that_is_not_unrolled_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(
        tmp_path, reader(activations=["Affine", "Tanh", "Tanh"], activation_alpha=[0.5], activation_beta=[0.1])
    )
    with pytest.raises(UnsupportedOperatorError, match=r"operator LSTM \(node 'lstm', .*activations with parameters"):
        export_model(path, layers="r")
