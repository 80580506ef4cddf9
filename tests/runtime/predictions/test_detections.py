"""Boxes of detectors: decoded in every form, suppressed as torchvision does it, found as Ultralytics finds them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import checkout
from aerocam.errors import ModelError, UsageError
from aerocam.manifest import Boxes, Layer, Manifest, Preprocess, Score, Source
from aerocam.runtime.frames.preprocess import Placement
from aerocam.runtime.predictions import scores
from aerocam.runtime.predictions.boxes import boxes_at, suppress
from aerocam.runtime.predictions.detections import Detection, detections

pytestmark = pytest.mark.runtime

GOLDEN = np.load(checkout.GOLDEN / "detections/ultralytics.npz")
"""Made by golden/detections/make_ultralytics.py."""

SETTINGS = json.loads(str(GOLDEN["settings"]))
PAGE = (1100, 850)
NAMES = {"conf_thres": "confidence", "iou_thres": "iou", "max_det": "max_detections"}


def contract(score: Score, boxes: Boxes | None, size: tuple[int, int], labels: tuple[str, ...] = ()) -> Manifest:
    """A manifest of a detector whose frames are letterboxed."""
    layer = Layer("a", "spatial", (1, 1, 2, 2), "a", "g")
    rule = Preprocess("images", size, resize="letterbox")
    return Manifest("detect", (layer,), score, rule, Source("", "m.onnx", 17, ""), boxes=boxes, labels=labels)


def untouched(manifest: Manifest) -> Placement:
    """Of frames of the input's size."""
    assert manifest.preprocess is not None
    return Placement.of(manifest.preprocess, manifest.preprocess.size)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("page", ["article", "report"])
def test_boxes_are_those_of_ultralytics(page: str, setting: str) -> None:
    """The same anchors and classes in the same order; boxes in px of the page, the letterbox undone."""
    output = np.zeros((1, 15, 21504), np.float32)
    output[0, :, GOLDEN[f"{page}.anchors"]] = GOLDEN[f"{page}.columns"].T
    manifest = contract(Score("y", "sigmoid", 11, 4, 21504), Boxes("y", 1), (1024, 1024))
    placement = Placement.of(manifest.preprocess, PAGE)  # type: ignore[arg-type]
    options = {NAMES.get(name, name): value for name, value in SETTINGS[setting].items()}
    found = detections({"y": output}, manifest, placement, **options)
    expected = GOLDEN[f"{page}.{setting}"]
    assert len(found) == len(expected) >= 5
    assert [item.anchor for item in found] == expected[:, 6].tolist()
    assert [item.index for item in found] == expected[:, 5].tolist()
    assert [item.score for item in found] == expected[:, 4].tolist()
    np.testing.assert_allclose([item.box for item in found], expected[:, :4], rtol=0, atol=1e-4)


def greedy(boxes: Any, values: Any, labels: Any, iou: float, most: int) -> list[int]:
    """Suppression by the definition, box by box, in fractions that rounding does not reach for whole numbers."""
    left = sorted(range(len(boxes)), key=lambda i: (-values[i], i))
    kept: list[int] = []
    for i in left:
        if all(labels[i] != labels[j] or overlap(boxes[i], boxes[j]) <= iou for j in kept):
            kept.append(i)
    return kept[:most]


def overlap(a: Any, b: Any) -> float:
    wide = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = int(wide * high)
    area = sum(int((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)) - both
    return both / area if area else 0


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("apart", [True, False])
def test_suppression_by_its_definition(iou: float, apart: bool) -> None:
    """Whole numbers, few different scores: many ties and overlaps at exactly one half."""
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 12, (300, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 9, (300, 2))]).astype(np.float32)
    values = (rng.integers(1, 6, 300) / 8).astype(np.float32)
    labels = rng.integers(0, 3, 300)
    expected = greedy(boxes, values, labels if apart else np.zeros(300), iou, 60)
    assert suppress(boxes, values, labels if apart else None, iou, 60).tolist() == expected


def test_at_the_threshold_both_stay() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 5.1]], np.float32)
    values = np.array([0.9, 0.8, 0.7], np.float32)
    assert suppress(boxes[:2], values[:2], None, 0.5, 9).tolist() == [0, 1]
    assert suppress(boxes[::2], values[::2], None, 0.5, 9).tolist() == [0]


def test_no_box_at_all() -> None:
    manifest = contract(Score("y", "sigmoid", 2, 4, 3), Boxes("y", 1), (32, 32))
    assert detections({"y": np.zeros((1, 6, 3), np.float32)}, manifest, untouched(manifest)) == []


