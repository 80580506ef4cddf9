"""Rotated boxes, masks and keypoints of a detector's objects: as Ultralytics makes them of the same output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import checkout
from aerocam.manifest import Boxes, Keypoints, Layer, Manifest, Masks, Preprocess, Score, Source
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions.detections import Detection, detections
from aerocam.runtime.predictions.objects import masks_at, places_at
from aerocam.runtime.predictions.rotated import corners, suppress_rotated

pytestmark = pytest.mark.runtime

GOLDEN = np.load(checkout.GOLDEN / "detections/ultralytics_objects.npz")
"""Made by golden/detections/make_ultralytics_objects.py."""

TENSOR, FRAME = (64, 96), (100, 200)
RULE = Preprocess("images", TENSOR, resize="letterbox")
PLACEMENT = Placement.of(RULE, FRAME)
BOXES = {
    "obb": Boxes("y", 1, angle=7),
    "segment": Boxes("y", 1, masks=Masks("prototypes", 7, 5)),
    "pose": Boxes("y", 1, keypoints=Keypoints(7, 2, 3)),
}


def found(kind: str) -> tuple[dict[str, np.ndarray], Manifest, list[Detection]]:
    """Outputs and manifest of a detector of this kind, and its objects."""
    outputs = {name: GOLDEN[f"{kind}.{name}"] for name in ("y", "prototypes") if f"{kind}.{name}" in GOLDEN}
    layer = Layer("a", "spatial", (1, 1, 2, 2), "a", "g")
    score = Score("y", "sigmoid", 3, 4, 60)
    manifest = Manifest("detect", (layer,), score, RULE, Source("", "m.onnx", 17, ""), boxes=BOXES[kind])
    return outputs, manifest, detections(outputs, manifest, PLACEMENT, iou=0.5)


def test_rotated_boxes_are_those_of_ultralytics() -> None:
    """Which of them are kept, and where they are; its corners begin at another one."""
    _, _, objects = found("obb")
    assert [item.anchor for item in objects] == GOLDEN["obb.anchors"].tolist()
    assert [item.score for item in objects] == GOLDEN["obb.scores"].tolist()
    assert [item.index for item in objects] == GOLDEN["obb.labels"].tolist()
    polygons = np.array([item.polygon for item in objects])
    np.testing.assert_allclose(np.roll(polygons[:, ::-1], -1, axis=1), GOLDEN["obb.polygons"], rtol=0, atol=1e-4)
    for item, polygon in zip(objects, polygons, strict=True):
        low, high = np.clip(polygon.min(axis=0), 0, FRAME[::-1]), np.clip(polygon.max(axis=0), 0, FRAME[::-1])
        np.testing.assert_allclose(item.box, [*low, *high], rtol=0, atol=1e-4)


def test_a_rotated_box_on_a_frame_that_was_stretched() -> None:
    """Its corners move each on their own: 40 x 20 px at a quarter turn, x three times and y twice as long."""
    y = np.zeros((1, 8, 1), np.float32)
    y[0, :, 0] = [32, 32, 40, 20, 0.9, 0, 0, np.pi / 4]
    placement = Placement.of(replace(RULE, size=(64, 64), resize="stretch"), (128, 192))
    (place,) = places_at({"y": y}, BOXES["obb"], np.array([0]), placement)
    assert place.polygon is not None
    expected = corners(np.array([[32, 32, 40, 20, np.pi / 4]], np.float32))[0] * [3, 2]
    np.testing.assert_allclose(place.polygon, expected, atol=1e-3)
    np.testing.assert_allclose(place.box, [*expected.min(axis=0), *expected.max(axis=0)], atol=1e-3)


def test_masks_are_those_of_ultralytics() -> None:
    """Over the input tensor, px by px; an object with an empty one is none."""
    outputs, manifest, objects = found("segment")
    masks = np.unpackbits(GOLDEN["segment.masks"], axis=-1).astype(bool)
    full = masks.any(axis=(1, 2))
    assert not full.all()
    assert [item.anchor for item in objects] == GOLDEN["segment.anchors"][full].tolist()
    anchors = np.array([item.anchor for item in objects])
    assert manifest.boxes is not None
    np.testing.assert_array_equal(masks_at(outputs, manifest.boxes, anchors, TENSOR), masks[full])


def test_keypoints_are_those_of_ultralytics() -> None:
    _, _, objects = found("pose")
    assert [item.anchor for item in objects] == GOLDEN["pose.anchors"].tolist()
    expected = GOLDEN["pose.keypoints"]
    np.testing.assert_allclose([item.keypoints for item in objects], expected, rtol=0, atol=1e-4)
    assert expected[..., 0].min() == 0  # cut to the frame


def test_keypoints_without_a_share() -> None:
    """Of (x, y) alone, the numbers of the others."""
    outputs, manifest, _ = found("pose")
    assert manifest.boxes is not None
    boxes = replace(manifest.boxes, keypoints=Keypoints(7, 3, 2))
    first = detections(outputs, replace(manifest, boxes=boxes), PLACEMENT, iou=0.5)[0]
    assert first.keypoints is not None
    x, y = first.keypoints[1]
    row = outputs["y"][0, 9:11, first.anchor]
    assert (x, y) == pytest.approx(np.clip((row - [0, 8]) * 200 / 96, 0, FRAME[::-1]).tolist(), abs=1e-4)


def test_corners_go_around_the_box() -> None:
    """Width along the angle, from x towards y; here 4 x 2, a quarter turn and none."""
    boxes = np.array([[10, 20, 4, 2, 0], [10, 20, 4, 2, np.pi / 2]], np.float32)
    np.testing.assert_allclose(corners(boxes)[0], [[8, 19], [12, 19], [12, 21], [8, 21]], atol=1e-5)
    np.testing.assert_allclose(corners(boxes)[1], [[11, 18], [11, 22], [9, 22], [9, 18]], atol=1e-5)


def test_rotated_boxes_of_other_classes_do_not_suppress() -> None:
    """Three of the same: the worse go, those of another class stay unless classes do not count."""
    boxes = np.repeat(np.array([[10, 10, 8, 4, 0.3]], np.float32), 3, axis=0)
    scores, labels = np.array([0.5, 0.9, 0.7], np.float32), np.array([0, 0, 1])
    assert suppress_rotated(boxes, scores, labels, 0.5, 9).tolist() == [1, 2]
    assert suppress_rotated(boxes, scores, None, 0.5, 9).tolist() == [1]
    assert suppress_rotated(boxes, scores, labels, 0.5, 1).tolist() == [1]
    assert suppress_rotated(boxes[:0], scores[:0], None, 0.5, 9).tolist() == []
