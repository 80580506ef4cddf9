"""Files of Ultralytics: what the metadata say and what the graph computes, held against each other."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import tiny_detectors as tiny
from aerocam.errors import ModelError, UsageError
from aerocam.export import export_model
from aerocam.export.reading.ultralytics import Ultralytics, predict_preprocess, read_ultralytics
from aerocam.manifest import Boxes, Score
from aerocam.runtime import Explainer, Objects
from detector_cases import CASES, CELLS, EXTRAS, NAMES
from onnx_graphs import run_ort, saved


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("aerocam"), "propagate", True)
    caplog.set_level(logging.INFO, "aerocam.export")
    return caplog


def written(folder: Path, name: str, **metadata: str | None) -> Path:
    """A tiny detector with other metadata; None takes an entry away."""
    proto = CASES[name].file()
    del proto.metadata_props[:]
    entries = {**CASES[name].metadata, **metadata}
    onnx.helper.set_model_props(proto, {key: value for key, value in entries.items() if value is not None})
    return saved(folder, proto)


@pytest.mark.parametrize("kind", EXTRAS)
def test_an_object_from_the_file_to_record_and_overlay(tmp_path: Path, kind: str) -> None:
    """Class, score and place are those in the model's own output; the overlay shows them."""
    path = written(tmp_path, kind)
    frame = np.random.default_rng(4).integers(0, 255, (32, 32, 3), np.uint8)
    image = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
    outputs = run_ort(onnx.load(path), {"x": image}, [item.name for item in onnx.load(path).graph.output])
    row = outputs[0][0].T
    with Explainer(export_model(path).path) as explainer:
        explanation = explainer(frame, Objects(confidence=0))
        record = json.loads(json.dumps(explanation.record()))
        plain, drawn = explanation.overlay(caption=False), explanation.overlay(caption=False, boxes=True)
    target, (shown, *_) = explanation.target, record["targets"]
    best = row[target.anchor]
    assert target.index == best[4:7].argmax()
    assert target.score == pytest.approx(best[4:7].max(), abs=1e-6)
    assert target.label == shown["label"] == ("red", "green", "blue")[target.index]
    assert ("polygon" in shown, "keypoints" in shown, "mask" in shown) == tuple(
        kind == name for name in ("obb", "pose", "segment")
    )
    if kind == "obb":
        x, y, w, h, *_, angle = best.tolist()
        corner = cv2.boxPoints(((x, y), (abs(w), abs(h)), float(np.degrees(angle))))
        np.testing.assert_allclose(sorted(shown["polygon"]), sorted(corner.tolist()), atol=1e-3)
    if kind == "pose":
        points = best[7:].reshape(2, 3) * [1, 1, 1]
        points[:, :2] = np.clip(points[:, :2], 0, 32)
        np.testing.assert_allclose(shown["keypoints"], points, atol=1e-4)
    if kind == "segment":
        logits = np.tensordot(best[7:], outputs[1][0], 1)
        inside = cv2.resize(logits, (32, 32)) > 0
        left, top, right, bottom = np.ceil(np.clip(target.box, 0, 32)).astype(int)
        expected = np.zeros((32, 32), bool)
        expected[top:bottom, left:right] = inside[top:bottom, left:right]
        np.testing.assert_array_equal(explanation.masks[0], expected)
        assert sum(part["area"] for part in shown["mask"]) == expected.sum()
    assert (plain != drawn).any()


def test_what_metadata_say() -> None:
    said = read_ultralytics({**NAMES, "task": "pose", "kpt_shape": "[17, 3]", "version": "8.3.253", "head": "Pose"})
    assert said == Ultralytics("pose", ("red", "green", "blue"), (32, 32), (17, 3), "Pose", (8, 3, 253))
    assert read_ultralytics({**NAMES, "imgsz": "640"}) == Ultralytics("", ("red", "green", "blue"), (640, 640))
    assert read_ultralytics({"names": "{0: 'a'}"}) is None


