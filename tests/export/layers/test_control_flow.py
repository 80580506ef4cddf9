"""Layers that an If or a Loop reads from outside: behind what they lie, and what can be explained around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam.errors import UnsupportedOperatorError
from aerocam.export import export_model, list_layers
from aerocam.export.reading.graph import load_model
from onnx_graphs import f32, run_ort, saved
from small_networks import END, FRONT, conv

node, info = helper.make_node, helper.make_tensor_value_info
MAP = (1, 4, 8, 8)


def branch(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "branch", [], [info(nodes[-1].output[0], TensorProto.FLOAT, None)])


def either(then: onnx.NodeProto, other: onnx.NodeProto, output: str) -> onnx.NodeProto:
    return node("If", ["cond"], [output], name="gate", then_branch=branch(then), else_branch=branch(other))


def repeated(start: str, read: str) -> onnx.NodeProto:
    """Adds `read`, which no input of the Loop names, to `start` in every round."""
    body = helper.make_graph(
        [node("Add", ["s", read], ["s_"]), node("Identity", ["go"], ["go_"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("s", TensorProto.FLOAT, MAP)],
        [info("go_", TensorProto.BOOL, []), info("s_", TensorProto.FLOAT, MAP)],
    )
    return node("Loop", ["trips", "yes", start], ["z"], name="gate", body=body)


def network(body: list[onnx.NodeProto]) -> onnx.ModelProto:
    """`a` from a convolution, a condition that the picture decides, a body from `a` to `z`, a head."""
    condition = [
        node("GlobalAveragePool", ["x"], ["bright"]),
        node("ReduceSum", ["bright"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["cond"]),
    ]
    constants = {
        "w": f32(4, 3, 3, 3),
        "k": f32(4, 4, 1, 1),
        "l": f32(4, 4, 1, 1, seed=1),
        "d": f32(4, 5),
        "zero": np.float32(0),
        "trips": np.array(2),
        "yes": np.array(True),
        "zeros": np.zeros(MAP, np.float32),
    }
    graph = helper.make_graph(
        [*FRONT, *condition, *body, *END],
        "test",
        [info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        value_info=[info("z", TensorProto.FLOAT, MAP)],  # onnx infers none for a Loop, exporters write it down
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


THEN, ELSE = node("Relu", ["b"], ["then"]), node("Neg", ["b"], ["else"])
NETWORKS = {
    "all through an If": (
        [conv("a", "k", "b"), either(THEN, ELSE, "z")],
        {"x": "If", "a": "If", "b": "If", "z": ""},
        "z",
    ),
    "and a convolution behind it": (
        [conv("a", "k", "b"), either(THEN, ELSE, "q"), conv("q", "l", "z")],
        {"x": "If", "a": "If", "b": "If", "q": "", "z": ""},
        "z",
    ),
    "an If beside": (
        [
            conv("a", "k", "b"),
            either(node("Relu", ["a"], ["then"]), node("Neg", ["a"], ["else"]), "q"),
            node("Add", ["q", "b"], ["z"]),
        ],
        {"x": "If", "a": "If", "b": "", "q": "", "z": ""},
        "z",
    ),
    "branches that turn the axes": (
        [
            conv("a", "k", "b"),
            either(
                node("Transpose", ["b"], ["then"], perm=[0, 1, 3, 2]),
                node("Transpose", ["b"], ["else"], perm=[0, 1, 3, 2]),
                "q",
            ),
            node("Transpose", ["q"], ["z"], perm=[0, 1, 3, 2]),
        ],
        {"x": "If", "a": "If", "b": "If", "q": "", "z": ""},
        "z",
    ),
    "branches that do not agree": (
        [
            conv("a", "k", "b"),
            either(THEN, node("Transpose", ["b"], ["else"], perm=[0, 1, 3, 2]), "z"),
        ],
        {"x": "If", "a": "If", "b": "If"},
        "b",
    ),
    "a Loop over the layer": (
        [conv("a", "k", "b"), repeated("a", "b")],
        {"x": "Loop", "a": "Loop", "b": "Loop", "z": ""},
        "z",
    ),
    "a Loop that only reads it": (
        [conv("a", "k", "b"), repeated("zeros", "b")],
        {"x": "Loop", "a": "Loop", "b": "Loop"},
        "b",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_read_from_outside_counts(tmp_path: Path, name: str) -> None:
    body, obstacles, automatic = NETWORKS[name]
    path = saved(tmp_path, network(body))
    known, chosen = list_layers(path)
    assert {item.name: item.obstacle for item in known} == obstacles
    assert [item.name for item in chosen] == [automatic]
    costs = [item.cost for item in known]
    assert costs == sorted(costs, reverse=True)
    assert costs[1] >= 4 * 4 * 64  # of `a`: the convolution behind it, not the head alone
    free = [layer for layer, obstacle in obstacles.items() if not obstacle]
    for layer, obstacle in obstacles.items():
        if not obstacle:
            report = export_model(path, layers=layer).report
            assert report is not None
            assert report.gradients[layer] < 0.01
            continue
        nearest = rf", the nearest is '{free[0]}'" if free and name != "an If beside" else ""
        with pytest.raises(UnsupportedOperatorError, match=rf"operator {obstacle} \(node 'gate', output .*{nearest}"):
            export_model(path, layers=layer)


def test_a_group_normalization_in_a_branch(tmp_path: Path) -> None:
    """Of opset 18, which ONNX has given up: spelled out there too, to the bit."""
    normed = node("GroupNormalization", ["b", "gain", "shift"], ["then"], num_groups=2)
    proto = network([conv("a", "k", "b"), either(normed, ELSE, "z")])
    proto.opset_import[0].version = 18
    proto.graph.initializer.extend(
        numpy_helper.from_array(f32(2, seed=i), name) for i, name in enumerate(["gain", "shift"])
    )
    path = saved(tmp_path, proto)
    loaded = ir.to_proto(load_model(path))
    for seed in range(4):  # both branches run
        feeds = {"x": f32(1, 3, 8, 8, seed=seed)}
        np.testing.assert_array_equal(run_ort(loaded, feeds)[0], run_ort(proto, feeds)[0])
    assert export_model(path, layers="z").report is not None


def test_a_tensor_that_a_branch_reads_later_is_no_cut(tmp_path: Path) -> None:
    """Everything passes through `c`, but a branch reads `b` behind it by name alone."""
    body = [
        conv("a", "k", "b"),
        conv("b", "l", "c"),
        either(node("Relu", ["b"], ["then"]), node("Neg", ["b"], ["else"]), "q"),
        node("GlobalAveragePool", ["q"], ["pq"]),
        node("GlobalAveragePool", ["c"], ["pc"]),
        node("Add", ["pq", "pc"], ["z"]),
    ]
    proto = network(body)
    proto.graph.value_info[0].type.tensor_type.shape.dim[2].dim_value = 1
    proto.graph.value_info[0].type.tensor_type.shape.dim[3].dim_value = 1
    known, chosen = list_layers(saved(tmp_path, proto))
    assert {item.name: item.obstacle for item in known} == {"x": "If", "a": "If", "b": "If", "c": "", "q": ""}
    assert [item.name for item in chosen] == ["b"]
