"""The rule table: every adjoint rule against central finite differences (`rule_check`), and cases beside it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from aerocam.errors import ModelError, UnsupportedOperatorError
from aerocam.export.gradients.adjoints import ADJOINTS, NO_GRADIENT, indexing, sampling
from aerocam.export.gradients.adjoints.registry import REFUSED
from aerocam.export.gradients.autodiff import differentiate
from aerocam.export.nodes.builder import Builder
from onnx_graphs import model, node_model, run_ort
from rule_check import check_rule
from rule_table import CASES
from rule_table.case import Case, f32, i64
from rule_table.quantization import STRAIGHT_THROUGH


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_matches_central_differences(case: Case) -> None:
    check_rule(case)


def test_every_rule_has_a_row() -> None:
    assert {case.op for case in CASES} == ADJOINTS.keys() - STRAIGHT_THROUGH
    dynamic = {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger"}  # which have tests of their own
    assert dynamic.union(*(graph.operators for graph in QUANTISED.values())) >= STRAIGHT_THROUGH


def test_no_operator_has_both_a_rule_and_no_gradient() -> None:
    assert not ADJOINTS.keys() & NO_GRADIENT


def run_adjoint(proto: onnx.ModelProto, feeds: dict[str, NDArray[Any]], seed: NDArray[Any]) -> NDArray[Any]:
    """The gradient at a model's first input, for a constant cotangent of its output."""
    graph = ir.from_proto(proto).graph
    op = Builder(graph)
    (dx,) = differentiate(op, graph.outputs[0], op.constant(seed), [graph.inputs[0]])
    op.output(dx, "dx")
    return run_ort(ir.to_proto(ir.Model(graph, ir_version=8)), feeds, ["dx"])[0]


def test_a_value_used_three_times_gets_the_sum() -> None:
    """(x * x) * x + x: by its two places in one node and by two more nodes."""
    x = f32(2, 3)
    nodes = [
        onnx.helper.make_node("Mul", ["x", "x"], ["square"]),
        onnx.helper.make_node("Mul", ["square", "x"], ["cube"]),
        onnx.helper.make_node("Add", ["cube", "x"], ["y"]),
    ]
    found = run_adjoint(model(nodes, {"x": x}, {}, ["y"]), {"x": x}, np.ones_like(x))
    np.testing.assert_allclose(found, 3 * x**2 + 1, rtol=1e-5)


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("seed", [1.0, -3.0])
def test_gemm_of_one_logit_is_its_row_times_the_seed(trans_b: int, seed: float) -> None:
    """The form without a product, which a constant seed of one entry takes."""
    x, row = f32(1, 4), f32(1, 5)[:, :4]
    attributes = {"transB": trans_b, "alpha": 0.5}
    weight = row if trans_b else row.T
    proto = node_model("Gemm", {"x": x}, {"w": weight}, ["x", "w"], attributes)
    np.testing.assert_allclose(run_adjoint(proto, {"x": x}, np.float32([[seed]])), 0.5 * seed * row, rtol=1e-6)


def test_batch_normalization_with_computed_statistics() -> None:
    """Scale and variance as they come out of other nodes; as constants they are in the table."""
    x, scale, variance, dy = f32(2, 4, 3), f32(4), f32(4, low=0.5, high=2), f32(2, 4, 3, low=-2)
    feeds = {"x": x, "s": scale, "v": variance}
    constants = {"b": f32(4), "m": f32(4)}
    proto = node_model("BatchNormalization", feeds, constants, ["x", "s", "b", "m", "v"], {"epsilon": 0.125})
    expected = dy * (scale / np.sqrt(variance + 0.125))[:, None]
    np.testing.assert_allclose(run_adjoint(proto, feeds, dy), expected, rtol=1e-5)


@pytest.mark.parametrize(("stride", "dilation"), [(2, 2), (2, 3), (3, 2)])
def test_a_strided_and_dilated_convolution_with_a_computed_weight(stride: int, dilation: int) -> None:
    """Its flipped weight is computed too: the same numbers as with the weight in the file."""
    x, w = f32(1, 4, 11, 9), f32(6, 2, 2, 3)
    attributes = {"group": 2, "strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [1, 2, 0, 1]}
    fixed = node_model("Conv", {"x": x}, {"w": w}, ["x", "w"], attributes)
    dy = f32(*run_ort(fixed, {"x": x})[0].shape)
    halved = onnx.helper.make_node("Mul", ["w", "s"], ["k"])
    nodes = [halved, onnx.helper.make_node("Conv", ["x", "k"], ["y"], **attributes)]
    computed = model(nodes, {"x": x, "s": np.float32([1])}, {"w": w}, ["y"])
    found = run_adjoint(computed, {"x": x, "s": np.float32([1])}, dy)
    np.testing.assert_allclose(found, run_adjoint(fixed, {"x": x}, dy), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [2, 3])
def test_max_pool_gives_a_tie_to_its_first_maximum(kernel: int) -> None:
    """As PyTorch does: row-major order inside each window, overlapping windows add up."""
    x = np.random.default_rng(0).integers(0, 2, (1, 2, 6, 5)).astype(np.float32)
    proto = node_model("MaxPool", {"x": x}, {}, ["x"], {"kernel_shape": [kernel] * 2, "strides": [2, 2]})
    size = run_ort(proto, {"x": x})[0].shape
    dy = np.random.default_rng(1).standard_normal(size).astype(np.float32)
    expected = np.zeros_like(x)
    for index in np.ndindex(size):
        n, c, row, column = index
        window = x[n, c, 2 * row : 2 * row + kernel, 2 * column : 2 * column + kernel]
        i, j = np.unravel_index(window.argmax(), window.shape)
        expected[n, c, 2 * row + i, 2 * column + j] += dy[index]
    np.testing.assert_allclose(run_adjoint(proto, {"x": x}, dy), expected)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 3), (1, 2, 3, 2, 2)])
