"""The logits behind an output: found through whatever makes probabilities of them, and only through that."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper, parser

from aerocam.export.scores.logits import Logits, chosen_from, is_bounded, logits_behind

WEIGHTS = {
    "w": np.eye(4, dtype=np.float32),
    "zero": np.float32(0),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "hundred": np.float32(100),
    "tenth": np.float32(0.1),
    "double": np.float32(2),
    "first": np.array([0]),
    "last": np.array([-1]),
    "two": np.array([2]),
    "order": np.array([2, 0, -1]),
    "view": np.array([1, 4, 1, 1]),
}


def output(text: str) -> ir.Value:
    """`y` of a graph that computes the logits a and b (1, 4) from x by a product with weights each."""
    head = '<ir_version: 8, opset_import: ["": 18]> g (float[1,4] x) => (float y)'
    proto = parser.parse_model(f"{head} {{ a = MatMul(x, w) b = MatMul(a, w) {text} }}")
    read = {name for node in proto.graph.node for name in node.input}
    weights = (numpy_helper.from_array(WEIGHTS[name], name) for name in sorted(read & WEIGHTS.keys()))
    proto.graph.initializer.extend(weights)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    return model.graph.outputs[0]


def found(value: ir.Value) -> tuple[str, str, tuple[str, ...], tuple[int, ...]]:
    made: Logits = logits_behind(value)
    return str(made.value.name), made.activation, tuple(str(x.name) for x in made.others), made.order


FORMS = {
    "logits": ("y = Identity(a)", "a", "none", (), ()),
    "softmax": ("y = Softmax<axis=1>(a)", "a", "softmax", (), ()),
    "sigmoid, seen as a picture": ("s = Sigmoid(a) y = Reshape(s, view)", "a", "sigmoid", (), ()),
    "logarithm of a softmax": ("y = LogSoftmax(a)", "a", "none", (), ()),
    "limits": ("s = Softmax(a) y = Clip(s, zero, one)", "a", "softmax", (), ()),
    "limits that cut": ("s = Sigmoid(a) y = Clip(s, tenth, one)", "y", "none", (), ()),
    "per cent": ("s = Softmax(a) y = Mul(hundred, s)", "a", "softmax", (), ()),
    "logits times a number": ("y = Mul(a, half)", "y", "none", (), ()),
    "some classes in another order": ("s = Softmax(a) y = Gather<axis=1>(s, order)", "a", "softmax", (), (2, 0, 3)),
    "written out": ("e = Exp(a) t = ReduceSum<keepdims=1>(e, last) y = Div(e, t)", "a", "softmax", (), ()),
    "written out, safely": (
        "m = ReduceMax<keepdims=1>(a, last) d = Sub(a, m) e = Exp(d) t = ReduceSum(e, last) y = Div(e, t)",
        "a",
        "softmax",
        (),
        (),
    ),
    "sums to something else": ("e = Exp(a) t = ReduceSum(b, last) y = Div(e, t)", "y", "none", (), ()),
    "sigmoid written out": ("n = Neg(a) e = Exp(n) t = Add(one, e) y = Div(one, t)", "a", "sigmoid", (), ()),
    "mean": ("p = Softmax(a) q = Softmax(b) y = Mean(p, q)", "a", "softmax", ("b",), ()),
    "half of a sum": ("p = Softmax(a) q = Softmax(b) s = Add(p, q) y = Div(s, double)", "a", "softmax", ("b",), ()),
    "mean over a new axis": (
        "p = Softmax(a) q = Softmax(b) j = Concat<axis=0>(p, q) y = ReduceMean<keepdims=1>(j, first)",
        "a",
        "softmax",
        ("b",),
        (),
    ),
    "mean of a softmax and sigmoids": ("p = Softmax(a) q = Sigmoid(b) y = Mean(p, q)", "y", "none", (), ()),
    "sum that is no mean": ("p = Softmax(a) q = Softmax(b) s = Add(p, q) y = Mul(s, tenth)", "y", "none", (), ()),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_logits_behind_an_output(form: str) -> None:
    text, *expected = FORMS[form]
    assert found(output(text)) == tuple(expected)


def test_what_a_choice_is_of() -> None:
    for text in ("s = Softmax(a) y, i = TopK<axis=1>(s, two)", "s = Softmax(a) v, i = TopK(s, two) y = Cast<to=1>(i)"):
        assert chosen_from(output(text)).name == "s"
    assert chosen_from(output("s = Softmax(a) i = ArgMax<axis=1, keepdims=0>(s) y = Cast<to=1>(i)")).name == "s"
    assert chosen_from(output("y = Softmax(a)")).name == "y"


def test_numbers_that_something_keeps_within_limits() -> None:
    assert is_bounded(output("s = Sigmoid(a) t = Tanh(b) y = Mul(s, t)"))
    assert not is_bounded(output("r = Relu(a) y = Mul(r, half)"))
    assert not is_bounded(output("s = Sigmoid(a) m = MatMul(s, w) y = Relu(m)"))
