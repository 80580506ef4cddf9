"""Detectors' layouts: found without being told, and the logit of a class at an anchor differentiated in each."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import tiny_detectors as tiny
from aerocam import manifest
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model, list_layers
from aerocam.export.scores.detectors import LAYOUTS
from aerocam.export.scores.detectors.pairs import box_form
from aerocam.manifest import Score
from aerocam.runtime import Explainer, Objects
from detector_cases import CASES, CELLS, CLASSES, CORNERS, Array, Case
from onnx_graphs import f32, in_float64, model, run_ort, run_reference, saved

X = f32(*tiny.IMAGE, seed=5)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    caplog.set_level(logging.INFO, "aerocam.export")
    return caplog


LINKS = {"detr": "softmax", "dfine": "sigmoid", "yolov8-logits": "sigmoid", "yolox-logits": "sigmoid"}
"""What the runtime makes probabilities by, of cases whose output holds logits."""


def explain(path: Path, target: list[int]) -> dict[str, Array]:
    proto = onnx.load(path)
    names = [item.name for item in proto.graph.output]
    feeds = {"x": X, manifest.TARGET: np.array(target, np.int32)}
    return dict(zip(names, run_ort(proto, feeds, names), strict=True))


def test_every_layout_has_a_case() -> None:
    assert sorted(LAYOUTS.keys() - {case.layout for case in CASES.values()}) == []


@pytest.mark.parametrize("name", CASES)
def test_a_layout_is_found_without_being_told(tmp_path: Path, name: str, log: pytest.LogCaptureFixture) -> None:
    case = CASES[name]
    done = export_model(saved(tmp_path, case.file()))
    assert done.manifest.task == "detect"
    assert done.manifest.score == replace(case.score, link=LINKS.get(name, "none"))
    assert done.manifest.boxes == case.boxes
    assert tuple(layer.name for layer in done.manifest.layers) == case.layers
    assert case.metadata or re.search(
        rf"task: detect \(output 'y' \(1, [0-9, ]+\) has the layout {case.layout}\)", log.text
    )
    assert re.search(rf"layout(, a guess)?: {case.layout} \(the form of the graph", log.text)
    assert manifest.Manifest.from_json(done.manifest.to_json(), "file") == done.manifest


@pytest.mark.parametrize("name", CASES)
def test_the_logit_of_a_class_at_an_anchor_is_differentiated(tmp_path: Path, name: str) -> None:
    """Against finite differences in float64 of logits that are computed from the model's output."""
    case = CASES[name]
    proto, behind = case.file(), tiny.build(case.build)[1]
    done = export_model(saved(tmp_path, proto), layers="p0", task="detect", check=False)
    own = explain(done.path, [-1, -1])
    y, *_ = run_ort(proto, {"x": X}, ["y"])
    np.testing.assert_array_equal(own["y"], y)
    preference, logits = case.preference(y.astype(float)), case.logits(y.astype(float))
    slopes = jacobian(behind, own["p0"], case)
    for label, anchor in targets(case, y):
        found = explain(done.path, [label, anchor])
        c, a = chosen(case, preference, y, label, anchor)
        assert found[manifest.CHOSEN].tolist() == [c, a], (label, anchor)
        column = 0 if case.score.label_at is not None else c
        rest = slope_of_the_rest(case, behind, own["p0"], a) if case.link == "softmax" else 0
        np.testing.assert_allclose(found["aerocam_gradients_0"][0], slopes[a, column] + rest, rtol=2e-3, atol=2e-5)
        if case.link != "softmax":
            np.testing.assert_allclose(found[manifest.SCORE], logits[a, column], rtol=1e-3, atol=1e-5)


SIBLINGS = {
    "yolov10": "yolov8",
    "yolov10-agnostic": "yolov8",
    "yolov10-obb": "yolov8",
    "rtdetr-finished": "rtdetr",
    "yolov5": "yolov5",
    "yolox": "yolox",
    "yolox-decoded": "yolox",
}
"""Layouts whose probabilities are moved behind their sigmoids, and one of the same network that has all anchors."""