def table(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, (1, rows, columns)).astype(np.float32)


def by_hand(found: list[Detection], expected: list[tuple[float, int, int, list[float]]]) -> None:
    """Score, class, anchor and box, worked out in Python's floats; best first."""
    expected.sort(key=lambda item: (-item[0], item[2]))
    assert [(item.anchor, item.index) for item in found] == [(anchor, label) for _, label, anchor, _ in expected]
    np.testing.assert_allclose([item.score for item in found], [item[0] for item in expected], rtol=1e-5)
    np.testing.assert_allclose([item.box for item in found], [item[3] for item in expected], rtol=1e-4, atol=1e-4)


def around(x: float, y: float, width: float, height: float, size: float) -> list[float]:
    """Corners, cut to a square frame."""
    return [min(max(v, 0), size) for v in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)]


@pytest.mark.parametrize("link", ["none", "sigmoid"])
def test_objectness_is_a_factor(link: Any) -> None:
    """YOLOv5: (1, anchors, 5 + classes), probabilities or, with a link, logits."""
    y = table(40, 8)
    y[0, :, :4] *= 32
    score = Score("y", "sigmoid" if link == "none" else "none", 3, 5, 40, 2, objectness=4, link=link)
    manifest = contract(score, Boxes("y", 2), (32, 32), ("a", "b", "c"))
    expected, rows = [], y[0].tolist()
    if link == "sigmoid":
        y[0, :, 4:] = np.log(y[0, :, 4:] / (1 - y[0, :, 4:]))
    for anchor, row in enumerate(rows):
        best = max(range(3), key=lambda c: row[5 + c])
        if row[4] * row[5 + best] > 0.3:
            expected.append((row[4] * row[5 + best], best, anchor, around(*row[:4], size=32)))
    assert 3 < len(expected) < 30
    found = detections({"y": y}, manifest, untouched(manifest), confidence=0.3, iou=1)
    by_hand(found, expected)
    assert [item.label for item in found] == ["abc"[item.index] for item in found]
    only = detections({"y": y}, manifest, untouched(manifest), confidence=0.3, iou=1, classes=["b", 2])
    assert only == [item for item in found if item.label != "a"]
    shares = scores.probabilities(y, manifest.score)
    np.testing.assert_allclose(shares, [max(row[4] * row[5 + c] for row in rows) for c in range(3)], rtol=1e-5)
    assert scores.at_anchor(y, manifest.score, 1, 7) == pytest.approx(rows[7][4] * rows[7][6], rel=1e-5)
    assert scores.choice(y, manifest.score, -1, -1) == max(expected)[1:3]
    assert scores.choice(y, manifest.score, 1, -1) == (
        1,
        max(range(40), key=lambda anchor: rows[anchor][4] * rows[anchor][6]),
    )
    assert scores.choice(y, manifest.score, -1, 7) == (max(range(3), key=lambda c: rows[7][5 + c]), 7)
    assert scores.choice(y, manifest.score, 2, 7) == (2, 7)


def test_boxes_relative_to_cells() -> None:
    """YOLOX: centres count from the cell, sizes are logarithms; 64x32 px."""
    y = table(42, 7, 1)
    y[0, :, :4] = y[0, :, :4] * 4 - 2
    boxes, size = Boxes("y", 2, strides=(8, 16, 32)), (32, 64)
    cells = [(x, line, stride) for stride in (8, 16, 32) for line in range(32 // stride) for x in range(64 // stride)]
    for anchor, (x, line, stride) in enumerate(cells):
        dx, dy, dw, dh = y[0, anchor, :4].tolist()
        centre, half = ((dx + x) * stride, (dy + line) * stride), (math.exp(dw) * stride / 2, math.exp(dh) * stride / 2)
        expected = (centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1])
        (found,) = boxes_at({"y": y}, boxes, np.array([anchor]), size)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-4)
    with pytest.raises(ModelError, match=r"42 anchors, an input of 32x32 px has 21 cells at strides \(8, 16, 32\)"):
        boxes_at({"y": y}, boxes, np.array([0]), (32, 32))


