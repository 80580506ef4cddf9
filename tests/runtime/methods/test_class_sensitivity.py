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
from aerocam.methods import METHODS
from aerocam.runtime import Explainer

pytestmark = pytest.mark.slow

CLASSES = ["tiger cat", "espresso"]
LAST, INNER, FEW = "head/act", "blocks.10/expand/act", "blocks.4/add"
"""The last has 40 channels only, each of which costs ScoreCAM a run of the model."""

RELEVANCE = "relevance"
"""A method, and the file that has what it takes."""

AT_INPUT, GUIDED = "images", "guided"
"""Files for the methods on the input picture."""


def named(kinds: str, *answers: str) -> list[str]:
    """The methods of some kinds whose row answers so whether they tell classes apart."""
    return [name for name, facts in METHODS.items() if facts.kind in kinds.split() and facts.class_sensitive in answers]


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
    paths[AT_INPUT] = export_model(model, folder / "input.onnx", layers="images", **known).path
    paths[GUIDED] = export_model(model, folder / "guided.onnx", layers=["images", LAST], guided=True, **known).path
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


@pytest.mark.parametrize("method", named("layer contrast", "yes", "inner layers"))
def test_a_method_that_reads_gradients_tells_classes_apart(exported: dict[str, Path], method: str) -> None:
    file = RELEVANCE if method == RELEVANCE else LAST if METHODS[method].class_sensitive == "yes" else INNER
    assert METHODS[method].gradients is not None
    assert correlation(exported[file], method) < 0.95


@pytest.mark.parametrize("method", named("input", "yes", "hardly"))
def test_a_method_on_the_input_tells_classes_apart(exported: dict[str, Path], method: str) -> None:
    """Guided backpropagation hardly: it shows edges (arXiv:1810.03292)."""
    options = {"smoothgrad": {"samples": 5}, "integrated_gradients": {"steps": 5}}.get(method, {})
    found = correlation(exported[GUIDED if METHODS[method].gradients == "guided" else AT_INPUT], method, **options)
    assert (found < 0.95) == (METHODS[method].class_sensitive == "yes")
    assert found < 0.999


FORWARD: dict[str, dict[str, Any]] = {
    "ablationcam": {},
    "occlusion": {"patch": 64},
    "reciprocam": {},
    "rise": {"masks": 60},
    "scorecam": {},
}


@pytest.mark.parametrize("method", named("model tail", "yes"))
def test_a_method_that_runs_the_model_tells_classes_apart(exported: dict[str, Path], method: str) -> None:
    path = exported[method if method in TAIL_HEADS else FEW]
    assert correlation(path, method, **FORWARD[method]) < 0.95


@pytest.mark.parametrize("method", named("layer contrast", "no", "inner layers"))
def test_what_does_not_depend_on_the_class_has_one_map(exported: dict[str, Path], method: str) -> None:
    """The published CF-CAM is among them, though it reads gradients: its softmax over them is all but uniform.

    So is NormGrad behind the last layer, where the gradient is the same at every position: its norm times a picture.
    """
    assert correlation(exported[LAST], method) > 0.999


def test_the_published_cfcam_fails_at_an_inner_layer_too(exported: dict[str, Path]) -> None:
    assert correlation(exported[INNER], "cfcam-published") > 0.999
    assert correlation(exported[INNER], "cfcam") < 0.95