def test_global_max_pool_gives_a_tie_to_its_first_maximum(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 2, shape).astype(np.float32)
    proto = node_model("GlobalMaxPool", {"x": x}, {}, ["x"], {})
    dy = f32(*shape[:2], *(1 for _ in shape[2:]))
    flat = x.reshape(*shape[:2], -1)
    expected = np.where(np.arange(flat.shape[2]) == flat.argmax(2)[..., None], dy.reshape(*shape[:2], 1), 0)
    np.testing.assert_array_equal(run_adjoint(proto, {"x": x}, dy), expected.reshape(shape))


def test_lp_pool_of_zeros_has_gradient_zero() -> None:
    x = np.zeros((1, 2, 4), np.float32)
    proto = node_model("LpPool", {"x": x}, {}, ["x"], {"kernel_shape": [2]})
    np.testing.assert_array_equal(run_adjoint(proto, {"x": x}, f32(1, 2, 3)), x)


def test_max_unpool_with_a_given_output_shape() -> None:
    """Its indices count over that shape, in ONNX Runtime."""
    x, places, dy = f32(1, 1, 2, 2), np.array([[[[5, 7], [13, 19]]]]), f32(1, 1, 5, 5)
    constants = {"i": places, "shape": i64(1, 1, 5, 5)}
    proto = node_model("MaxUnpool", {"x": x}, constants, ["x", "i", "shape"], {"kernel_shape": [2, 2]})
    np.testing.assert_array_equal(run_adjoint(proto, {"x": x}, dy), dy.ravel()[places])


def test_a_gradient_passes_max_pool_whose_indices_go_to_max_unpool() -> None:
    """Values and indices of one MaxPool: the maxima get the gradient, in their places."""
    x = np.random.default_rng(0).permutation(48).reshape(1, 2, 6, 4).astype(np.float32)
    window = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        onnx.helper.make_node("MaxPool", ["x"], ["pooled", "indices"], **window),
        onnx.helper.make_node("Mul", ["pooled", "pooled"], ["squares"]),
        onnx.helper.make_node("MaxUnpool", ["squares", "indices"], ["y"], **window),
    ]
    found = run_adjoint(model(nodes, {"x": x}, {}, ["y"]), {"x": x}, np.full_like(x, 3))
    blocks = x.reshape(1, 2, 3, 2, 2, 2)
    largest = blocks == blocks.max((3, 5), keepdims=True)
    np.testing.assert_allclose(found, np.where(largest, 6 * blocks, 0).reshape(x.shape), rtol=1e-6)


def test_a_query_that_sees_no_key_gives_no_gradient() -> None:
    """Attention gives it 0 for all probabilities, where a softmax would give each key the same."""
    q, k, v, dy = f32(1, 1, 3, 2), f32(1, 1, 4, 2), f32(1, 1, 4, 5), f32(1, 1, 3, 5)
    seen = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]], bool)
    scores = np.where(seen, np.exp(q @ k.swapaxes(2, 3) / np.sqrt(2)), 0)
    p = scores / np.maximum(scores.sum(3, keepdims=True), 1e-9)
    feeds = {"v": v, "q": q, "k": k}
    proto = node_model("Attention", feeds, {"seen": seen}, ["q", "k", "v", "seen"], {}, opset=23)
    np.testing.assert_allclose(run_adjoint(proto, feeds, dy), p.swapaxes(2, 3) @ dy, rtol=1e-5)


def test_a_value_of_unknown_type_is_refused_not_passed_over() -> None:
    """X + f(X) with an f whose type onnx's shape inference leaves open: the gradient of X alone would be wrong."""
    x, one = f32(1, 2, 3), np.ones(2, np.float32)
    nodes = [
        onnx.helper.make_node("GroupNormalization", ["x", "s", "s"], ["normal"], num_groups=1),
        onnx.helper.make_node("Add", ["x", "normal"], ["y"]),
    ]
    graph = ir.from_proto(model(nodes, {"x": x}, {"s": one}, ["y"], opset=21)).graph
    graph.outputs[0].dtype, graph.outputs[0].shape = graph.inputs[0].dtype, graph.inputs[0].shape
    with pytest.raises(ModelError, match=r"'normal'.*its shape is unknown"):
        differentiate(op := Builder(graph), graph.outputs[0], op.constant(x), [graph.inputs[0]])


