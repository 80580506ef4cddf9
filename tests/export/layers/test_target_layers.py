"""Which layers can be explained, which one is taken without a word, and what is said of those that cannot."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from aerocam.errors import ModelError, UnsupportedOperatorError, UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.layers.target_layers import choose_layers
from aerocam.export.reading.graph import load_model
from aerocam.export.scores import find_score
from onnx_graphs import f32, model, saved
from refused_operator import without_a_rule
from small_networks import END, FRONT, cnn, conv
from two_scale_detector import WIRINGS, detector

node = helper.make_node
IMAGE = np.zeros((1, 3, 8, 8), np.float32)


def network(body: list[onnx.NodeProto], channels: int = 4, end: list[onnx.NodeProto] = END) -> onnx.ModelProto:
    """`a` (1, 4, 8, 8) from a convolution, a body from `a` to `z`, pooling and a linear layer."""
    weights = {
        "w": f32(4, 3, 3, 3),
        "k": f32(4, 4, 1, 1),
        "l": f32(4, 4, 1, 1, seed=1),
        "d": f32(channels, 5),
        "n": np.array([2, 2]),
        "split": np.array([0, 2, -1]),
        "back": np.array([1, 4, 8, 8]),
        "scales": f32(2),
        "shifts": f32(2, seed=1),
    }
    nodes = [*FRONT, *body, *end]
    read = {name for item in nodes for name in item.input}
    return model(nodes, {"x": IMAGE}, {name: array for name, array in weights.items() if name in read}, ["y"])


PLAIN = [conv("a", "k", "b"), node("Relu", ["b"], ["z"], name="relu")]
RESIDUAL = [conv("a", "k", "b"), node("Relu", ["b"], ["c"]), conv("c", "l", "e"), node("Add", ["e", "a"], ["z"])]
INCEPTION = [conv("a", "k", "b"), conv("a", "l", "c"), node("Concat", ["b", "c"], ["z"], axis=1)]
GATE = [
    conv("a", "k", "b"),
    node("GlobalAveragePool", ["b"], ["s"]),
    conv("s", "l", "t"),
    node("Sigmoid", ["t"], ["g"]),
    node("Mul", ["b", "g"], ["z"]),
]
GATE_BEFORE_POOL = [
    *GATE[:4],
    node("GlobalAveragePool", ["b"], ["u"]),
    node("Mul", ["u", "g"], ["p"]),
    node("Flatten", ["p"], ["f"]),
    node("Gemm", ["f", "d"], ["y"]),
]
TWO_POOLS = [
    conv("a", "k", "b"),
    conv("a", "l", "c"),
    node("GlobalAveragePool", ["b"], ["pb"]),
    node("GlobalAveragePool", ["c"], ["pc"]),
    node("Concat", ["pb", "pc"], ["p"], axis=1),
    *END[1:],
]
SPLIT_POOLS = [
    conv("a", "k", "b"),
    node("Split", ["b", "n"], ["b0", "b1"], axis=1),
    node("GlobalAveragePool", ["b0"], ["p0"]),
    node("GlobalAveragePool", ["b1"], ["p1"]),
    node("Concat", ["p0", "p1"], ["p"], axis=1),
    *END[1:],
]

AUTOMATIC = {
    "plain": (network(PLAIN), "z"),
    "residual": (network(RESIDUAL), "z"),
    "inception": (network(INCEPTION, 8), "z"),
    "gate": (network(GATE), "z"),
    "gate-on-pooled": (network(GATE_BEFORE_POOL, end=[]), "b"),
    "two-pools": (network(TWO_POOLS, 8, end=[]), "a"),
    "split-pools": (network(SPLIT_POOLS, end=[]), "b"),
    "cnn": (cnn(), "r1"),
}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_auto_takes_the_last_tensor_that_everything_passes(tmp_path: Path, name: str) -> None:
    proto, expected = AUTOMATIC[name]
    known, automatic = list_layers(saved(tmp_path, proto))
    assert [item.name for item in automatic] == [expected]
    assert all(item.shape[2:] == (8, 8) for item in known)
    assert known[0].name == "x"


def test_candidates_come_in_graph_order_with_what_a_user_needs(tmp_path: Path) -> None:
    known, _ = list_layers(saved(tmp_path, network(GATE)))
    assert [(item.name, item.node, item.op, item.shape, item.depth, item.obstacle) for item in known] == [
        ("x", "", "", (1, 3, 8, 8), -1, ""),
        ("a", "stem", "Conv", (1, 4, 8, 8), 0, ""),
        ("b", "conv_b", "Conv", (1, 4, 8, 8), 1, ""),
        ("z", "", "Mul", (1, 4, 8, 8), 5, ""),
    ]


def test_layers_behind_a_group_normalisation_as_pytorch_wrote_it(tmp_path: Path) -> None:
    """It passes through (N, groups, rest), where no axis has a meaning of its own, and back."""
    groups = [
        node("Reshape", ["a", "split"], ["g"]),
        node("InstanceNormalization", ["g", "scales", "shifts"], ["h"]),
        node("Reshape", ["h", "back"], ["b"]),
        conv("b", "k", "z"),
    ]
    proto = network(groups)
    known, automatic = list_layers(saved(tmp_path, proto))
    assert [item.name for item in known] == ["x", "a", "b", "z"]
    assert [item.name for item in automatic] == ["z"]


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_detector_has_one_layer_per_scale(tmp_path: Path, wiring: str) -> None:
    """Where boxes and classes of a scale part ways, not further back."""
    _, automatic = list_layers(saved(tmp_path, detector(wiring)), task="detect")
    assert [(item.name, item.shape) for item in automatic] == [("n0", (1, 4, 4, 4)), ("n1", (1, 4, 2, 2))]


def test_a_detector_whose_boxes_come_from_elsewhere(tmp_path: Path) -> None:
    """Boxes and classes have no map in common: no layer is guessed, any can be named."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], strides=[2, 2], pads=[0, 0, 1, 1]),
        node("Conv", ["a", "k"], ["c"]),
        node("Reshape", ["c", "anchors"], ["logits"]),
        node("Sigmoid", ["logits"], ["shares"]),
        node("GlobalAveragePool", ["x"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("MatMul", ["f", "d"], ["g"]),
        node("Reshape", ["g", "anchors"], ["boxes"]),
        node("Concat", ["boxes", "shares"], ["y"], axis=1),
    ]
    weights = {"w": f32(4, 3, 3, 3), "k": f32(4, 4, 1, 1), "d": f32(3, 64), "anchors": np.array([1, 4, 16])}
    path = saved(tmp_path, model(nodes, {"x": IMAGE}, weights, ["y"]))
    message = r"the inputs of the detection head were not found; name a layer \(aerocam layers MODEL\)"
    with pytest.raises(ModelError, match=message):
        export_model(path, task="detect")
    known, automatic = list_layers(path, task="detect")
    assert ([item.name for item in known], automatic) == (["x", "a", "c", "logits"], [])
    assert export_model(path, task="detect", layers="a").report is not None


def chosen(path: Path, *wanted: str) -> list[str]:
    loaded = load_model(path)
    return [item.name for item in choose_layers(loaded, find_score(loaded, "classify"), wanted).layers]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["c0"], ["c0"]),
        (["stem"], ["c0"]),
        (["layer3_relu"], ["r1"]),
        (["c*"], ["c1"]),
        (["*relu"], ["r1"]),
        (["stem*"], ["r0"]),
        (["?0"], ["r0"]),
        (["layer3", "stem"], ["c1", "c0"]),
        (["auto", "c0", "r1", "stem"], ["r1", "c0"]),
    ],
)
def test_layers_by_name_and_pattern(tmp_path: Path, wanted: list[str], expected: list[str]) -> None:
    assert chosen(saved(tmp_path, cnn()), *wanted) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pooled", r"'pooled' \(GlobalAveragePool\) has shape \(1, 6, 1, 1\); .*H \* W > 1, are.*before it: 'r1'"),
        ("flatten", r"'flatten' \(Flatten\) has shape \(1, 6\).*nearest spatial layer before it: 'r1'"),
        ("y", r"'y' \(Gemm\) has shape \(1, 5\)"),
        ("aside", r"'aside' \(Relu\): the score does not depend on it; nearest spatial layer before it: 'c0'"),
        ("layer3_rlu", r"no such tensor, node or module\. Did you mean 'layer3_relu' or"),
        ("*nothing*", r"layer '\*nothing\*': the model has no such tensor, node or module"),
    ],
)
def test_what_is_no_target_layer_is_refused(tmp_path: Path, name: str, message: str) -> None:
    proto = cnn()
    proto.graph.node.insert(1, node("Relu", ["c0"], ["aside"], name="aside"))
    proto.graph.output.append(helper.make_tensor_value_info("aside", 1, [1, 4, 8, 8]))
    with pytest.raises(UsageError, match=message):
        chosen(saved(tmp_path, proto), name)


