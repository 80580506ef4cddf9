"""Two classes in one picture have two maps: by every method that depends on the class, and only by these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aerocam.benchmarks import zoo
from aerocam.export import export_model
from aerocam.export.heads import TAIL_HEADS
from aerocam.runtime import Explainer
from aerocam.runtime.methods import CAM_METHODS, CONTRAST_METHODS, FORWARD_METHODS

pytestmark = pytest.mark.slow

CLASSES = ["tiger cat", "espresso"]
LAST, INNER, FEW = "head/act", "blocks.10/expand/act", "blocks.4/add"
"""The last has 40 channels only, each of which costs ScoreCAM a run of the model."""

RELEVANCE = "relevance"
"""A method, and the file that has what it takes."""

CLASS_FREE = {"eigencam", "fem", "kpcacam", "randomcam"}
"""They read no gradients."""

BY_GRADIENT_NORM = {"normgrad", "normgrad-3x3", "normgrad-bias"}
"""Behind the last layer the gradient is the same at every position, so that these show its norm times a picture."""

ALL = [*CAM_METHODS, *CONTRAST_METHODS]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("classes")
    rule = replace(zoo.lite0.PREPROCESS, resize="stretch", short_side=0)
    known = {"preprocess": rule, "labels": zoo.lite0.labels(), "check": False}
    paths = {layer: folder / f"{i}.onnx" for i, layer in enumerate((LAST, INNER))}
    for layer, path in paths.items():
        export_model(zoo.lite0.model(), path, layers=layer, **known)
    model = zoo.lite0.model()
    paths[RELEVANCE] = export_model(model, folder / "relevance.onnx", layers=LAST, relevance=True, **known).path
    paths[FEW] = export_model(model, folder / "few.onnx", layers=FEW, **known).path
    for method in TAIL_HEADS:
        paths[method] = export_model(model, folder / f"{method}.onnx", layers=LAST, head=method, **known).path
    return paths


def correlation(path: Path, method: str, **options: Any) -> float:
    """Of the maps of a cat and of an espresso, which lie side by side."""
    pair = np.hstack([cv2.resize(zoo.photograph(name), (256, 256)) for name in ("chelsea", "coffee")])
    with Explainer(path, method=method, options=options) as explain:
        first, second = explain(pair, CLASSES).tensor_map  # type: ignore[arg-type]
    if np.ptp(first) == np.ptp(second) == 0:
        return 1.0
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("method", [name for name in ALL if name not in CLASS_FREE | {"cfcam-published"}])
def test_a_method_that_reads_gradients_tells_classes_apart(exported: dict[str, Path], method: str) -> None:
    file = RELEVANCE if method == RELEVANCE else INNER if method in BY_GRADIENT_NORM else LAST
    assert correlation(exported[file], method) < 0.95


FORWARD: dict[str, dict[str, Any]] = {
    "ablationcam": {},
    "occlusion": {"patch": 64},
    "reciprocam": {},
    "rise": {"masks": 200},
    "scorecam": {},
}


@pytest.mark.parametrize("method", sorted(FORWARD_METHODS))
def test_a_method_that_runs_the_model_tells_classes_apart(exported: dict[str, Path], method: str) -> None:
    path = exported[method if method in TAIL_HEADS else FEW]
    assert correlation(path, method, **FORWARD[method]) < 0.95


@pytest.mark.parametrize("method", sorted(CLASS_FREE | BY_GRADIENT_NORM | {"cfcam-published"}))
def test_what_does_not_depend_on_the_class_has_one_map(exported: dict[str, Path], method: str) -> None:
    """The published CF-CAM is among them, though it reads gradients: its softmax over them is all but uniform."""
    assert correlation(exported[LAST], method) > 0.999


def test_the_published_cfcam_fails_at_an_inner_layer_too(exported: dict[str, Path]) -> None:
    assert correlation(exported[INNER], "cfcam-published") > 0.999
    assert correlation(exported[INNER], "cfcam") < 0.95