def test_relu_and_relu6_take_pytorch_s_side_at_the_kinks() -> None:
    x = np.float32([[-1, 0, 3, 6, 7]])
    for op_type, order, constants, expected in [
        ("Relu", ["x"], {}, [[0, 0, 1, 1, 1]]),
        ("Clip", ["x", "lo", "hi"], {"lo": np.float32(0), "hi": np.float32(6)}, [[0, 0, 1, 0, 0]]),
    ]:
        proto = node_model(op_type, {"x": x}, constants, order, {})
        np.testing.assert_array_equal(run_adjoint(proto, {"x": x}, np.ones_like(x)), expected)


@dataclass(frozen=True)
class Quantised:
    """A graph x -> y through quantised values, and a function of NumPy for its gradient at x.

    `expected(x, dy)`: the gradient where every rounding counts as Identity and saturation as Clip.
    """

    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]]
    constants: dict[str, NDArray[Any]]
    shape: tuple[int, ...]
    expected: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]

    @property
    def operators(self) -> set[str]:
        return {node[0] for node in self.nodes}


def passes(x: NDArray[Any], scale: Any, zero: Any, low: int, high: int) -> NDArray[np.bool_]:
    """Where x, in steps, is rounded to a number from `low` to `high`."""
    level = np.rint(x / np.float32(scale)) + np.asarray(zero, np.int64)
    return (low <= level) & (level <= high)


def dequantised(q: NDArray[Any], scale: Any, zero: Any) -> NDArray[np.float64]:
    return (q.astype(np.float64) - np.asarray(zero, np.float64)) * scale


def quantised(x: NDArray[Any], scale: Any, zero: Any, low: int, high: int) -> NDArray[np.float64]:
    return np.clip(np.rint(x / np.float32(scale)) + np.asarray(zero, np.int64), low, high)


def q_then_dq(axis: int | None = None, **given: Any) -> Quantised:
    """Written with one scale, moved, read with another. int8 and uint8, per tensor and per slice."""
    zero, scale = given["zero"], np.float32(given["scale"])
    low, high = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    shape = (1, 3, 4, 5)
    per_slice = [1, 1, 1, 1]
    if axis is not None:
        per_slice[axis] = -1
    wide_scale, wide_zero = (part.reshape(per_slice) if axis is not None else part for part in (scale, zero))
    read = np.float32(0.5)

    def expected(x: NDArray[Any], dy: NDArray[Any]) -> NDArray[Any]:
        back = dy.reshape(4, 3, 5).transpose(1, 0, 2)[None] * read / wide_scale
        return np.where(passes(x, wide_scale, wide_zero, low, high), back, 0)

    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], attributes),
        ("Transpose", ["q"], ["t"], {"perm": [0, 2, 1, 3]}),
        ("Reshape", ["t", "flat"], ["r"], {}),
        ("DequantizeLinear", ["r", "read", "read_zero"], ["y"], {}),
    ]
    constants = {"scale": scale, "zero": zero, "read": read, "read_zero": zero.ravel()[0], "flat": i64(4, 15)}
    return Quantised(nodes, {k: np.asarray(v) for k, v in constants.items()}, shape, expected)


def read_per_slice() -> Quantised:
    read = np.float32([0.5, 2, 3])

    def expected(x: NDArray[Any], dy: NDArray[Any]) -> NDArray[Any]:
        return np.where(passes(x, 0.01, 0, 0, 255), dy * read[:, None, None] / np.float32(0.01), 0)

    nodes = [
        ("QuantizeLinear", ["x", "scale"], ["q"], {}),
        ("DequantizeLinear", ["q", "read"], ["y"], {"axis": -3}),
    ]
    return Quantised(nodes, {"scale": np.float32(0.01), "read": read}, (1, 3, 4, 5), expected)


def max_pool_of_integers() -> Quantised:
    def expected(x: NDArray[Any], dy: NDArray[Any]) -> NDArray[Any]:
        q = quantised(x, 0.01, 3, -128, 127).reshape(1, 2, 3, 2)
        first = np.arange(2) == q.argmax(3)[..., None]
        routed = np.where(first, dy[..., None], 0).reshape(x.shape)
        return np.where(passes(x, 0.01, 3, -128, 127), routed, 0)

    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], {}),
        ("MaxPool", ["q"], ["p"], {"kernel_shape": [2], "strides": [2]}),
        ("DequantizeLinear", ["p", "scale", "zero"], ["y"], {}),
    ]
    return Quantised(nodes, {"scale": np.float32(0.01), "zero": np.int8(3)}, (1, 2, 6), expected)