@pytest.mark.parametrize(("form", "unit"), [("xyxy", "pixel"), ("cxcywh", "share")])
def test_a_list_of_finished_boxes(form: Any, unit: Any) -> None:
    """YOLOv10: nothing is suppressed, though all boxes are one; the label is in the list."""
    y = np.tile(np.array([0.25, 0.5, 0.5, 0.75, 0, 0], np.float32) * (32 if unit == "pixel" else 1), (6, 1))[None]
    y[0, :, 4] = [0.9, 0.8, 0.8, 0.25, 0.3, 0.1]
    y[0, :, 5] = [2, 0, 2, 1, 0, 1]
    boxes = Boxes("y", 2, form=form, unit=unit, suppressed=True)
    manifest = contract(Score("y", "sigmoid", 4, 4, 6, 2, label_at=5), boxes, (32, 32))
    box = [8, 16, 16, 24] if form == "xyxy" else around(8, 16, 16, 24, size=32)
    expected = [(0.9, 2, 0, box), (0.8, 0, 1, box), (0.8, 2, 2, box), (0.3, 0, 4, box)]
    found = detections({"y": y}, manifest, untouched(manifest))
    by_hand(found, expected)
    assert found[0].label == "class 2"
    np.testing.assert_array_equal(scores.probabilities(y, manifest.score), np.float32([0.8, 0.25, 0.9, 0]))
    assert scores.at_anchor(y, manifest.score, 1, 4) == pytest.approx(0.3)
    asked = [(-1, -1), (1, -1), (-1, 1)]
    assert [scores.choice(y, manifest.score, *pair) for pair in asked] == [(2, 0), (1, 3), (0, 1)]


@pytest.mark.parametrize(
    ("activation", "background", "columns"),
    [("softmax", 0, 4), ("sigmoid", 0, 4), ("none", 3, 4), ("softmax", 3, 4), ("none", None, 3), ("sigmoid", None, 3)],
)
def test_scores_beside_boxes(activation: Any, background: int | None, columns: int) -> None:
    """SSD and DETR, with probabilities or logits; boxes of a frame of 40x20 px in a tensor of 64x32 px."""
    y = table(30, columns, 2) * (1 if activation != "none" else 6)
    if activation == "softmax":
        y /= y.sum(axis=2, keepdims=True)
    corners = np.sort(table(30, 4, 3).reshape(1, 30, 2, 2), axis=2)[..., ::-1].reshape(1, 30, 4)
    classes = columns - (background == 3)
    boxes = Boxes("boxes", 2, form="yxyx", unit="share", suppressed=background == 3)
    link: Any = "none" if activation != "none" else "sigmoid" if background is None else "softmax"
    manifest = contract(Score("y", activation, classes, 0, 30, 2, background=background, link=link), boxes, (32, 64))
    placement = Placement.of(manifest.preprocess, (20, 40))  # type: ignore[arg-type]
    expected = []
    for anchor, row in enumerate(y[0].tolist()):
        if activation == "none":
            powers = [math.exp(v) for v in row]
            row = [p / sum(powers) if background is not None else p / (1 + p) for p in powers]
        names = [c for c in range(classes) if c != background]
        best = max(names, key=lambda c: row[c])
        top, left, bottom, right = corners[0, anchor].tolist()
        box = [v * 40 / 64 for v in (left * 64, top * 32, right * 64, bottom * 32)]
        if row[best] > 0.4:
            expected.append((row[best], best, anchor, box))
    assert expected
    by_hand(detections({"y": y, "boxes": corners}, manifest, placement, confidence=0.4, iou=1), expected)
    shares = scores.probabilities(y, manifest.score)
    assert shares.shape == (classes,)
    assert shares.max() == pytest.approx(max(item[0] for item in expected), rel=1e-5)
    assert scores.choice(y, manifest.score, -1, -1) == max(expected)[1:3]
    first = expected[0]
    assert scores.at_anchor(y, manifest.score, first[1], first[2]) == pytest.approx(first[0], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 1.5}, "`confidence=1.5`: expected 0 to 1"),
        ({"iou": -0.1}, "`iou=-0.1`: expected 0 to 1"),
        ({"classes": ["cat"]}, "class 'cat': the model carries no class names"),
        ({"classes": [2]}, "class 2: expected 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    manifest = contract(Score("y", "sigmoid", 2, 4, 3), Boxes("y", 1), (32, 32))
    with pytest.raises(UsageError, match=message):
        detections({"y": np.zeros((1, 6, 3), np.float32)}, manifest, untouched(manifest), **options)


def test_a_model_without_boxes() -> None:
    manifest = contract(Score("y", "sigmoid", 2, 0, 3), None, (32, 32))
    with pytest.raises(UsageError, match="the model gives no boxes; a detector whose graph decodes them is expected"):
        detections({"y": np.zeros((1, 2, 3), np.float32)}, manifest, untouched(manifest))
