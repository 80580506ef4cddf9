"""Pools whose last window would start behind the input: shapes are read as ONNX Runtime computes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.export.checking.gradients import KINKS
from aerocam.export.reading.graph import load_model
from onnx_graphs import f32, run_ort, saved

node = helper.make_node

FORMS: dict[str, tuple[str, int, tuple[int, ...], dict[str, Any]]] = {
    "max": ("MaxPool", 17, (5, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max, far strides": ("MaxPool", 12, (6, 6), {"kernel_shape": [2, 2], "strides": [3, 3]}),
    "max, dilated": (
        "MaxPool",
        17,
        (8, 7),
        {"kernel_shape": [2, 3], "strides": [4, 2], "dilations": [2, 1], "pads": [0, 2, 1, 2]},
    ),
    "max, one axis": ("MaxPool", 17, (7,), {"kernel_shape": [3], "strides": [3], "pads": [2, 2]}),
    "max, three axes": ("MaxPool", 11, (5, 6, 5), {"kernel_shape": [2] * 3, "strides": [2] * 3, "pads": [1] * 6}),
    "max, valid": ("MaxPool", 17, (6, 6), {"kernel_shape": [2, 1], "strides": [3, 2], "auto_pad": "VALID"}),
    "average": ("AveragePool", 17, (5, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "average with padding": (
        "AveragePool",
        17,
        (6, 6),
        {"kernel_shape": [3, 3], "strides": [4, 4], "pads": [2, 2, 2, 2], "count_include_pad": 1},
    ),
    "average, opset 22": ("AveragePool", 22, (5, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1] * 4}),
    "average, far strides and a rest": (
        "AveragePool",
        17,
        (6, 8),
        {"kernel_shape": [2, 3], "strides": [3, 2], "pads": [0, 0, 0, 0]},
    ),
    "norm": ("LpPool", 18, (5, 7), {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1], "p": 2}),
    "norm, dilated": (
        "LpPool",
        18,
        (9, 9),
        {"kernel_shape": [2, 2], "strides": [5, 5], "dilations": [2, 2], "pads": [1, 1, 1, 1]},
    ),
}


def pooled(op: str, opset: int, size: tuple[int, ...], attributes: Mapping[str, Any]) -> onnx.ModelProto:
    """Two convolutions with a pool between them, the mean of all positions, a linear layer; no shapes written down."""
    ones = [1] * len(size)
    axes = numpy_helper.from_array(np.arange(2, 2 + len(size)), "axes")
    mean = (
        node("ReduceMean", ["e", "axes"], ["g"], keepdims=0)
        if opset >= 18
        else node("ReduceMean", ["e"], ["g"], axes=list(range(2, 2 + len(size))), keepdims=0)
    )
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node(op, ["c"], ["p"], name="pool", ceil_mode=1, **attributes),
        node("Conv", ["p", "v"], ["e_"]),
        node("Sigmoid", ["e_"], ["e"]),
        mean,
        node("MatMul", ["g", "d"], ["y"]),
    ]
    weights = {"w": f32(4, 3, *ones), "v": f32(4, 4, *ones, seed=1), "d": f32(4, 5)}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [*(numpy_helper.from_array(array, name) for name, array in weights.items()), *([axes] * (opset >= 18))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def really(proto: onnx.ModelProto, name: str, size: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor as ONNX Runtime computes it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.append(helper.make_empty_tensor_value_info(name))
    return run_ort(copy, {"x": f32(1, 3, *size)}, [name])[0].shape


@pytest.mark.parametrize("form", FORMS)
def test_shapes_are_those_of_onnx_runtime(tmp_path: Path, form: str) -> None:
    """Of the pool and of what reads it; its numbers do not change, and its gradients are right."""
    op, opset, size, attributes = FORMS[form]
    proto = pooled(op, opset, size, attributes)
    path = saved(tmp_path, proto)
    loaded = load_model(path)
    shapes = {value.name: tuple(value.shape or ()) for item in loaded.graph for value in item.outputs}
    assert (shapes["p"], shapes["e"]) == tuple(really(proto, name, size) for name in ("p", "e"))
    feeds = {"x": f32(1, 3, *size, seed=3)}
    for a, b in zip(run_ort(proto, feeds), run_ort(ir.to_proto(loaded), feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    done = export_model(path, layers="c")
    onnx.checker.check_model(onnx.load(done.path), full_check=True)
    assert done.report is not None
    assert done.report.gradients["c"] < KINKS / 4


def test_these_forms_are_misread_without() -> None:
    """Or the test above shows nothing."""
    wrong = 0
    for op, opset, size, attributes in FORMS.values():
        proto = pooled(op, opset, size, attributes)
        inferred = {item.name: item for item in onnx.shape_inference.infer_shapes(proto).graph.value_info}["p"]
        wrong += tuple(dim.dim_value for dim in inferred.type.tensor_type.shape.dim) != really(proto, "p", size)
    assert wrong == len(FORMS) - 1  # opset 22 has it right


def test_two_pools_and_shapes_written_down_wrong(tmp_path: Path) -> None:
    """The second one's input is known once the first is right; onnx's own shapes, as a simplifier leaves them, go."""
    _, _, size, attributes = FORMS["max"]
    proto = pooled("MaxPool", 17, size, attributes)
    proto.graph.node.insert(2, node("AveragePool", ["p"], ["q"], ceil_mode=1, **attributes))
    proto.graph.node[3].input[0] = "q"
    proto = onnx.shape_inference.infer_shapes(proto)
    loaded = load_model(saved(tmp_path, proto))
    shapes = {value.name: tuple(value.shape or ()) for item in loaded.graph for value in item.outputs}
    for name in ("p", "q", "e"):
        assert shapes[name] == really(proto, name, size)


def test_a_form_that_no_other_opset_has_is_refused(tmp_path: Path) -> None:
    """Far strides on one axis, a rest on the other, and a mean over the padding: rounding down pads more."""
    attributes = {"kernel_shape": [2, 3], "strides": [3, 2], "pads": [0, 0, 0, 0], "count_include_pad": 1}
    with pytest.raises(ModelError, match=r"operator AveragePool \(node 'pool'\): with ceil_mode .*; export the model"):
        load_model(saved(tmp_path, pooled("AveragePool", 17, (6, 8), attributes)))
