"""Detectors with a suppression inside the graph: explained in front of it, and the same objects found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import tiny_detectors as tiny
from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.manifest import Boxes, Score
from aerocam.runtime import Explainer, Objects
from onnx_graphs import model, run_ort, saved
from tiny_detectors import CELLS, CLASSES, Graph

FRAME = np.random.default_rng(4).integers(0, 255, (32, 32, 3), np.uint8)
IMAGE = np.ascontiguousarray(FRAME[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
CONFIDENCE, IOU = 0.6, 0.5


def corners(graph: Graph, name: str) -> str:
    """(1, cells, 4): left, top, right, bottom in px."""
    tiny._around_cells(graph, "middle_size")
    graph.op("Split", ["middle_size", np.array([2, 2])], "middle_px size_all", axis=1)
    half = graph.op("Mul", ["size_all", np.float32(0.5)], "half_size")
    sides = [graph.op("Sub", ["middle_px", half], "first"), graph.op("Add", ["middle_px", half], "second")]
    return graph.op("Transpose", [graph.op("Concat", sides, "sides", axis=1)], name, perm=[0, 2, 1])


def scores(graph: Graph, name: str, last: bool = True) -> str:
    """(1, cells, classes), or (1, classes, cells)."""
    return graph.op("Sigmoid", [tiny.rows(graph, "cls", CLASSES, 20, last)], name)


def tail(graph: Graph, boxes: str, shares: str, kinds: str | None) -> None:
    """`rows` (n, 6): box, score and class of what NonMaxSuppression has left in `selected`."""
    place = [graph.op("Gather", ["selected", np.array(i)], f"place_{i}", axis=1) for i in (1, 2)]
    box = graph.op("Gather", [graph.op("Squeeze", [boxes, np.array([0])], "boxes_2"), place[1]], "box_left")
    if kinds is None:
        pair = graph.op("Gather", ["selected", np.array([1, 2])], "pair", axis=1)
        score = graph.op("GatherND", [graph.op("Squeeze", [shares, np.array([0])], "shares_2"), pair], "share_left")
        kind = place[0]
    else:
        flat = [graph.reshape(value, f"{value}_flat", CELLS) for value in (shares, kinds)]
        score, kind = (graph.op("Gather", [value, place[1]], f"{value}_left") for value in flat)
    columns = [graph.op("Unsqueeze", [value, np.array([1])], f"{value}_2") for value in
               (score, graph.op("Cast", [kind], "kind_left", to=1))]  # fmt: skip
    graph.op("Concat", [box, *columns], "rows", axis=1)


def suppress(graph: Graph, boxes: str, shares: str, iou: float = IOU) -> None:
    limits = [np.array([CELLS]), np.float32([iou]), np.float32([CONFIDENCE])]
    graph.op("NonMaxSuppression", [boxes, shares, *limits], "selected")


def per_class(graph: Graph) -> None:
    """As TensorFlow has it: each class by itself. Boxes that overlap stay, as an anchor may be of several classes."""
    boxes, shares = corners(graph, "corners"), scores(graph, "shares", last=False)
    suppress(graph, boxes, shares, 1.0)
    tail(graph, boxes, shares, None)


def moved_apart(graph: Graph) -> None:
    """As YOLOv7's `--end2end` has it: the best class alone, boxes moved apart by their class."""
    boxes, shares = corners(graph, "corners"), scores(graph, "shares")
    best = graph.op("ReduceMax", [shares], "best", axes=[2], keepdims=1)
    kind = graph.op("Cast", [graph.op("ArgMax", [shares], "kind", axis=2, keepdims=1)], "kinds", to=1)
    apart = graph.op("Add", [boxes, graph.op("Mul", [kind, np.float32(640)], "kind_px")], "apart")
    suppress(graph, apart, graph.op("Transpose", [best], "best_first", perm=[0, 2, 1]))
    tail(graph, boxes, "best", "kinds")


def built(build: Callable[[Graph], None], *outputs: str) -> onnx.ModelProto:
    graph = Graph()
    tiny.scales(graph)
    build(graph)
    return model(graph.nodes, {"x": np.zeros(tiny.IMAGE, np.float32)}, tiny._read(graph, graph.nodes), list(outputs))