def qlinear_conv(bias: bool, per_channel: bool) -> Quantised:
    """Of a 1 x 1 kernel and stride 2, so that NumPy has it in one Einsum; some of its results are saturated."""
    rng = np.random.default_rng(2)
    w = rng.integers(-100, 100, (4, 3, 1, 1)).astype(np.int8)
    w_scale = np.float32([0.01, 0.02, 0.03, 0.005]) if per_channel else np.float32(0.02)
    w_zero = np.zeros(4, np.int8) if per_channel else np.int8(0)
    b = rng.integers(-9000, 9000, 4).astype(np.int32)
    weight = dequantised(w, w_scale.reshape(-1, 1, 1, 1), 0)[:, :, 0, 0]
    offset = b * 0.01 * w_scale if bias else np.zeros(4)

    def expected(x: NDArray[Any], dy: NDArray[Any]) -> NDArray[Any]:
        real = dequantised(quantised(x, 0.01, 130, 0, 255), 0.01, 130)[:, :, ::2, ::2]
        result = np.einsum("oc,nchw->nohw", weight, real) + offset[:, None, None]
        kept = np.where(passes(result, 0.02, 120, 0, 255), dy, 0)
        assert 0 < np.mean(kept != 0) < 1
        dx = np.zeros(x.shape)
        dx[:, :, ::2, ::2] = np.einsum("oc,nohw->nchw", weight, kept)
        return np.where(passes(x, 0.01, 130, 0, 255), dx, 0)

    nodes = [
        ("QuantizeLinear", ["x", "xs", "xz"], ["q"], {}),
        ("QLinearConv", ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", *(["b"] if bias else [])], ["p"],
         {"strides": [2, 2], "auto_pad": "VALID"}),
        ("DequantizeLinear", ["p", "ys", "yz"], ["y"], {}),
    ]  # fmt: skip
    constants = {"xs": np.float32(0.01), "xz": np.uint8(130), "w": w, "ws": w_scale, "wz": w_zero,
                 "ys": np.float32(0.02), "yz": np.uint8(120), "b": b}  # fmt: skip
    if not bias:
        del constants["b"]
    return Quantised(nodes, constants, (1, 3, 6, 5), expected)


def qlinear_matmul(right: bool) -> Quantised:
    """The image as the right factor, or as the left one with a weight that has a scale per column."""
    rng = np.random.default_rng(3)
    w = rng.integers(0, 255, (5, 4)).astype(np.uint8)
    w_scale, w_zero = (np.float32(0.02), np.uint8(128)) if right else (np.float32([0.01, 0.02, 0.03, 0.02]), None)
    w_zero = np.full(4, 128, np.uint8) if w_zero is None else w_zero
    weight = dequantised(w, w_scale, 128)

    def expected(x: NDArray[Any], dy: NDArray[Any]) -> NDArray[Any]:
        real = dequantised(quantised(x, 0.01, 120, 0, 255), 0.01, 120)
        result = weight @ real if right else real @ weight
        kept = np.where(passes(result, 0.04, 100, 0, 255), dy, 0)
        dx = weight.T @ kept if right else kept @ weight.T
        return np.where(passes(x, 0.01, 120, 0, 255), dx, 0)

    left, other = (["w", "ws", "wz"], ["q", "xs", "xz"]) if right else (["q", "xs", "xz"], ["w", "ws", "wz"])
    nodes = [
        ("QuantizeLinear", ["x", "xs", "xz"], ["q"], {}),
        ("QLinearMatMul", [*left, *other, "ys", "yz"], ["p"], {}),
        ("DequantizeLinear", ["p", "ys", "yz"], ["y"], {}),
    ]
    constants = {"xs": np.float32(0.01), "xz": np.uint8(120), "w": w, "ws": w_scale, "wz": w_zero,
                 "ys": np.float32(0.04), "yz": np.uint8(100)}  # fmt: skip
    return Quantised(nodes, constants, (2, 4, 3) if right else (2, 3, 5), expected)


QUANTISED = {
    "int8": q_then_dq(scale=0.01, zero=np.int8(0)),
    "uint8": q_then_dq(scale=0.01, zero=np.uint8(100)),
    "per-slice": q_then_dq(axis=1, scale=[0.005, 0.01, 0.03], zero=np.int8([0, 0, 0])),
    "per-slice-from-the-end": q_then_dq(axis=-1, scale=[0.005, 0.01, 0.03, 0.02, 0.01], zero=np.int8([0, 90, 5, 0, 0])),
    "read-per-slice": read_per_slice(),
    "max-pool": max_pool_of_integers(),
    "conv": qlinear_conv(bias=False, per_channel=False),
    "conv-per-channel": qlinear_conv(bias=True, per_channel=True),
    "matmul-left": qlinear_matmul(right=False),
    "matmul-right": qlinear_matmul(right=True),
}


@pytest.mark.parametrize("name", QUANTISED)
def test_a_gradient_goes_straight_through(name: str) -> None:
    """Rounding passes the gradient on, saturation stops it; both happen in each of the graphs."""
    graph = QUANTISED[name]
    x = np.random.default_rng(0).uniform(-2, 2, graph.shape).astype(np.float32)
    nodes = [onnx.helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in graph.nodes]
    proto = model(nodes, {"x": x}, graph.constants, ["y"])
    dy = np.random.default_rng(1).uniform(0.5, 1, run_ort(proto, {"x": x})[0].shape).astype(np.float32)
    expected = graph.expected(x, dy)
    assert (expected == 0).any()
    np.testing.assert_allclose(run_adjoint(proto, {"x": x}, dy), expected, rtol=1e-4, atol=1e-4)


