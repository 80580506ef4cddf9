"""The self-check of networks that choose by what they compute: the choice is held, and what is wrong still shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam.errors import CheckError
from aerocam.export import export_model, list_layers
from aerocam.export.gradients.adjoints import ADJOINTS, NO_GRADIENT
from onnx_graphs import f32, model, saved

node = helper.make_node
SIZE = (1, 3, 16, 16)
RIGHT = 0.02
"""Below what a right gradient is off by where the kinks are those of ReLU alone."""

FRONT = [node("Conv", ["x", "w"], ["c"], pads=[1] * 4), node("Relu", ["c"], ["r"])]
END = [
    node("Conv", ["z", "v"], ["e"], pads=[1] * 4),
    node("Sigmoid", ["e"], ["s"]),
    node("GlobalAveragePool", ["s"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("MatMul", ["f", "d"], ["y"]),
]
CHOICES: dict[str, list[onnx.NodeProto]] = {
    "unpooled": [
        node("MaxPool", ["r"], ["m", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxUnpool", ["m", "i"], ["z"], kernel_shape=[2, 2], strides=[2, 2]),
    ],
    "scattered": [  # as PyTorch's exporter writes it
        node("MaxPool", ["r"], ["m", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["m", "flat"], ["m_"]),
        node("Reshape", ["i", "column"], ["i_"]),
        node("ScatterND", ["zeros", "i_", "m_"], ["z_"]),
        node("Reshape", ["z_", "size"], ["z"]),
    ],
    "the largest channels": [
        node("TopK", ["r", "k"], ["t", "i"], axis=1),
        node("GatherElements", ["c", "i"], ["g"], axis=1),
        node("Mul", ["g", "eight"], ["g8"]),
        node("Add", ["g8", "c"], ["z"]),
    ],
    "a row by the brightest class": [
        node("ArgMax", ["r"], ["i"], axis=1),
        node("Gather", ["table", "i"], ["g"]),
        node("Transpose", ["g"], ["h"], perm=[0, 4, 1, 2, 3]),
        node("Reshape", ["h", "size"], ["q"]),
        node("Mul", ["q", "c"], ["z"]),
    ],
    "by a condition": [
        node("ReduceMax", ["r"], ["m"], axes=[1], keepdims=1),
        node("Equal", ["r", "m"], ["i"]),
        node("Where", ["i", "c", "half"], ["z"]),
    ],
}


def network(choice: str) -> onnx.ModelProto:
    """Features, a choice among them, a head. About half of `r` are ties of zeros."""
    constants: dict[str, Any] = {
        "w": f32(4, 3, 3, 3),
        "v": f32(4, 4, 3, 3, seed=1),
        "d": f32(4, 5),
        "size": np.array([1, 4, 16, 16]),
        "flat": np.array([-1]),
        "column": np.array([-1, 1]),
        "zeros": np.zeros(4 * 16 * 16, np.float32),
        "k": np.array([4]),
        "table": f32(4, 4),
        "half": np.float32(0.5),
        "eight": np.float32(8),
    }
    nodes = [*FRONT, *CHOICES[choice], *END]
    read = {name for item in nodes for name in item.input}
    used = {name: array for name, array in constants.items() if name in read}
    return model(nodes, {"x": np.zeros(SIZE, np.float32)}, used, ["y"])


@pytest.mark.parametrize("choice", CHOICES)
def test_what_is_chosen_is_held(tmp_path: Path, choice: str) -> None:
    done = export_model(saved(tmp_path, network(choice)), layers="c")
    assert done.report is not None
    assert done.report.gradients["c"] < RIGHT


@pytest.mark.parametrize("choice", ["unpooled", "scattered"])
def test_ties_in_the_layer_itself(tmp_path: Path, choice: str) -> None:
    """Where the layer is behind the ReLU, half of its windows are four zeros."""
    done = export_model(saved(tmp_path, network(choice)), layers="r")
    assert done.report is not None
    assert done.report.gradients["r"] < 0.5


def wrong(op_type: str, fault: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The rule, with its first cotangent spoilt."""
    rule = ADJOINTS[op_type]

    def spoilt(op: Any, node: Any, *dys: Any) -> Any:
        first, *rest = rule(op, node, *dys)
        return [fault(op, first), *rest]

    return spoilt


FAULTS: dict[str, Callable[[Any, Any], Any]] = {
    "sign": lambda op, dx: op.Neg(dx),
    "lost": lambda op, dx: op.Mul(dx, 0.0),
    "double": lambda op, dx: op.Mul(dx, 2.0),
    "shifted": lambda op, dx: op.Concat(op.slice_axis(dx, 3, 1, 99), op.slice_axis(dx, 3, 0, 1), axis=3),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("choice", "op_type"),
    [
        ("unpooled", "MaxUnpool"),
        ("unpooled", "MaxPool"),
        ("the largest channels", "GatherElements"),
        ("by a condition", "Where"),
    ],
)
def test_a_wrong_rule_is_found_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, op_type: str, fault: str
) -> None:
    if op_type == "Where":
        rule = ADJOINTS["Where"]
        monkeypatch.setitem(
            ADJOINTS, "Where", lambda op, node, dy: [None, FAULTS[fault](op, rule(op, node, dy)[1]), None]
        )
    else:
        monkeypatch.setitem(ADJOINTS, op_type, wrong(op_type, FAULTS[fault]))
    with pytest.raises(CheckError, match="layer 'c': its gradients differ from finite differences by"):
        export_model(saved(tmp_path, network(choice)), layers="c")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_rule_is_found_in_float16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """What float16 does not tell from rounding is run in float32."""
    nodes = [
        *(node("Conv", ["x", "w"], ["c"]), node("Tanh", ["c"], ["t"]), node("Conv", ["t", "v"], ["l"])),
        *(node("GlobalAveragePool", ["l"], ["p"]), node("Flatten", ["p"], ["y"])),
    ]
    arrays = {"w": f32(4, 3, 3, 3), "v": f32(5, 4, 3, 3, seed=1)}
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    path = saved(tmp_path, model(nodes, {"x": f32(1, 3, 9, 9).astype(np.float16)}, half, ["y"]))
    assert export_model(path, layers="c").report
    monkeypatch.setitem(ADJOINTS, "Tanh", wrong("Tanh", FAULTS[fault]))
    with pytest.raises(CheckError, match="layer 'c': its gradients differ from finite differences by"):
        export_model(path, layers="c")


def test_an_operator_on_floats_that_is_taken_for_flat_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output is not held, or nothing would be compared with nothing."""
    monkeypatch.setattr("aerocam.export.gradients.autodiff.NO_GRADIENT", NO_GRADIENT | {"GatherElements"})
    with pytest.raises(CheckError, match="layer 'c': its gradients differ"):
        export_model(saved(tmp_path, network("the largest channels")), layers="c")


def test_layers_behind_a_max_unpool(tmp_path: Path) -> None:
    known, automatic = list_layers(saved(tmp_path, network("unpooled")))
    assert [item.name for item in known] == ["x", "c", "r", "m", "z", "e", "s"]
    assert [item.name for item in automatic] == ["s"]