@pytest.mark.parametrize("name", SIBLINGS)
def test_scores_that_are_1_in_float32_are_explained_by_the_logits_behind_them(tmp_path: Path, name: str) -> None:
    """Logits 40 higher have the same gradients; of finished boxes, at the anchor of the sibling that has their box."""
    case, sibling = CASES[name], CASES[SIBLINGS[name]]
    plain = export_model(saved(tmp_path, sibling.file(), "plain.onnx"), layers="p0", check=False)
    done = export_model(saved(tmp_path, sure_of_all(case.file())), layers="p0")
    y, all_anchors = explain(done.path, [-1, -1])["y"][0], explain(plain.path, [-1, -1])["y"][0]
    if sibling.boxes.axis == 1:
        all_anchors = all_anchors.T
    finished = case.score.label_at is not None
    for label, row in [(-1, row) for row in range(len(y))] if finished else [(0, 5), (2, 9), (1, 20)]:
        found, anchor = explain(done.path, [label, row]), row
        if finished:
            anchor, label = int(np.abs(all_anchors[:, :4] - y[row, :4]).sum(axis=1).argmin()), int(y[row, 5])
            assert y[row, 4] == 1
        expected = explain(plain.path, [label, anchor])
        np.testing.assert_allclose(found[manifest.SCORE], expected[manifest.SCORE] + 40, atol=2e-5)
        key = "aerocam_gradients_0"
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-6)
        assert np.abs(found[key]).max() > 1e-3