def test_integers_that_arithmetic_reads_are_refused() -> None:
    """A sum of them with other integers has no scale; its gradient would be one in name only."""
    x = f32(2, 3)
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "scale"], ["q"]),
        onnx.helper.make_node("Max", ["q", "seven"], ["m"], name="node"),
        onnx.helper.make_node("DequantizeLinear", ["m", "scale"], ["y"]),
    ]
    constants = {"scale": np.float32(0.01), "seven": np.uint8(7)}
    graph = ir.from_proto(model(nodes, {"x": x}, constants, ["y"])).graph
    with pytest.raises(ModelError):
        differentiate(op := Builder(graph), graph.outputs[0], op.constant(x), [graph.inputs[0]])


def dynamically_quantised(product: str, weight: NDArray[Any], **zero: NDArray[Any]) -> onnx.ModelProto:
    """A product as onnxruntime's quantize_dynamic writes it: `x` rounded by its own range; a step of the weight."""
    node = onnx.helper.make_node
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "point"]),
        node(product, ["q", "w", "point", *zero], ["product"]),
        node("Cast", ["product"], ["real"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["scale", "step"], ["steps"]),
        node("Mul", ["real", "steps"], ["y"]),
    ]
    shape = (1, 3, 4, 4) if product == "ConvInteger" else (2, 3)
    constants = {"w": weight, "step": np.float32(0.02), **zero}
    return model(nodes, {"x": np.zeros(shape, np.float32)}, constants, ["y"])


@pytest.mark.parametrize("per_column", [True, False, None])
def test_a_gradient_goes_straight_through_dynamic_quantisation(per_column: bool | None) -> None:
    """As through the product of the real numbers; the scale and the zero point of `x` count as constants."""
    x, dy = f32(2, 3), f32(2, 4)
    w = np.arange(100, 112, dtype=np.uint8).reshape(3, 4)
    zero = {} if per_column is None else {"z": np.uint8([100, 105, 110, 90]) if per_column else np.uint8(105)}
    expected = dy @ (0.02 * (w.astype(float) - zero.get("z", 0))).T
    found = run_adjoint(dynamically_quantised("MatMulInteger", w, **zero), {"x": x}, dy)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_goes_straight_through_a_dynamically_quantised_convolution() -> None:
    x, dy = f32(1, 3, 4, 4), f32(1, 5, 3, 3)
    w = np.random.default_rng(0).integers(-99, 99, (5, 3, 2, 2)).astype(np.int8)
    found = run_adjoint(dynamically_quantised("ConvInteger", w), {"x": x}, dy)
    expected = np.zeros(x.shape)
    for i, j in np.ndindex(2, 2):
        expected[:, :, i : i + 3, j : j + 3] += np.einsum("oc,nohw->nchw", 0.02 * w[:, :, i, j].astype(float), dy)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op_type", sorted(REFUSED.keys() - ADJOINTS.keys() - {"If"}))  # an If is none without branches
def test_every_refused_operator_is_refused_by_name_and_with_its_reason(op_type: str) -> None:
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    blocker = ir.node(op_type, [x], name="node")
    y = blocker.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    graph = ir.Graph([x], [y], nodes=[blocker], opset_imports={"": 17})
    message = rf"{op_type} \(node 'node'.*: {re.escape(REFUSED[op_type])}; choose a target layer behind"
    op = Builder(graph)
    with pytest.raises(UnsupportedOperatorError, match=message):
        differentiate(op, y, op.constant(np.ones((2, 3), np.float32)), [x])


@pytest.mark.parametrize(
    ("op_type", "order", "constants", "attributes"),
    [
        ("Einsum", ["x"], {}, {"equation": "...i->...i"}),
        ("Slice", ["x", "computed", "computed"], {}, {}),
        ("Pad", ["x", "computed"], {}, {"mode": "reflect"}),
        ("Compress", ["x", "c"], {"c": np.array([True, False])}, {"axis": 0}),
        ("ScatterElements", ["x", "i", "u"], {"i": np.array([[1]]), "u": f32(1, 1)}, {"reduction": "mul"}),
        ("ScatterND", ["x", "i", "u"], {"i": np.array([[0, 1]]), "u": f32(1)}, {"reduction": "mul"}),
    ],
)
def test_what_has_no_rule_is_refused_by_name(op_type: str, order: list, constants: dict, attributes: dict) -> None:
    x = np.ones((2, 3), np.float32)
    graph = ir.from_proto(node_model(op_type, {"x": x}, constants, order, attributes)).graph
    op = Builder(graph)
    with pytest.raises(UnsupportedOperatorError, match=rf"{op_type} \(node 'node'.*choose a target layer behind"):
        differentiate(op, graph.outputs[0], op.constant(np.ones((2, 3), np.float32)), [graph.inputs[0]])


