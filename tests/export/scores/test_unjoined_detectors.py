"""Detectors that leave scales apart and boxes undecoded: joined, decoded and explained as the host's code has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tiny_detectors as tiny
from aerocam import manifest
from aerocam.errors import ModelError
from aerocam.export import export_model
from aerocam.export.scores.detectors import NAMES
from aerocam.runtime import Explainer, Objects
from detector_cases import CASES
from onnx_graphs import f32, in_float64, model, run_ort, run_reference, saved
from tiny_heads import HEADS, Array, Heads

FRAME = np.random.default_rng(3).integers(0, 255, (32, 32, 3), np.uint8)
IMAGE = np.ascontiguousarray(FRAME[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255


def outputs_of(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    names = [value.name for value in proto.graph.output]
    return dict(zip(names, run_ort(proto, feeds, names), strict=True))


def exported(folder: Path, case: Heads, **options: Any) -> Any:
    options = {"layers": "p0", "preprocess": "unit", "layout": case.asked, **options}
    return export_model(saved(folder, case.files()[0]), **options)


def test_every_layout_has_a_network() -> None:
    known = {case.layout for case in (*CASES.values(), *HEADS.values())}
    assert sorted(set(NAMES) - known) == []


@pytest.mark.parametrize("name", HEADS)
def test_objects_are_those_of_the_hosts_code(tmp_path: Path, name: str) -> None:
    case = HEADS[name]
    shares, boxes = case.decode(outputs_of(case.files()[0], {"x": IMAGE}))
    done = exported(tmp_path, case)
    assert done.manifest.task == "detect"
    assert {item.subject: item.decided for item in done.manifest.decisions}["layout"] == case.layout
    assert not [item for item in done.manifest.decisions if item.is_guess and item.subject != "layers"]
    order = np.argsort(-shares.max(axis=1), kind="stable")
    order = order[shares.max(axis=1)[order] > 0]
    with Explainer(done.path) as explainer:
        found = explainer(FRAME, Objects(most=len(shares), confidence=0, iou=1)).targets
    assert [target.index for target in found] == shares.argmax(axis=1)[order].tolist()
    np.testing.assert_allclose([target.score for target in found], shares.max(axis=1)[order], rtol=1e-4)
    np.testing.assert_allclose([target.box for target in found], np.clip(boxes[order], 0, 32), atol=2e-3)


@pytest.mark.parametrize("name", HEADS)
def test_the_logit_at_an_anchor_is_differentiated(tmp_path: Path, name: str) -> None:
    """Against central differences in float64 of the host's probabilities; of a product, of the class alone."""
    case = HEADS[name]
    done = exported(tmp_path, case, check=False)
    feeds = {"x": IMAGE, manifest.TARGET: np.array([0, 5], np.int32)}
    found = outputs_of(onnx.load(done.path), feeds)
    behind = in_float64(case.files()[1])
    names = [value.name for value in behind.graph.output]

    def logit(p0: Array) -> float:
        share = class_share(case, dict(zip(names, run_reference(behind, {"p0": p0}), strict=True)))
        return float(np.log(share / (1 - share)))

    p0, slopes = found["p0"].astype(float), np.zeros(found["p0"].shape)
    for place in np.ndindex(p0.shape):
        step = np.zeros(p0.shape)
        step[place] = 1e-5
        slopes[place] = (logit(p0 + step) - logit(p0 - step)) / 2e-5
    assert np.abs(slopes).max() > 1e-3
    np.testing.assert_allclose(found["aerocam_gradients_0"], slopes, rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(found[manifest.SCORE], logit(p0), rtol=1e-3)


def class_share(case: Heads, outputs: dict[str, Array]) -> float:
    """The probability of class 0 at anchor 5, without objectness, and whether or not the anchor is a peak."""
    if case.layout == "centernet":
        return float(outputs["hm"].reshape(tiny.CLASSES, -1)[0, 5])
    shares, _ = case.decode(outputs)
    if case.layout.startswith("yolo") and "reg_4" not in outputs:
        columns = 5 + tiny.CLASSES
        head = outputs["head_4"]
        row = head.reshape(-1, columns, 16)[0, :, 5] if head.ndim == 4 else head.reshape(3, 16, columns)[0, 5]
        return float(1 / (1 + np.exp(-row[5])))
    if "obj_4" in outputs:
        return float(outputs["cls_4"].reshape(tiny.CLASSES, -1)[0, 5])
    return float(shares[5, 0])


@pytest.mark.parametrize("name", ["yolov5", "yolov7"])
def test_whose_anchors_is_asked(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ModelError, match=r"outputs 'head_4' .*whose sizes the graph does not hold; `layout` says whose"
    ):
        exported(tmp_path, HEADS[name], layout=None)


def deployed(sizes: bool) -> onnx.ModelProto:
    """RT-DETR as its own repository deploys it: labels, boxes and scores of the best, perhaps times the sizes."""
    graph = tiny.Graph()
    tiny.scales(graph)
    tiny.rtdetr_finished(graph)
    graph.nodes = graph.nodes[:-4]
    graph.op("Split", ["box_of_best", np.array([2, 2])], "middle size", axis=2)
    half = graph.op("Mul", ["size", np.float32(0.5)], "half")
    sides = [graph.op("Sub", ["middle", half], "low"), graph.op("Add", ["middle", half], "high")]
    corners = graph.op("Concat", sides, "corners", axis=2)
    times = graph.op("Cast", ["target_sizes"], "times", to=1) if sizes else ""
    twice = graph.op("Tile", [times, np.array([1, 2])], "twice") if sizes else np.float32([32] * 4)
    graph.op("Mul", [corners, twice], "found")
    graph.op("Identity", ["kind"], "labels")
    graph.op("Identity", ["best"], "scores")
    inputs = {"x": IMAGE} | ({"target_sizes": np.array([[32, 32]])} if sizes else {})
    return model(graph.nodes, inputs, tiny._read(graph, graph.nodes), ["labels", "found", "scores"])


@pytest.mark.parametrize("fixed", [None, 32, False])
def test_labels_boxes_and_scores_apart(tmp_path: Path, fixed: int | None) -> None:
    """As the list that Ultralytics makes of them; who leaves the sizes open is told what they do."""
    path = saved(tmp_path, deployed(sizes=fixed is not False))
    done = export_model(path, layers="p0", preprocess="unit", fix={"target_sizes": fixed} if fixed else None)
    path = saved(tmp_path, tiny.build(tiny.rtdetr_finished)[0])
    listed = export_model(path, tmp_path / "listed.onnx", layers="p0", check=False)
    (boxes,) = [item for item in done.manifest.decisions if item.subject == "boxes"]
    assert ("the input 'target_sizes' says" in str(boxes)) == (fixed is None)
    feeds = {"x": IMAGE, manifest.TARGET: np.array([-1, 2], np.int32)}
    own = {"target_sizes": np.array([[32, 32]])} if fixed is None else {}
    found, expected = outputs_of(onnx.load(done.path), feeds | own), outputs_of(onnx.load(listed.path), feeds)
    for name in (manifest.CHOSEN, manifest.SCORE, "aerocam_gradients_0"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)
    middle, size = expected["y"][0, :, :2] * 32, expected["y"][0, :, 2:4] * 32
    table = np.concatenate([middle - size / 2, middle + size / 2, expected["y"][0, :, 4:]], axis=1)
    np.testing.assert_allclose(found["aerocam_table"][0], table, atol=1e-5)
    place = done.manifest.boxes
    assert place is not None
    assert (place.output, place.form, place.unit, place.suppressed) == ("aerocam_table", "xyxy", "pixel", True)


def test_several_targets_split(tmp_path: Path) -> None:
    """The tables are made in the forward file."""
    case = HEADS["picodet"]
    done = exported(tmp_path, case, targets=2, packaging="split")
    one = exported(tmp_path, case, output=tmp_path / "one.onnx")
    with Explainer(done.path) as split, Explainer(one.path) as fused:
        both, alone = split(FRAME, Objects(most=2, confidence=0)), fused(FRAME, Objects(most=2, confidence=0))
    assert [target.box for target in both.targets] == [target.box for target in alone.targets]
    np.testing.assert_allclose(both.map, alone.map, atol=1e-5)


def test_scales_in_no_known_layout_are_refused(tmp_path: Path) -> None:
    """RetinaNet's heads: nine anchors per cell, of sizes that nobody knows."""

    def build(graph: tiny.Graph) -> list[str]:
        return [
            graph.conv(f"p{i}", f"{kind}{i}", n, 10 + i) for i in range(3) for kind, n in (("cls", 27), ("box", 36))
        ]

    case = Heads("", build, lambda outputs: (f32(1), f32(1)))
    with pytest.raises(
        ModelError, match=r"outputs 'cls0' .*at several scales.* in no layout that is known; let the graph"
    ):
        exported(tmp_path, case)