@pytest.mark.parametrize("value", ["[0, 32]", "[1, 2, 3]", "'a'", "[32.0, 32]", "broken["])
def test_metadata_that_cannot_be_read_count_as_absent(value: str) -> None:
    said = read_ultralytics({**NAMES, "imgsz": value})
    assert said is not None
    assert said.size is None


@pytest.mark.parametrize(
    ("name", "metadata", "message"),
    [
        ("obb", {"task": "detect"}, r"1 numbers behind box and classes; the metadata's task 'detect' has none"),
        ("obb", {"task": "segment"}, r"the metadata's task 'segment' has as many as its prototypes"),
        ("obb", {"task": "pose", "kpt_shape": "[2, 3]"}, r"'pose' has those of its keypoints, kpt_shape \[2, 3\]"),
        ("pose", {"kpt_shape": "[17, 3]"}, r"6 numbers behind .*kpt_shape \[17, 3\]"),
        ("pose", {"task": "obb"}, r"'obb' has 1, the angle"),
        ("yolov8", {**NAMES, "task": "obb"}, r"0 numbers behind .*'obb' has 1"),
        ("obb", {"task": "depth"}, r"metadata names task 'depth'; classify, detect, segment, pose, obb are explained"),
    ],
)
def test_a_contradiction_is_said(tmp_path: Path, name: str, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        export_model(written(tmp_path, name, **metadata), check=False)


def test_a_layout_that_is_forced_on_numbers_of_unknown_meaning(tmp_path: Path) -> None:
    path = written(tmp_path, "obb", task=None, names=None)
    with pytest.raises(ModelError, match="nothing says what they are; keep the metadata"):
        export_model(path, layout="yolov8", check=False)


def test_masks_are_found_without_metadata(tmp_path: Path) -> None:
    """The prototypes say what the numbers are."""
    path = written(tmp_path, "segment", task=None, names=None, stride=None)
    assert export_model(path, check=False).manifest.boxes == EXTRAS["segment"].boxes


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_a_task_that_the_metadata_contradict_is_refused(tmp_path: Path, task: Any) -> None:
    """Else the coefficients of masks would be classes."""
    with pytest.raises(UsageError, match=f"`task='{task}'`: the model's metadata name task 'segment' of Ultralytics"):
        export_model(written(tmp_path, "segment"), task=task, check=False)


def test_another_number_of_names_is_said(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    """The graph says how many classes there are."""
    done = export_model(written(tmp_path, "obb", names="{0: 'a'}"), check=False)
    assert (done.manifest.score.classes, done.manifest.boxes) == (3, EXTRAS["obb"].boxes)
    assert "no names fit, but the model's metadata names 1 classes, the output has 3); `labels`" in log.text


def test_yolov5_of_its_own_repository_names_no_task(tmp_path: Path) -> None:
    """Its metadata are stride and names alone; the form of the output decides."""
    done = export_model(written(tmp_path, "yolov5", stride="32", names="['red', 'green', 'blue']"), check=False)
    assert (done.manifest.task, done.manifest.labels) == ("detect", ("red", "green", "blue"))


@pytest.mark.parametrize("packaging", ["fused", "split"])
def test_what_the_graph_suppresses_is_explained_in_front_of_it(tmp_path: Path, packaging: Any) -> None:
    """The list of boxes still leaves; the objects that the runtime finds in the table are its rows, in their order."""
    proto = tiny.build(tiny.yolov8_suppressed)[0]
    frame = np.random.default_rng(4).integers(0, 255, (32, 32, 3), np.uint8)
    image = np.ascontiguousarray(frame[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
    (rows,) = run_ort(proto, {"x": image}, ["y"])[0]
    rows = rows[rows[:, 4] > 0]
    assert 3 < len(rows) < CELLS - 3
    onnx.helper.set_model_props(proto, {**NAMES, "task": "detect"})
    done = export_model(saved(tmp_path, proto), packaging=packaging)
    assert done.manifest.score == Score("table", "sigmoid", 3, 4, CELLS, 2)
    assert done.manifest.boxes == Boxes("table", 2, form="xyxy")
    assert [item.name for item in onnx.load(done.path).graph.output][:2] == ["y", "table"]
    with Explainer(done.path) as explainer:
        targets = explainer(frame, Objects(most=CELLS)).targets
    assert [target.index for target in targets] == rows[:, 5].tolist()
    np.testing.assert_allclose([target.score for target in targets], rows[:, 4], rtol=1e-6)
    np.testing.assert_allclose([target.box for target in targets], np.clip(rows[:, :4], 0, 32), atol=1e-4)


def test_a_suppression_is_seen_through_without_metadata(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    done = export_model(saved(tmp_path, tiny.build(tiny.yolov8_suppressed)[0]), check=False)
    assert (done.manifest.task, done.manifest.score.output) == ("detect", "table")
    assert "layout: yolov8 (the form of the graph, in front of its suppression: tensor 'table')" in log.text


def dynamic(folder: Path, **metadata: str) -> Path:
    """A tiny detector whose height and width are not written down."""
    path = written(folder, "segment", **metadata)
    proto = onnx.load(path)
    for dim, name in zip(
        proto.graph.input[0].type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True
    ):
        if name:
            dim.dim_param = name
    onnx.save(proto, path)
    return path


def test_a_dynamic_size_is_that_of_the_metadata(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    done = export_model(dynamic(tmp_path))
    assert done.manifest.preprocess is not None
    assert (done.manifest.preprocess.size, done.manifest.boxes) == ((32, 32), EXTRAS["segment"].boxes)
    assert "input 'x': (1, 3, 32, 32) by the metadata's imgsz; `input_shapes` says otherwise" in log.text


def test_a_dynamic_size_that_nothing_names_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"input 'x' has shape \[1,3,\?,\?\], a static one is needed"):
        export_model(dynamic(tmp_path, imgsz="broken["))


def test_a_size_that_is_not_the_metadatas_is_said(tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    done = export_model(written(tmp_path, "segment", imgsz="[64, 32]"), check=False)
    assert done.manifest.preprocess is not None
    assert done.manifest.preprocess.size == (32, 32)
    assert "as Ultralytics' own predict does, but its metadata say imgsz (64, 32))" in log.text


@pytest.mark.parametrize(
    ("size", "metadata", "resize", "mean", "interpolation"),
    [
        ((32, 32), {"task": "classify", "version": "8.3.1"}, "crop", (0.0, 0.0, 0.0), "pil-bilinear"),
        ((32, 32), {"task": "classify", "version": "8.0.52"}, "crop", (123.675, 116.28, 103.53), "linear"),
        ((32, 32), {"task": "classify", "version": "8.0.120"}, "crop", (0.0, 0.0, 0.0), "linear"),
        ((32, 32), {"task": "classify"}, "crop", (0.0, 0.0, 0.0), "pil-bilinear"),
        ((32, 48), {"task": "classify", "version": "8.3.1"}, "stretch", (0.0, 0.0, 0.0), "pil-bilinear"),
        ((32, 48), {"task": "pose", "version": "8.0.1"}, "letterbox", (0.0, 0.0, 0.0), "linear"),
        ((32, 32), {"task": "detect", "head": "RTDETRDecoder"}, "stretch", (0.0, 0.0, 0.0), "linear"),
    ],
)
def test_preprocessing_is_that_of_its_predict(
    size: tuple[int, int], metadata: dict[str, str], resize: str, mean: tuple[float, ...], interpolation: str
) -> None:
    """Classifiers take the middle square, resized by Pillow but for early ones; before 8.0.53 by ImageNet's mean."""
    said = read_ultralytics({**NAMES, **metadata})
    assert said is not None
    rule = predict_preprocess(said, "images", size, "NCHW")
    assert (rule.size, rule.resize, rule.mean, rule.color) == (size, resize, mean, "RGB")
    assert rule.interpolation == interpolation
    assert rule.short_side == (32 if resize == "crop" else 0)
    grey = predict_preprocess(said, "images", size, "NCHW", 1)
    assert (grey.color, grey.mean, grey.std) == ("GRAY", (0.0,), (255.0,))