@pytest.mark.parametrize(
    ("op_type", "inputs", "constants", "attributes", "opset", "expected"),
    [
        ("Abs", [[-2, 0, 2]], [], {}, 17, [-1, 0, 1]),
        ("Max", [[1, 2, 3], [2, 2, 2]], [], {}, 17, [0, 0.5, 1]),
        ("Max", [[1, 2, 3]], [[2, 2, 2]], {}, 17, [0, 0.5, 1]),
        ("Min", [[1, 2, 3], [2, 2, 2]], [], {}, 17, [1, 0.5, 0]),
        ("Max", [[1, 2, 3], [2, 2, 2], [0, 2, 3]], [], {}, 17, [0, 1 / 3, 0.5]),
        ("Min", [[1, 2, 3], [2, 2, 2], [1, 3, 4]], [], {}, 17, [0.5, 0.5, 0]),
        ("Mod", [[-5, 5, 4]], [[3, 3, 2]], {"fmod": 1}, 17, [1, 1, 1]),
        ("Pow", [[-2, 0, 3]], [[3]], {}, 17, [12, 0, 27]),
        ("Pow", [[-2, 0, 3]], [[2]], {}, 17, [-4, 0, 6]),
        ("Pow", [[-2, 0, 3]], [[1]], {}, 17, [1, 1, 1]),
        ("Pow", [[-2, 0, 3]], [[0, 0, 0]], {}, 17, [0, 0, 0]),
        ("Pow", [[-2, -2, 0, 0, 0]], [[-1, 3, 0, 1, 2]], {}, 17, [-0.25, 12, 0, 1, 0]),
        ("Pow", [[-2, -2, 0, 0, 0], [-1, 3, 0, 1, 2]], [], {}, 17, [-0.25, 12, 0, 1, 0]),
        ("LeakyRelu", [[-1, 0, 1]], [], {"alpha": 0.25}, 17, [0.25, 0.25, 1]),
        ("PRelu", [[-1, 0, 1]], [[0.25]], {}, 17, [0.25, 0.25, 1]),
        ("ThresholdedRelu", [[0, 1, 2]], [], {"alpha": 1.0}, 17, [0, 0, 1]),
        ("Elu", [[0, 1]], [], {"alpha": 0.5}, 17, [0.5, 1]),
        ("Elu", [[0, 1]], [], {}, 17, [1, 1]),
        ("Selu", [[0, 1]], [], {"alpha": 0.5, "gamma": 3.0}, 17, [1.5, 3]),
        ("Celu", [[0, 1]], [], {"alpha": 0.5}, 17, [1, 1]),
        ("HardSigmoid", [[-3, 0, 3]], [], {"alpha": 1 / 6}, 17, [0, 1 / 6, 0]),
        ("HardSwish", [[-4, -3, 0, 3, 4]], [], {}, 17, [0, 0, 0.5, 1, 1]),
        ("Softsign", [[0, 1]], [], {}, 17, [1, 0.25]),
        ("Softplus", [[-200, 0, 200]], [], {}, 17, [0, 0.5, 1]),
        ("Mish", [[-200, 0, 200]], [], {}, 18, [0, 0.6, 1]),
        ("Gelu", [[-200, 0, 200]], [], {}, 20, [0, 0.5, 1]),
        ("Gelu", [[-200, 0, 200]], [], {"approximate": "tanh"}, 20, [0, 0.5, 1]),
        ("Swish", [[-200, 0, 200]], [], {"alpha": 2.0}, 24, [0, 0.5, 1]),
        ("ReduceMax", [[1, 3, 3, 3]], [], {}, 17, [0, 1 / 3, 1 / 3, 1 / 3]),
        ("ReduceMin", [[1, 3, 1, 3]], [], {}, 17, [0.5, 0, 0.5, 0]),
        ("ReduceMax", [[1, 3]], [], {"noop_with_empty_axes": 1}, 18, [1, 1]),
        ("ReduceL1", [[-2, 0, 2]], [], {}, 17, [-1, 0, 1]),
        ("ReduceL2", [[0, 0, 0]], [], {}, 17, [0, 0, 0]),
        ("ReduceL2", [[-3, 0, 4]], [], {}, 17, [-0.6, 0, 0.8]),
        ("ReduceLogSumExp", [[200, 0, 200]], [], {}, 17, [0.5, 0, 0.5]),
        ("ReduceProd", [[2, -3, 4]], [], {}, 17, [-12, 8, -6]),
        ("ReduceProd", [[2, 0, 4]], [], {}, 17, [0, 8, 0]),
        ("ReduceProd", [[2, 0, 0]], [], {}, 17, [0, 0, 0]),
    ],
)
def test_ties_kinks_and_zeros(
    op_type: str, inputs: list, constants: list, attributes: dict, opset: int, expected: list
) -> None:
    """The side PyTorch takes (`maximum`, `amax`, `leaky_relu`, ...), finite where the gradient is; the seed is 1."""
    feeds = {f"x{i}": np.float32(array) for i, array in enumerate(inputs)}
    fixed = {f"c{i}": np.float32(array) for i, array in enumerate(constants)}
    proto = node_model(op_type, feeds, fixed, [*feeds, *fixed], attributes, opset=opset)
    seed = np.ones_like(run_ort(proto, feeds)[0])
    np.testing.assert_allclose(run_adjoint(proto, feeds, seed), expected, rtol=1e-6, atol=1e-6)


