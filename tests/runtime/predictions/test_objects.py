"""A detector's objects, each with a map of its own, from the file to the record: what a drone is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aerocam.benchmarks import zoo
from aerocam.errors import UsageError
from aerocam.export import export_model
from aerocam.runtime import Explainer, Explanation
from aerocam.runtime.predictions.detections import Objects, detections
from tiny_models import model

GROWN = 0.25


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    """Eight objects of a page."""
    path = tmp_path_factory.mktemp("yolo") / "yolo.cam.onnx"
    export_model(zoo.yolov8n_doclaynet(), path, packaging="split", targets=8, check=False)
    with Explainer(path) as explainer:
        return explainer(zoo.page("article"), Objects(most=8))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    """The persons in a room."""
    path = tmp_path_factory.mktemp("ssdlite") / "ssdlite.cam.onnx"
    network = {"preprocess": zoo.ssdlite.PREPROCESS, "labels": zoo.ssdlite.LABELS}
    export_model(zoo.ssdlite.model(), path, packaging="split", targets=3, check=False, **network)
    with Explainer(path) as explainer:
        return explainer(zoo.photograph("room"), Objects(most=20, confidence=0.5))


def share_inside(heat: NDArray[np.float32], box: Any) -> float:
    """Of a map's mass that inside a box a quarter wider and higher than it is."""
    left, top, right, bottom = box
    dx, dy = GROWN / 2 * (right - left), GROWN / 2 * (bottom - top)
    rows, columns = (
        slice(max(round(top - dy), 0), round(bottom + dy)),
        slice(max(round(left - dx), 0), round(right + dx)),
    )
    return float(heat[rows, columns].sum() / heat.sum())


@pytest.mark.slow
def test_every_box_of_a_page_has_a_map_of_its_own(page: Explanation) -> None:
    assert page.method == "hirescam"
    assert len(page.targets) == len(page.map) == 8
    assert len({target.label for target in page.targets}) >= 3
    shares = [share_inside(heat, target.box) for heat, target in zip(page.map, page.targets, strict=True)]
    assert min(shares) > 0.5
    alike = np.corrcoef(page.map.reshape(8, -1))
    assert alike[~np.eye(8, dtype=bool)].max() < 0.9


@pytest.mark.slow
def test_every_person_in_a_room_has_a_map_of_its_own(room: Explanation) -> None:
    """In chunks of three: the file explains no more at once."""
    assert {target.label for target in room.targets} == {"person"}
    assert len(room.targets) == 6
    shares = [share_inside(heat, target.box) for heat, target in zip(room.map, room.targets, strict=True)]
    assert min(shares) > 0.5
    alike = np.corrcoef(room.map.reshape(6, -1))
    assert alike[~np.eye(6, dtype=bool)].max() < 0.9


@pytest.mark.slow
def test_objects_are_the_detections(room: Explanation, tmp_path: Path) -> None:
    network = {"preprocess": zoo.ssdlite.PREPROCESS, "labels": zoo.ssdlite.LABELS}
    export_model(zoo.ssdlite.model(), tmp_path / "m.onnx", check=False, **network)  # type: ignore[arg-type]
    with Explainer(tmp_path / "m.onnx") as explainer:
        prediction = explainer.predict(zoo.photograph("room"))
        found = detections(prediction.outputs, explainer.manifest, prediction.placement, confidence=0.5)
        second = explainer.explain(prediction, Objects(number=2, confidence=0.5))
        none = explainer.explain(prediction, Objects(confidence=0.9999))
    assert [(one.anchor, one.box) for one in found] == [(one.anchor, one.box) for one in room.targets]
    assert [target.score for target in room.targets] == pytest.approx([one.score for one in found], abs=1e-6)
    assert [target.anchor for target in second.targets] == [found[1].anchor]
    np.testing.assert_allclose(second.raws[0][0], room.raws[0][1], rtol=0, atol=1e-5 * np.abs(room.raws[0][1]).max())
    assert none.warnings == ["no object found above 0.9999; this is the model's best guess"]
    assert none.target.anchor == found[0].anchor


@pytest.mark.parametrize(
    ("name", "objects", "message"),
    [
        ("stretch", Objects(), "task classify: the model gives no boxes"),
        ("detect", Objects(confidence=1.5), r"`confidence=1\.5`: expected 0 to 1"),
        ("detect", Objects(number=0), "`number=0`: expected 1 or more, objects count from 1"),
        ("detect", Objects(classes=("rad",)), "Did you mean 'red'"),
    ],
)
def test_objects_that_cannot_be_meant(name: str, objects: Objects, message: str) -> None:
    with Explainer(model(name)) as explainer, pytest.raises(UsageError, match=message):
        explainer(np.zeros((32, 32, 3), np.uint8), objects)