def sure_of_all(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same detector with all logits of its scores 40 higher."""
    nodes = []
    for node in proto.graph.node:
        if node.op_type == "Sigmoid" and node.output[0] not in ("boxes", "p0", "p1", "p2"):
            higher = f"{node.output[0]}_higher"
            nodes.append(helper.make_node("Add", [node.input[0], "forty"], [higher]))
            node.input[0] = higher
        nodes.append(node)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(40), "forty"))
    return proto


@pytest.mark.parametrize("name", ["yolov8-logits", "yolov8-product", "yolox-logits", "retinanet-first"])
def test_objects_are_those_that_the_outputs_say(tmp_path: Path, name: str) -> None:
    """Scores and boxes by hand, from the plain model's own outputs; nothing is suppressed."""
    case = CASES[name]
    frame = np.random.default_rng(3).integers(0, 255, (32, 32, 3), np.uint8)
    image = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
    proto, _ = tiny.build(case.build)
    outputs = dict(zip(("y", case.boxes.output), run_ort(proto, {"x": image}, ["y", case.boxes.output]), strict=True))
    shares = case.preference(outputs["y"].astype(float))
    table = np.moveaxis(outputs[case.boxes.output][0], case.boxes.axis - 1, -1)
    sides = np.concatenate([table[:, :2] - table[:, 2:4] / 2, table[:, :2] + table[:, 2:4] / 2], axis=1)
    order = np.argsort(-shares.max(axis=1), kind="stable")
    done = export_model(saved(tmp_path, proto), layers="p0", preprocess="unit", check=False)
    with Explainer(done.path) as explainer:
        found = explainer(frame, Objects(most=CELLS, confidence=0, iou=1)).targets
    assert [target.index for target in found] == shares.argmax(axis=1)[order].tolist()
    np.testing.assert_allclose([target.score for target in found], shares.max(axis=1)[order], rtol=1e-4)
    np.testing.assert_allclose([target.box for target in found], np.clip(sides[order], 0, 32), atol=1e-3)


def targets(case: Case, y: Array) -> list[tuple[int, int]]:
    last = case.score.anchors - 1
    return [(-1, -1), (0, -1), (CLASSES - 1, -1), (-1, 1), (-1, last), (1, 0), (0, last), (2, last // 2)]


def chosen(case: Case, preference: Array, y: Array, label: int, anchor: int) -> tuple[int, int]:
    """Class and anchor, by hand."""
    if case.score.label_at is not None:
        rows = (
            [anchor] if anchor >= 0 else [a for a in range(len(y[0])) if label in (-1, y[0, a, 5])] or range(len(y[0]))
        )
        a = max(rows, key=lambda row: y[0, row, 4])
        return int(y[0, a, 5]), a
    columns = [c for c in range(preference.shape[1]) if c != case.score.background] if label < 0 else [label]
    rows = range(len(preference)) if anchor < 0 else [anchor]
    pairs = [(c, a) for a in rows for c in columns]
    return max(pairs, key=lambda pair: preference[pair[1], pair[0]])


def differences(behind: onnx.ModelProto, p0: Array, function: Callable[[Array], Array]) -> Array:
    """D function(y) / d p0 by central differences in float64; the axes of the function's value come first."""
    double, columns = in_float64(behind), []
    names = [item.name for item in double.graph.output]
    for place in np.ndindex(p0.shape):
        step = np.zeros(p0.shape)
        step[place] = 1e-5
        ends = [
            function(run_reference(double, {"p0": p0.astype(float) + sign * step})[names.index("y")])
            for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) / 2e-5)
    return np.stack(columns, axis=-1).reshape(*ends[0].shape, *p0.shape[1:])


def jacobian(behind: onnx.ModelProto, p0: Array, case: Case) -> Array:
    """(anchors, classes, *p0)."""
    return differences(behind, p0, case.logits)


def slope_of_the_rest(case: Case, behind: onnx.ModelProto, p0: Array, anchor: int) -> Array:
    """The derivative of log sum exp(logits) at an anchor, by which logits are more than logarithms of a softmax."""
    copy = onnx.ModelProto()
    copy.CopyFrom(behind)
    softmax = copy.graph.node[-1]
    assert softmax.op_type == "Softmax"
    softmax.op_type = "Identity"
    del softmax.attribute[:]
    return differences(copy, p0, lambda y: np.log(np.exp(y[0, anchor]).sum()))


@pytest.mark.parametrize("name", ["yolov8", "yolov5", "yolov10", "detr", "ssd"])
def test_several_targets_are_explained_in_one_pass(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = saved(tmp_path, tiny.build(case.build)[0])
    one = export_model(path, tmp_path / "one.onnx", layers="p0", check=False)
    three = export_model(path, tmp_path / "three.onnx", layers="p0", targets=3, check=False)
    wanted = [[-1, -1], [1, 2], [0, -1]]
    together, apart = (
        explain(three.path, [number for target in wanted for number in target]),
        [explain(one.path, target) for target in wanted],
    )
    for key in (manifest.CHOSEN, manifest.SCORE, "aerocam_gradients_0"):
        np.testing.assert_allclose(together[key], np.concatenate([each[key] for each in apart]), rtol=1e-4, atol=1e-6)


def test_a_class_that_no_finished_box_has_leads_to_the_best_one(tmp_path: Path) -> None:
    done = export_model(saved(tmp_path, tiny.build(tiny.yolov10)[0]), layers="p0", labels=("a", "b", "c", "d"))
    assert done.manifest.score.classes == 4
    best = explain(done.path, [-1, -1])
    found = explain(done.path, [3, -1])
    assert found[manifest.CHOSEN].tolist() == best[manifest.CHOSEN].tolist()


def test_a_layout_is_forced(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """A transposed YOLOv8 read as a YOLOv5 has an objectness in place of its first class."""
    path = saved(tmp_path, tiny.build(tiny.yolov8_last)[0])
    done = export_model(path, layers="p0", layout="yolov5", check=False)
    assert done.manifest.score == Score("y", "sigmoid", CLASSES - 1, 5, CELLS, 2, objectness=4)
    assert "layout: yolov5 (asked for)" in log.text
    logits = export_model(saved(tmp_path, tiny.build(tiny.detr)[0]), layers="p0", layout="rtdetr", check=False)
    assert logits.manifest.score == Score("y", "none", CLASSES + 1, 0, tiny.QUERIES, 2, link="sigmoid")
    for name, message in (
        ("yolox", r"`layout='yolox'`: output 'y' has 63 anchors.* has 21, 21, 85 cells"),
        ("yolo8", "no such layout. Did you mean 'yolov8'"),
    ):
        with pytest.raises((ModelError, UsageError), match=message):
            export_model(saved(tmp_path, tiny.build(tiny.yolov5)[0]), layout=name)
    with pytest.raises(UsageError, match="`layout='ssd'`: a layout is one of a detector's, the task is classify"):
        export_model(path, layout="ssd", task="classify")


@pytest.mark.parametrize(("head", "resize"), [("RTDETRDecoder", "stretch"), ("v10Detect", "letterbox")])
def test_a_model_of_ultralytics_needs_no_flags(tmp_path: Path, head: str, resize: str) -> None:
    """Its RT-DETR is fed stretched frames, all others letterboxed ones."""
    proto = tiny.build(tiny.rtdetr_finished)[0]
    names = "{0: 'cup', 1: 'cat', 2: 'man'}"
    helper.set_model_props(proto, {"task": "detect", "stride": "32", "names": names, "head": head})
    found = export_model(saved(tmp_path, proto), check=False).manifest
    assert found.preprocess is not None
    assert (found.task, found.labels, found.preprocess.resize) == ("detect", ("cup", "cat", "man"), resize)


def test_a_forced_layout_is_trusted_where_the_graph_hides_the_sigmoids(tmp_path: Path) -> None:
    graph = tiny.Graph()
    tiny.scales(graph)
    tiny.yolov5(graph)
    graph.rename("hidden")
    graph.op("Max", ["hidden", np.float32(-1e6)], "y")
    path = saved(tmp_path, model(graph.nodes, {"x": X}, graph.constants, ["y"]))
    with pytest.raises(
        ModelError, match=r"task detect: outputs 'y' \['1', '63', '8'\]; one of shape \(1, 4 \+ classes"
    ):
        export_model(path, task="detect")
    done = export_model(path, tmp_path / "hidden.onnx", layers="p0", layout="yolov5", check=False)
    plain = export_model(saved(tmp_path, tiny.build(tiny.yolov5)[0]), layers="p0", check=False)
    assert (done.manifest.score, done.manifest.boxes) == (CASES["yolov5"].score, CASES["yolov5"].boxes)
    found, expected = explain(done.path, [1, 7]), explain(plain.path, [1, 7])
    np.testing.assert_allclose(found["aerocam_gradients_0"], expected["aerocam_gradients_0"], rtol=1e-6)


def test_raw_logits_of_queries_are_those_that_the_labels_say(tmp_path: Path) -> None:
    path = saved(tmp_path, tiny.build(tiny.detr)[0])
    sigmoids = export_model(path, layers="p0", labels=[*"abcd"], check=False).manifest
    softmax = export_model(path, layers="p0", labels=[*"abc"], check=False).manifest
    assert (sigmoids.score.classes, sigmoids.score.background) == (4, None)
    assert (softmax.score.classes, softmax.score.background) == (3, 3)


def test_sigmoids_with_a_background_by_its_name(tmp_path: Path) -> None:
    path = saved(tmp_path, tiny.build(tiny.retinanet)[0])
    done = export_model(path, layers="p0", labels=["Background", "cup", "cat"], check=False)
    assert done.manifest.score == Score("y", "sigmoid", CLASSES, 0, CELLS, 2, background=0)
    (y,) = run_ort(onnx.load(path), {"x": X}, ["y"])
    anchor, label = np.unravel_index(y[0, :, 1:].argmax(), (CELLS, 2))
    assert explain(done.path, [-1, -1])[manifest.CHOSEN].tolist() == [label + 1, anchor]


def test_the_background_needs_no_label(tmp_path: Path) -> None:
    path = saved(tmp_path, tiny.build(tiny.ssd)[0])
    assert export_model(path, layers="p0", labels=[*"abc"], check=False).manifest.labels == ("background", *"abc")
    with pytest.raises(UsageError, match="2 names for 4 classes"):
        export_model(path, layers="p0", labels=[*"ab"])


def test_boxes_that_the_graph_does_not_decode_are_said(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    graph = tiny.Graph()
    tiny.scales(graph)
    tiny.rows(graph, "boxes", 4, 10)
    graph.op("Sigmoid", [tiny.rows(graph, "logits", CLASSES, 20)], "y")
    proto = model(graph.nodes, {"x": X}, graph.constants, ["boxes", "y"])
    done = export_model(saved(tmp_path, proto), layers="p0", task="detect")
    assert done.manifest.boxes is None
    assert "encodings relative to anchors that it does not hold); `layout` settles it" in log.text
    assert list_layers(tmp_path / "model.onnx", layout="retinanet")[1][0].name == "p0"


def test_the_order_of_two_outputs_and_four_classes(tmp_path: Path) -> None:
    graph = tiny.Graph()
    tiny.scales(graph)
    tiny._decoded(graph)
    graph.op("Sigmoid", [tiny.rows(graph, "logits", 4, 20)], "y")
    for outputs in (["boxes", "y"], ["y", "boxes"]):
        proto = model(graph.nodes, {"x": X}, graph.constants, outputs)
        done = export_model(saved(tmp_path, proto), layers="p0")
        assert (done.manifest.score.output, done.manifest.boxes) == ("y", CORNERS)


def test_finite_in_float16(tmp_path: Path) -> None:
    """The least probability that float16 has, 6e-8, has an inverse that it has not."""
    dtype = np.float16
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["p0"], strides=[8, 8]),
        helper.make_node("Reshape", ["p0", "view"], ["flat"]),
        helper.make_node("Split", ["flat", "parts"], ["box", "raw"], axis=1),
        helper.make_node("Mul", ["box", "px"], ["boxes"]),
        helper.make_node("Sigmoid", ["raw"], ["shares"]),
        helper.make_node("Concat", ["boxes", "shares"], ["joined"], axis=1),
        helper.make_node("Transpose", ["joined"], ["y"], perm=[0, 2, 1]),
    ]
    constants: dict[str, Any] = {
        "k": np.zeros((9, 3, 8, 8), dtype),
        "view": np.array([1, 9, 16]),
        "parts": np.array([4, 5]),
        "px": dtype(8),
    }
    constants["k"][5:] = -0.1
    proto = model(nodes, {"x": np.zeros(tiny.IMAGE, dtype)}, constants, ["y"])
    done = export_model(saved(tmp_path, proto), layers="p0", layout="yolov5", check=False)
    names = [manifest.SCORE, "aerocam_gradients_0"]
    feeds = {"x": np.ones(tiny.IMAGE, dtype), manifest.TARGET: np.array([1, 3], np.int32)}
    score, gradients = run_ort(onnx.load(done.path), feeds, names)
    assert np.isfinite(score).all()
    assert np.isfinite(gradients).all()


RNG = np.random.default_rng(0)
GRID = np.stack(np.meshgrid(np.arange(20), np.arange(20)), axis=-1).reshape(-1, 2) + 0.5
SIZES = RNG.uniform(0.5, 3, GRID.shape)


@pytest.mark.parametrize("unit", ["pixel", "share"])
@pytest.mark.parametrize("form", ["cxcywh", "xyxy", "yxyx"])
def test_the_form_of_boxes_is_read_off_them(form: str, unit: str) -> None:
    """Boxes around the cells of a grid of 20x20, row by row."""
    centres, sizes = (values * (32 if unit == "pixel" else 1 / 20) for values in (GRID, SIZES))
    corners = np.hstack([centres - sizes / 2, centres + sizes / 2])
    boxes = {"cxcywh": np.hstack([centres, sizes]), "xyxy": corners, "yxyx": corners[:, [1, 0, 3, 2]]}[form]
    assert box_form(boxes) == (form, unit)