def test_gradient_of_an_exponent_is_finite_at_bases_up_to_zero() -> None:
    """PyTorch has NaN where X < 0 and infinity at 0 to a negative power; here both are 0."""
    exponents, base = np.float32([-1, 2, 2, 0.5]), np.float32([0, 0, -2, 4])
    proto = node_model("Pow", {"p": exponents}, {"x": base}, ["x", "p"], {})
    found = run_adjoint(proto, {"p": exponents}, np.ones_like(base))
    np.testing.assert_allclose(found, [0, 0, 0, 2 * np.log(4)], rtol=1e-6)


HEADS = f32(1, 2, 4, 3)


@pytest.mark.parametrize(
    ("op_type", "x", "others", "attributes", "used"),
    [
        ("LayerNormalization", f32(2, 3), [f32(3)], {}, 1),
        ("LayerNormalization", f32(2, 3), [f32(3)], {}, 2),
        ("Attention", HEADS, [HEADS, HEADS], {"softcap": 2.0}, 0),
        ("Attention", HEADS, [HEADS, HEADS], {}, 3),
        ("Attention", HEADS, [HEADS, HEADS, None, HEADS, HEADS], {}, 0),
        ("Einsum", f32(2, 2), [], {"equation": "ii->i"}, 0),
        ("Einsum", f32(2, 1), [f32(3, 4)], {"equation": "ij,jk->ik"}, 0),
        ("QuantizeLinear", f32(2, 6), [f32(2, 2)], {"axis": 1, "block_size": 3}, 0),
    ],
)
def test_what_a_rule_does_not_cover_is_refused_by_name(
    op_type: str, x: NDArray[Any], others: list[Any], attributes: dict[str, Any], used: int
) -> None:
    constants = {f"c{i}": other for i, other in enumerate(others) if other is not None}
    order = ["x", *("" if other is None else f"c{i}" for i, other in enumerate(others))]
    count = {"LayerNormalization": 3, "Attention": 4}.get(op_type, 1)
    graph = ir.from_proto(node_model(op_type, {"x": x}, constants, order, attributes, count, opset=23)).graph
    score = graph.outputs[used]
    with pytest.raises(UnsupportedOperatorError, match=rf"{op_type} \(node 'node'\): .*expected; choose a target"):
        differentiate(op := Builder(graph), score, op.constant(np.ones((1,), np.float32)), [graph.inputs[0]])