def test_a_model_without_spatial_tensors_is_refused(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "d"], ["y"])]
    with pytest.raises(ModelError, match=r"no tensor of channels and positions, as \(N, C, H, W\), lies between"):
        list_layers(saved(tmp_path, model(nodes, {"x": IMAGE}, {"d": f32(3, 5)}, ["y"])))


@pytest.mark.parametrize("domain", ["", "my.ops"])
def test_an_operator_without_a_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str) -> None:
    """`list_layers` marks what lies before it; the export names it and the way out; behind it all is well."""
    op = "Relu" if domain else without_a_rule(monkeypatch)
    proto = network([conv("a", "k", "b"), node("Relu", ["b"], ["c"], name="blocker"), conv("c", "l", "z")])
    proto.graph.node[2].op_type, proto.graph.node[2].domain = op, domain
    if domain:
        proto.opset_import.append(helper.make_opsetid(domain, 1))
    path = saved(tmp_path, proto)
    known, automatic = list_layers(path)
    name = f"{domain}.{op}" if domain else op
    assert [(item.name, item.obstacle) for item in known] == [
        ("x", name), ("a", name), ("b", name), ("c", ""), ("z", ""),
    ]  # fmt: skip
    assert [item.name for item in automatic] == ["z"]
    message = rf"operator {re.escape(name)} \(node 'blocker', output 'c'\) .*choose a target layer behind it"
    with pytest.raises(UnsupportedOperatorError, match=message):
        export_model(path, layers="a", check=False)
    assert export_model(path, layers="c", check=False).path.is_file()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_of_two_branches_without_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    """A layer is marked as soon as one of its ways to the score is blocked, whichever comes first in the file."""
    op = without_a_rule(monkeypatch)
    branches = [conv("a", "k", "b"), node(op, ["a"], ["t"])]
    proto = network([*(branches[i] for i in order), node("Add", ["b", "t"], ["z"])])
    known, _ = list_layers(saved(tmp_path, proto))
    assert {item.name: item.obstacle for item in known} == {"x": op, "a": op, "b": "", "t": "", "z": ""}


def test_no_gradient_flows_through_a_comparison(tmp_path: Path) -> None:
    """A mask of a comparison is not on the way, and does not block it."""
    body = [
        node("Greater", ["a", "zero"], ["m"]),
        node("Cast", ["m"], ["mask"], to=1),
        conv("a", "k", "b"),
        node("Mul", ["b", "mask"], ["z"]),
    ]
    nodes = [*FRONT, *body, *END]
    weights = {"w": f32(4, 3, 3, 3), "k": f32(4, 4, 1, 1), "d": f32(4, 5), "zero": np.float32(0)}
    done = export_model(saved(tmp_path, model(nodes, {"x": IMAGE}, weights, ["y"])), layers="b")
    assert done.manifest.layers[0].name == "b"
    known, _ = list_layers(tmp_path / "model.onnx")
    assert "mask" not in [item.name for item in known]