@pytest.mark.parametrize("build", [per_class, moved_apart])
def test_objects_are_the_rows_that_the_graph_leaves(tmp_path: Path, build: Callable[[Graph], None]) -> None:
    """The rows' shape depends on the picture; they still leave the file, and the objects are the same."""
    proto = built(build, "rows")
    rows = run_ort(proto, {"x": IMAGE}, ["rows"])[0]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    iou = IOU
    if build is per_class:  # an object is an anchor of its best class
        iou, rows = 1.0, rows[np.sort(np.unique(rows[:, :4], axis=0, return_index=True)[1])]
    assert 3 < len(rows) < CELLS - 3
    done = export_model(saved(tmp_path, proto), layers="p0", preprocess="unit")
    columns = 1 if build is per_class else 2
    assert done.manifest.score == Score("shares", "sigmoid", CLASSES, 0, CELLS, columns)
    assert done.manifest.boxes == Boxes("corners", 2, form="xyxy")
    assert [value.name for value in onnx.load(done.path).graph.output][:3] == ["rows", "shares", "corners"]
    with Explainer(done.path) as explainer:
        found = explainer(FRAME, Objects(most=CELLS, confidence=CONFIDENCE, iou=iou)).targets
    assert [target.index for target in found] == rows[:, 5].tolist()
    np.testing.assert_allclose([target.score for target in found], rows[:, 4], rtol=1e-6)
    np.testing.assert_allclose([target.box for target in found], np.clip(rows[:, :4], 0, 32), atol=1e-4)


def test_torchvisions_transforms_and_boxes_without_a_batch(tmp_path: Path) -> None:
    """(3, 16, 16), normalised and resized inside; boxes (cells, 4) in px of that, some picked before suppression."""
    graph = Graph()
    normal = graph.op(
        "Div", [graph.op("Sub", ["x", np.full((3, 1, 1), 0.45, np.float32)], "less"), np.float32(0.225)], "normal"
    )
    batched = graph.op("Unsqueeze", [normal, np.array([0])], "batched")
    graph.op("Resize", [batched, "", "", np.array([1, 3, 32, 32])], "resized", mode="linear")
    tiny.scales(graph)
    graph.nodes[4].input[0] = "resized"
    flat = graph.op("Squeeze", [tiny.rows(graph, "reg", 4, 10), np.array([0])], "reg_2")
    graph.op("Split", [flat, np.array([2, 2])], "shift growth", axis=1)
    half = graph.op("Mul", [graph.op("Exp", ["growth"], "grown"), tiny.STEPS / 2], "half")
    middle = graph.op("Add", ["shift", (tiny.CENTRES + 0.5) * tiny.STEPS], "middle")
    sides = [graph.op("Sub", [middle, half], "first"), graph.op("Add", [middle, half], "second")]
    joined = graph.op("Concat", sides, "joined", axis=1)
    boxes = graph.op("Clip", [joined, np.float32(0), np.float32(32)], "corners")
    logits = tiny.rows(graph, "cls", 1 + CLASSES, 20)
    shares = graph.op("Squeeze", [graph.op("Softmax", [logits], "shares", axis=-1), np.array([0])], "shares_2")
    column = graph.op("Gather", [shares, np.array(1)], "column", axis=1)
    sure = graph.op("Greater", [column, np.float32(0.1)], "sure")
    places = graph.op("Transpose", [graph.op("NonZero", [sure], "places")], "places_last", perm=[1, 0])
    picked = [graph.op("GatherND", [value, places], f"{value}_picked") for value in (boxes, column)]
    listed = [graph.op("Unsqueeze", [value, axes], f"{value}_3") for value, axes in
              zip(picked, (np.array([0]), np.array([0, 1])), strict=True)]  # fmt: skip
    suppress(graph, *listed)
    image = np.zeros((3, 16, 16), np.float32)
    proto, inside = (model(graph.nodes, {"x": image}, tiny._read(graph, graph.nodes), outputs) for outputs in
                     (["selected"], ["corners", "shares_2"]))  # fmt: skip
    done = export_model(saved(tmp_path, proto), layers="p0")
    frame = np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8)
    image = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1), np.float32) / 255
    given, values = run_ort(inside, {"x": image}, ["corners", "shares_2"])
    score = done.manifest.score
    assert (score.activation, score.background, score.anchors, score.classes) == ("softmax", 0, CELLS, 1 + CLASSES)
    assert done.manifest.preprocess is not None
    assert (done.manifest.preprocess.size, done.manifest.preprocess.std) == ((16, 16), (255.0,) * 3)
    values[:, 0] = 0
    order = np.argsort(-values.max(axis=1), kind="stable")
    with Explainer(done.path) as explainer:
        found = explainer(frame, Objects(most=CELLS, confidence=0, iou=1)).targets
    assert [target.index for target in found] == values.argmax(axis=1)[order].tolist()
    np.testing.assert_allclose([target.box for target in found], given[order] / 2, atol=1e-4)