@pytest.mark.parametrize("largest", [indexing.LARGEST_ONE_HOT, 0], ids=["one-hot", "scatter"])
@pytest.mark.parametrize(
    ("op_type", "shape", "indices", "attributes"),
    [
        ("Gather", (2, 4, 3), np.int64(-1), {"axis": 1}),
        ("Gather", (2, 4, 3), np.array([[0, 3], [3, -2]]), {"axis": 1}),
        ("GatherElements", (2, 4, 3), np.array([[[1, -1, 0], [1, 2, 3]]]), {"axis": 1}),
        ("GatherND", (3, 4, 5), np.array([[0, 1], [2, -1], [0, 1]]), {}),
        ("GatherND", (2, 4, 5), np.array([[[1], [1], [3]], [[0], [-2], [0]]]), {"batch_dims": 1}),
    ],
)
def test_computed_indices_give_what_constant_ones_give(
    op_type: str, shape: tuple, indices: NDArray, attributes: dict, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a one-hot mask, or by a scatter where that would be large; as constants they are in the table."""
    monkeypatch.setattr(indexing, "LARGEST_ONE_HOT", largest)
    x, indices = f32(*shape), np.asarray(indices)
    constant = node_model(op_type, {"x": x}, {"i": indices}, ["x", "i"], attributes)
    computed = node_model(op_type, {"x": x, "i": indices}, {}, ["x", "i"], attributes)
    dy = np.random.default_rng(0).standard_normal(run_ort(constant, {"x": x})[0].shape).astype(np.float32)
    expected = run_adjoint(constant, {"x": x}, dy)
    np.testing.assert_allclose(run_adjoint(computed, {"x": x, "i": indices}, dy), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample_by_corners_is_grid_sample_by_hats(
    mode: str, corners: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What many points or places take; the product of hats is in the table. Points in and outside of X."""
    x, grid = f32(2, 3, 4, 5), f32(2, 6, 2, 2, low=-1.6, high=1.6)
    grid[0, 0, 0] = (1, -1)  # on the last entry, or half an entry outside
    attributes = {"mode": mode, "align_corners": corners}
    proto = node_model("GridSample", {"x": x, "g": grid}, {}, ["x", "g"], attributes, opset=20)
    dy = f32(2, 3, 6, 2, low=-2)
    expected = run_adjoint(proto, {"x": x, "g": grid}, dy)
    monkeypatch.setattr(sampling, "LARGEST_WEIGHTS", 0)
    np.testing.assert_allclose(run_adjoint(proto, {"x": x, "g": grid}, dy), expected, rtol=1e-5, atol=1e-6)


def test_deform_conv_by_corners_is_deform_conv_by_hats(monkeypatch: pytest.MonkeyPatch) -> None:
    """What many points or places take; the product of hats is in the table. Points in and outside of X."""
    x, offset = f32(2, 4, 5, 6), f32(2, 16, 4, 5, low=-2, high=2)
    proto = node_model(
        "DeformConv", {"x": x}, {"w": f32(3, 4, 2, 2), "o": offset}, ["x", "w", "o"], {"offset_group": 2}, opset=19
    )
    dy = f32(2, 3, 4, 5, low=-2)
    expected = run_adjoint(proto, {"x": x}, dy)
    monkeypatch.setattr(sampling, "LARGEST_WEIGHTS", 0)
    np.testing.assert_allclose(run_adjoint(proto, {"x": x}, dy), expected, rtol=1e-5, atol=1e-5)


def test_deform_conv_of_a_volume_is_refused_by_name() -> None:
    x, offset = f32(1, 1, 2, 2, 2), f32(1, 3, 2, 2, 2)
    constants = {"w": f32(1, 1, 1, 1, 1), "o": offset}
    proto = node_model("DeformConv", {"x": x}, constants, ["x", "w", "o"], {}, opset=19)
    graph = ir.from_proto(proto).graph
    op = Builder(graph)
    with pytest.raises(UnsupportedOperatorError, match=r"DeformConv \(node 'node'\): 3 spatial axes.*choose a target"):
        differentiate(op, graph.outputs[0], op.constant(x), [graph.inputs[0]])


def test_roi_align_with_computed_regions() -> None:
    """As they come out of other nodes; as constants they are in the table."""
    x, rois = f32(2, 3, 7, 8), np.float32([[1, 1, 9, 10], [-3, 0, 18, 9], [0, 2.5, 5, 2.7]])
    images = np.array([1, 0, 1])
    attributes = {"output_height": 2, "output_width": 3, "sampling_ratio": 2, "spatial_scale": 0.5}
    order, dy = ["x", "r", "b"], f32(3, 3, 2, 3, low=-2)
    computed = node_model("RoiAlign", {"x": x, "r": rois, "b": images}, {}, order, attributes)
    constant = node_model("RoiAlign", {"x": x}, {"r": rois, "b": images}, order, attributes)
    found = run_adjoint(computed, {"x": x, "r": rois, "b": images}, dy)
    np.testing.assert_allclose(found, run_adjoint(constant, {"x": x}, dy), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "match"), [({"mode": "max", "sampling_ratio": 2}, "'max'"), ({}, "sampling_ratio 0")]
)
def test_regions_without_a_rule_are_refused_by_name(attributes: dict, match: str) -> None:
    feeds, constants = {"x": f32(1, 2, 5, 5), "p": f32(3, 4)}, {"b": np.zeros(3, np.int64)}
    graph = ir.from_proto(node_model("RoiAlign", feeds, constants, ["x", "p", "b"], attributes)).graph
    op = Builder(graph)
    seed = op.constant(np.ones(tuple(graph.outputs[0].shape or ()), np.float32))
    with pytest.raises(UnsupportedOperatorError, match=rf"RoiAlign \(node 'node'\): .*{match}.*choose a target"):
        differentiate(op, graph.outputs[0], seed, [graph.inputs[0]])


@pytest.mark.parametrize("mended", ["IsNaN", "a row's mask"])
def test_rows_of_attention_that_see_nothing_have_gradient_zero(mended: str) -> None:
    """As PyTorch's exporter and ONNX's own definition of Attention write them: NaN, and 0 in its place."""
    x, mask = f32(3, 4), np.where(np.eye(3, 4) > 0, -np.inf, 0).astype(np.float32)
    mask[1] = -np.inf
    nodes = [
        onnx.helper.make_node("Add", ["x", "mask"], ["scores"]),
        onnx.helper.make_node("Softmax", ["scores"], ["p"]),
        onnx.helper.make_node("IsNaN", ["p"], ["is_nan"]),
        onnx.helper.make_node("Where", ["is_nan" if mended == "IsNaN" else "row", "zero", "p"], ["y"]),
    ]
    constants = {"mask": mask, "zero": np.float32(0), "row": np.array([[False], [True], [False]])}
    dy = f32(3, 4, low=-2)
    p = np.exp(np.where(np.isinf(mask), -np.inf, x))
    p = np.divide(p, p.sum(1, keepdims=True), out=np.zeros_like(p), where=p > 0)
    expected = p * (dy - (dy * p).sum(1, keepdims=True))
    found = run_adjoint(model(nodes, {"x": x}, constants, ["y"]), {"x": x}, dy)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
