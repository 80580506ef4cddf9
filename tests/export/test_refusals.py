"""What is refused: every message names the operator, the node and the nearest layer that can be explained instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from aerocam import manifest
from aerocam.benchmarks.studies.pages.operators import REFUSED_FORMS
from aerocam.errors import ModelError, UnsupportedOperatorError, UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.layers.candidates import candidates, try_rules
from aerocam.export.reading.graph import load_model
from aerocam.export.scores import find_score
from aerocam.runtime.methods import CAM_METHODS
from onnx_graphs import beside_a_branch, f32, run_ort, saved

node, info = helper.make_node, helper.make_tensor_value_info
MAP = (1, 4, 8, 8)
WAY_OUT = r"; choose a target layer behind it, the nearest is '{}' \(aerocam layers MODEL shows them\)$"


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def blocker(op: str, inputs: list[str], outputs: tuple[str, ...] = ("b",), **attributes: Any) -> onnx.NodeProto:
    return node(op, inputs, list(outputs), name="blocker", **attributes)


def run_time(*values: int) -> list[onnx.NodeProto]:
    """`computed`: these integers, in a way that no folding sees through."""
    return [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Mul", ["mean", "zero"], ["nothing"]),
        node("Cast", ["nothing"], ["none"], to=TensorProto.INT64),
        node("Add", ["none", "wanted"], ["computed"]),
    ]


QUANTISED = node("QuantizeLinear", ["a", "step", "point"], ["q"])
STEPS = {"step": np.float32(0.1), "point": np.int8(0)}
BLOCKS = {"steps": np.full((1, 4, 8, 4), 0.1, np.float32), "points": np.zeros((1, 4, 8, 4), np.int8)}

FORMS: dict[str, tuple[int, list[onnx.NodeProto], dict[str, np.ndarray], str]] = {
    "Attention": (24, [blocker("Attention", ["a", "a", "a", "few"])], {"few": f32(8, 6)}, "a mask for 6 keys"),
    "BatchNormalization": (
        17,
        [blocker("BatchNormalization", ["a", "s", "s", "s", "s"], ("b", "mean", "var"), training_mode=1)],
        {"s": abs(f32(4))},
        "training_mode 1, 0 is expected",
    ),
    "DequantizeLinear": (
        21,
        [QUANTISED, blocker("DequantizeLinear", ["q", "steps", "points"], axis=3, block_size=2)],
        {**STEPS, **BLOCKS},
        "block_size 2",
    ),
    "DeformConv": (
        19,
        [
            node("Reshape", ["a", "volume"], ["v"]),
            blocker("DeformConv", ["v", "taps", "offset"], ("d",)),
            node("Reshape", ["d", "back"], ["b"]),
        ],
        {"volume": i64(*MAP, 1), "back": i64(*MAP), "taps": f32(4, 4, 1, 1, 1), "offset": f32(1, 3, 8, 8, 1)},
        "3 spatial axes",
    ),
    "Einsum": (17, [blocker("Einsum", ["a", "d"], equation="abcc,d->abcd")], {"d": f32(8)}, "equation"),
    "LayerNormalization": (
        17,
        [blocker("LayerNormalization", ["a", "gain"], ("n", "centre")), node("Add", ["n", "centre"], ["b"])],
        {"gain": f32(8)},
        "output Mean",
    ),
    "Pad": (
        17,
        [*run_time(), blocker("Pad", ["a", "computed"])],
        {"wanted": i64(*[0] * 8)},
        "computed pads or axes, constants",
    ),
    "QLinearMatMul": (
        21,
        [
            QUANTISED,
            blocker("QLinearMatMul", ["q", "step", "point", "r", "step", "point", "step", "short"], ("product",)),
            node("DequantizeLinear", ["product", "step", "short"], ["b"]),
        ],
        {**STEPS, "r": np.eye(8, dtype=np.int8)},
        "its output is FLOAT8E4M3FN, integers",
    ),
    "QuantizeLinear": (
        21,
        [
            blocker("QuantizeLinear", ["a", "steps", "points"], ("q",), axis=3, block_size=2),
            node("DequantizeLinear", ["q", "step", "point"], ["b"]),
        ],
        {**STEPS, **BLOCKS},
        "block_size 2",
    ),
    "Resize": (
        17,
        [
            *run_time(),
            node("Cast", ["computed"], ["box"], to=TensorProto.FLOAT),
            blocker("Resize", ["a", "box", "", "size"], coordinate_transformation_mode="tf_crop_and_resize"),
        ],
        {"wanted": i64(0, 0, 0, 0, 1, 1, 1, 1), "size": i64(*MAP)},
        "computed at run time, a constant roi is expected",
    ),
    "RoiAlign": (
        17,
        [blocker("RoiAlign", ["a", "boxes", "images"], mode="max", output_height=8, output_width=8)],
        {"boxes": np.float32([[0, 0, 7, 7]]), "images": i64(0)},
        "mode 'max'",
    ),
    "ScatterElements": (
        17,
        [blocker("ScatterElements", ["a", "one", "a1"], reduction="mul")],
        {"one": np.zeros((1, 1, 1, 1), np.int64), "a1": f32(1, 1, 1, 1)},
        "reduction 'mul'",
    ),
    "ScatterND": (
        17,
        [blocker("ScatterND", ["a", "one", "a1"], reduction="mul")],
        {"one": np.zeros((1, 4), np.int64), "a1": f32(1)},
        "reduction 'mul'",
    ),
    "Slice": (
        17,
        [*run_time(), blocker("Slice", ["a", "computed", "size", "axis"])],
        {"wanted": i64(0), "size": i64(8), "axis": i64(3)},
        "bounds are computed at run time",
    ),
    **{
        name: (
            18,
            [*run_time(), blocker(name, ["a", "computed"], ("m",)), node("Reshape", ["m", "back"], ["m_"]),
             node("Mul", ["a", "m_"], ["b"])],
            {"wanted": i64(1), "back": i64(1, 1, 8, 8)},
            "axes are computed at run time",
        )
        for name in REFUSED_FORMS if name.startswith("Reduce")
    },
}  # fmt: skip
"""Per operator one form that its rule refuses, from `a` to `b`, both (1, 4, 8, 8), and what is said of it."""


def network(opset: int, body: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The graph in which `body` is one of two ways."""
    nodes = beside_a_branch(body)
    weights = {"w": f32(4, 3, 3, 3), "k": f32(4, 4, 1, 1), "zero": np.float32(0), **constants}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    tensors.append(helper.make_tensor("short", TensorProto.FLOAT8E4M3FN, [], [0.0]))
    read = {name for item in nodes for name in item.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [info("y", TensorProto.FLOAT, (1, 4))],
        [item for item in tensors if item.name in read],
        value_info=[info("b", TensorProto.FLOAT, MAP), info("m", TensorProto.FLOAT, (1, 1, 8, 8))],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def test_every_operator_with_a_refused_form_is_in_the_table() -> None:
    assert FORMS.keys() == REFUSED_FORMS.keys()


@pytest.mark.parametrize("operator", FORMS)
def test_a_form_that_a_rule_refuses(tmp_path: Path, operator: str) -> None:
    """The layer that is named can be explained; what lies before the node is marked, and nothing else."""
    opset, body, constants, found = FORMS[operator]
    path = saved(tmp_path, network(opset, body, constants))
    message = rf"^operator {operator} \(node 'blocker'\): .*{found}.*" + WAY_OUT.format(r"\w+")
    with pytest.raises(UnsupportedOperatorError, match=message) as refused:
        export_model(path, layers="a")
    nearest = str(refused.value).split("nearest is '")[1].split("'")[0]
    known = {item.name: item.obstacle for item in list_layers(path)[0]}
    assert known["x"] == known["a"] == operator
    assert known[nearest] == known["side"] == known["z"] == ""
    assert nearest in ("b", "sum", "n", "m", "d", "v", "m_")
    assert export_model(path, layers=nearest, check=False).path.is_file()


@pytest.mark.parametrize("method", ["eigencam", "fem", "randomcam"])
def test_a_head_that_reads_no_gradients_stands_before_what_has_none(tmp_path: Path, method: str) -> None:
    opset, body, constants, _ = FORMS["ScatterND"]
    path = saved(tmp_path, network(opset, body, constants))
    with pytest.raises(UnsupportedOperatorError):
        export_model(path, layers="a", head=method, tensors=True)
    done = export_model(path, layers="a", head=method, targets=2)
    feeds, plain = {"x": f32(1, 3, 8, 8, seed=3)}, onnx.load(path)
    plain.graph.output.append(info("a", TensorProto.FLOAT, MAP))
    (activations,) = run_ort(plain, feeds, ["a"])
    (found,) = run_ort(onnx.load(done.path), feeds | {manifest.TARGET: np.int32([0, 3])}, [manifest.MAP])
    expected = np.repeat(CAM_METHODS[method](activations), 2, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


BOX = [
    node("ReduceMax", ["a"], ["best"], axes=[1, 2], keepdims=0),
    node("Slice", ["best", "from", "to", "last"], ["c"]),
]
OTHERS: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], str, str, str]] = {
    "an input without a gradient": (
        [*BOX, blocker("RoiAlign", ["side_", "c", "images"], output_height=8, output_width=8, sampling_ratio=1)],
        {"from": i64(0), "to": i64(4), "last": i64(1), "images": i64(0), "side_": f32(*MAP)},
        r"^operator RoiAlign \(node 'blocker'\): its rule gives no gradient for input 1 \('c'\), which depends on",
        "sum",
        "RoiAlign",
    ),
    "integers read without their scale": (
        [
            QUANTISED,
            blocker("Where", ["half", "q", "point"], ("mixed",)),
            node("DequantizeLinear", ["mixed", "step", "point"], ["b"]),
        ],
        {**STEPS, "half": np.eye(8) > 0},
        r"^operator Where \(node 'blocker'\): input 1 \('q'\) holds quantised numbers, floats from a DequantizeLinear",
        "b",
        "Where",
    ),
    "a shape of the data": (
        [
            node("Reshape", ["a", "flat"], ["f"]),
            node("NonZero", ["f"], ["nz"]),
            node("Squeeze", ["nz", "first"], ["places"]),
            blocker("Gather", ["f", "places"], ("g",)),
            node("ReduceMean", ["g"], ["total"], keepdims=0),
            node("Mul", ["a", "total"], ["b"]),
        ],
        {"flat": i64(-1), "first": i64(0)},
        r"^tensor 'g' \(operator Gather, node 'blocker'\): its shape is .*a static one is needed to differentiate",
        "b",
        "ReduceMean",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_walk_refuses(tmp_path: Path, name: str) -> None:
    body, constants, message, nearest, obstacle = OTHERS[name]
    path = saved(tmp_path, network(17, body, constants))
    with pytest.raises(ModelError, match=message + ".*" + WAY_OUT.format(nearest)):
        export_model(path, layers="a")
    assert export_model(path, layers=nearest, check=False).path.is_file()
    known = {item.name: item.obstacle for item in list_layers(path)[0]}
    assert (known["a"], known["side"], known[nearest]) == (obstacle, "", "")


def test_trying_the_rules_out_leaves_the_graph_as_it_was(tmp_path: Path) -> None:
    loaded = load_model(saved(tmp_path, network(*FORMS["Einsum"][:3])))
    before = ir.to_proto(loaded)
    site = find_score(loaded, "classify")
    stops = try_rules(loaded.graph, list(loaded.graph.inputs), site.logits)
    assert {(node.name, value.name) for node, value in stops} == {("blocker", "a"), ("blocker", "d")}
    assert ir.to_proto(loaded) == before
    assert [item.name for item in candidates(loaded, site, try_out=True) if not item.obstacle] == [
        "b",
        "side",
        "sum",
        "z",
    ]


ENDS = {
    "an integer": [node("Cast", ["c"], ["i"], name="end", to=TensorProto.INT64), node("Cast", ["i"], ["b"], to=1)],
    "steps": [node("Floor", ["c"], ["b"], name="end")],
    "a condition": [node("Greater", ["c", "zero"], ["i"], name="end"), node("Cast", ["i"], ["b"], to=1)],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_layer_that_the_score_depends_on_without_a_gradient(tmp_path: Path, end: str) -> None:
    """It is not said that the score does not depend on it."""
    path = saved(tmp_path, network(17, [node("Conv", ["a", "k"], ["c"]), *ENDS[end]], {}))
    message = (
        rf"^layer 'c' \(Conv\): no gradient of the score arrives at it, operator {ENDS[end][0].op_type} \(node 'end'\)"
        r" behind it has none; choose a target layer behind that, the nearest is '(b|side)' \(aerocam layers MODEL"
    )
    with pytest.raises(UsageError, match=message):
        export_model(path, layers="c")
    assert "c" not in [item.name for item in list_layers(path)[0]]
