"""The runtime on real weights and photographs: right classes, maps on the right thing, fused equal to computed."""

from __future__ import annotations

import numpy as np
import pytest

import exported_models
from aerocam.runtime import Explainer, read_picture

pytestmark = pytest.mark.runtime

BOXES = {
    ("coffee", "espresso"): (175, 20, 385, 215),
    ("astronaut", "football helmet"): (275, 340, 505, 512),
    ("astronaut", "space shuttle"): (350, 0, 450, 280),
}
"""(left, top, right, bottom) px of the cup's bowl, the helmet and the shuttle, read off the photographs."""


@pytest.fixture(scope="module", params=[exported_models.TENSORS, exported_models.FUSED])
def explainer(request: pytest.FixtureRequest) -> Explainer:
    return Explainer(exported_models.folder() / request.param, method="gradcam", threads=1)


def photograph(name: str) -> np.ndarray:
    return read_picture(exported_models.folder() / f"{name}.png")


@pytest.mark.parametrize(("name", "label"), BOXES)
def test_grad_cam_peaks_on_the_thing(explainer: Explainer, name: str, label: str) -> None:
    explanation = explainer(photograph(name), label)
    left, top, right, bottom = BOXES[name, label]
    y, x = np.unravel_index(explanation.map[0].argmax(), explanation.map[0].shape)
    assert left <= x < right
    assert top <= y < bottom
    mass = explanation.map[0]
    assert mass[top:bottom, left:right].sum() > 0.5 * mass.sum()


@pytest.mark.parametrize(("name", "index", "probability"), [("coffee", 967, 0.95), ("astronaut", 560, 0.17)])
def test_own_choice_is_the_network_s_top_class(explainer: Explainer, name: str, index: int, probability: float) -> None:
    explanation = explainer(photograph(name))
    assert explanation.target.index == explanation.classes[0].index == index
    assert explanation.classes[0].score == pytest.approx(probability, abs=0.02)


def test_fused_head_equals_the_runtime_s_method() -> None:
    models = (exported_models.TENSORS, exported_models.FUSED)
    computed, fused = (Explainer(exported_models.folder() / model, threads=1) for model in models)
    for target in (None, 812, 0):
        a, b = computed(photograph("astronaut"), target), fused(photograph("astronaut"), target)
        np.testing.assert_allclose(a.raw, b.raw, atol=1e-5 * np.abs(a.raw).max())
        assert a.target.logit == b.target.logit


def maps_of_two_classes(method: str) -> tuple[np.ndarray, np.ndarray]:
    with Explainer(exported_models.folder() / exported_models.TENSORS, method=method, threads=1) as explainer:
        frame = photograph("astronaut")
        return explainer(frame, "football helmet").tensor_map[0], explainer(frame, "space shuttle").tensor_map[0]


@pytest.mark.parametrize("method", ["gradcam", "layercam", "cfcam"])
def test_maps_of_two_classes_differ(method: str) -> None:
    helmet, shuttle = maps_of_two_classes(method)
    assert np.corrcoef(helmet.ravel(), shuttle.ravel())[0, 1] < 0.9


def test_published_cf_cam_does_not_tell_classes_apart() -> None:
    """The release's flaw, kept on purpose: its softmax over tiny mean gradients is all but uniform."""
    helmet, shuttle = maps_of_two_classes("cfcam-published")
    assert np.corrcoef(helmet.ravel(), shuttle.ravel())[0, 1] > 0.999