@pytest.mark.parametrize("operator", ["EfficientNMS_TRT", "BatchedNMS_TRT"])
def test_a_plugin_is_cut_off(tmp_path: Path, operator: str) -> None:
    """Logits that EfficientNMS applies a sigmoid to, boxes by centre and size; for BatchedNMS (1, cells, 1, 4)."""

    def build(graph: Graph) -> None:
        graph.op("Transpose", [tiny._around_cells(graph, "middle")], "middle_last", perm=[0, 2, 1])
        tiny.rows(graph, "logits", CLASSES, 20)
        scores(graph, "shares")

    plain = built(build, "middle_last", "logits")
    boxes, logits = run_ort(plain, {"x": IMAGE}, ["middle_last", "logits"])
    proto, efficient = built(build, "middle_last", "logits"), operator == "EfficientNMS_TRT"
    del proto.graph.output[:]
    inputs = ["middle_last", "logits"] if efficient else ["middle_4", "shares"]
    if not efficient:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "two"))
        proto.graph.node.append(helper.make_node("Unsqueeze", ["middle_last", "two"], ["middle_4"]))
    attributes = {"score_activation": 1, "box_coding": 1, "background_class": -1} if efficient else {}
    names = ["num", "box", "score", "kind"]
    proto.graph.node.append(helper.make_node(operator, inputs, names, domain="TRT", **attributes))
    for name in names:
        proto.graph.output.append(helper.make_tensor_value_info(name, 1, [1, None]))
    proto.opset_import.add(domain="TRT", version=1)
    done = export_model(saved(tmp_path, proto), layers="p0", preprocess="unit")
    place = "middle_last" if efficient else "middle_4_of_all"
    assert done.manifest.boxes == Boxes(place, 2)
    (said,) = [str(item) for item in done.manifest.decisions if item.subject == "suppression"]
    assert f"suppression: {operator} is cut off; {place!r} and {inputs[1]!r}, which it reads, are outputs" in said
    shares = 1 / (1 + np.exp(-logits[0].astype(float)))
    best = int(shares.max(axis=1).argmax())
    x, y, wide, high = boxes[0, best].tolist()
    with Explainer(done.path) as explainer:
        (target,) = explainer(FRAME, Objects(most=1, confidence=0)).targets
    assert (target.index, target.anchor) == (shares[best].argmax(), best)
    np.testing.assert_allclose(target.score, shares[best].max(), rtol=1e-5)
    sides = [x - wide / 2, y - high / 2, x + wide / 2, y + high / 2]
    np.testing.assert_allclose(target.box, np.clip(sides, 0, 32), atol=1e-4)


def test_a_background_that_the_plugin_names(tmp_path: Path) -> None:
    def build(graph: Graph) -> None:
        graph.op("Identity", [corners(graph, "corners")], "boxes_in")
        graph.op("Identity", [scores(graph, "shares")], "scores_in")

    proto = built(build, "boxes_in", "scores_in")
    del proto.graph.output[:]
    proto.graph.node.append(
        helper.make_node("EfficientNMS_TRT", ["boxes_in", "scores_in"], ["n"], domain="TRT", background_class=0)
    )
    proto.graph.output.append(helper.make_tensor_value_info("n", 1, [1, 1]))
    proto.opset_import.add(domain="TRT", version=1)
    done: Any = export_model(saved(tmp_path, proto), layers="p0", check=False)
    assert (done.manifest.score.background, done.manifest.boxes.form) == (0, "xyxy")


def test_a_plugin_that_decodes_boxes_is_refused(tmp_path: Path) -> None:
    proto = built(lambda graph: None, "p0")
    node = helper.make_node("EfficientNMS_TRT", ["p0", "p0", "p0"], ["n"], domain="TRT", name="nms")
    proto.graph.node.append(node)
    with pytest.raises(
        ModelError, match=r"operator EfficientNMS_TRT \(node 'nms'\): it decodes boxes itself, from the anch"
    ):
        export_model(saved(tmp_path, proto))


def test_a_suppression_without_a_table_is_refused(tmp_path: Path) -> None:
    """Scores of one class are a table of one column: nothing says which tensor in front has the classes."""

    def build(graph: Graph) -> None:
        shares = graph.op("Sigmoid", [tiny.rows(graph, "cls", 1, 20, False)], "shares")
        suppress(graph, graph.op("Reshape", ["shares", np.array([1, -1, 1])], "no_boxes"), shares)

    proto = built(build, "selected")
    with pytest.raises(
        ModelError, match=r"outputs 'selected' \(its shape depends on the data\): a detector that suppresses"
    ):
        export_model(saved(tmp_path, proto))
