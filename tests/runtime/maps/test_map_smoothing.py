"""Smoothed maps: against pytorch-grad-cam's (golden/input/make_smoothing.py), and their own arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import exported_models
from aerocam.errors import UsageError
from aerocam.runtime import Explainer, read_picture
from aerocam.runtime.maps.saliency import blurred, combine
from aerocam.runtime.maps.smoothing import MapSmoothing, altered
from checkout import GOLDEN
from runtime_fixtures import noise

pytestmark = pytest.mark.runtime

INPUT = GOLDEN / "input"
TARGET = 2
NETWORK = exported_models.SMALL_GUIDED


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(INPUT / "smoothing.npz") as arrays, np.load(INPUT / "captum.npz") as frame:
        return {**arrays, "frame": np.ascontiguousarray(frame["rgb"][:, :, ::-1])}


def explained(golden: dict[str, Any], method: str, smoothing: MapSmoothing | None, target: int = TARGET) -> Any:
    path = exported_models.folder() / NETWORK
    with Explainer(path, method=method, smoothing=smoothing, threads=1) as explain:
        return explain(golden["frame"], target)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_aug_smooth_equals_pytorch_grad_cam(golden: dict[str, Any], method: str) -> None:
    found = explained(golden, method, MapSmoothing(augmented=True))
    assert np.abs(found.tensor_map[0] - golden[f"{method}/aug"]).max() < 1e-5
    assert found.record()["augmented"] == 5
    np.testing.assert_array_equal(found.raw, explained(golden, method, None).raw)


@pytest.mark.parametrize("method", ["gradcam", "gradcam++"])
def test_both_smoothings_equal_pytorch_grad_cam_s_but_for_the_signs(golden: dict[str, Any], method: str) -> None:
    """It leaves the sign of each of the six components to LAPACK; the golden has that of the sum, as ours."""
    found = explained(golden, method, MapSmoothing(augmented=True, eigen=True))
    assert np.abs(found.tensor_map[0] - golden[f"{method}/aug/eigen"]).max() < 1e-5


def test_the_target_of_all_altered_frames_is_the_frame_s_own(golden: dict[str, Any]) -> None:
    own = explained(golden, "gradcam", MapSmoothing(augmented=True), -1)
    assert own.target.index == TARGET
    assert own.target.logit == explained(golden, "gradcam", None).target.logit
    np.testing.assert_array_equal(own.map, explained(golden, "gradcam", MapSmoothing(augmented=True)).map)


def test_altered_tensors_are_scaled_and_mirrored() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    found = list(altered(tensor, 3))
    expected = [(0.9, False), (1.1, False), (0.9, True), (1.0, True), (1.1, True)]
    assert [mirrored for _, mirrored in found] == [mirrored for _, mirrored in expected]
    for (one, mirrored), (factor, _) in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, factor * (tensor[..., ::-1] if mirrored else tensor), rtol=1e-6)


def test_a_gaussian_spreads_a_point_and_keeps_its_mass() -> None:
    point = np.zeros((1, 15, 15), np.float32)
    point[0, 7, 7] = 1
    found = blurred(point, 1.5)
    places = np.arange(15) - 7
    bell = np.exp(-(places**2) / (2 * 1.5**2))
    expected = np.outer(bell, bell) / bell.sum() ** 2
    np.testing.assert_allclose(found[0], expected, atol=2e-4)
    corner = np.zeros((1, 5, 5), np.float32)
    corner[0, 0, 0] = 1
    assert blurred(corner, 2.0).sum() == pytest.approx(1, rel=1e-4)
    assert blurred(corner, 0.0) is corner


def test_the_positive_part_of_the_map_is_blurred() -> None:
    raw = np.float32([[[4, -50, 0], [0, 0, 0], [0, 0, 2]]])
    found = combine([raw], (3, 3), "max", "mean", 0.8)
    smooth = blurred(np.maximum(raw, 0), 0.8)
    np.testing.assert_allclose(found, smooth / smooth.max(), rtol=1e-6)


def test_a_blurred_explanation_says_so(golden: dict[str, Any]) -> None:
    found = explained(golden, "gradcam", MapSmoothing(gaussian=1.5))
    assert found.record()["gaussian"] == 1.5
    np.testing.assert_allclose(found.tensor_map, combine([found.raw], (24, 24), "minmax", "mean", 1.5))


def test_several_targets_are_smoothed_one_by_one(golden: dict[str, Any]) -> None:
    both = explained(golden, "gradcam", MapSmoothing(augmented=True), [TARGET, 0])  # type: ignore[arg-type]
    for i, target in enumerate((TARGET, 0)):
        one = explained(golden, "gradcam", MapSmoothing(augmented=True), target)
        np.testing.assert_allclose(both.tensor_map[i], one.tensor_map[0], atol=1e-6)


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_a_model_in_two_files_is_smoothed_as_one_in_one(method: str) -> None:
    """The altered frames' activations leave the file that runs on every frame, not the one that explains."""
    frame, aug = noise((26, 22), 3), MapSmoothing(augmented=True)
    whole, split = (exported_models.folder() / name for name in (exported_models.FORWARD, exported_models.TAIL))
    with Explainer(whole, method=method, smoothing=aug) as one, Explainer(split, method=method, smoothing=aug) as two:
        np.testing.assert_allclose(two(frame, [0, 3, 1]).map, one(frame, [0, 3, 1]).map, atol=1e-5)


def test_eigen_smooth_of_a_photograph_keeps_to_the_map() -> None:
    """On a real network the smoothed map is not turned inside out."""
    path, frame = exported_models.folder() / exported_models.TENSORS, exported_models.folder() / "coffee.png"
    maps = []
    for smoothing in (None, MapSmoothing(eigen=True)):
        with Explainer(path, smoothing=smoothing, threads=1) as explain:
            maps.append(explain(read_picture(frame)).tensor_map[0])
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.5


@pytest.mark.parametrize(
    ("smoothing", "message"),
    [
        ({"gaussian": 1.0}, r"the file's map is normalised already; export it without `map_form`"),
        ({"augmented": True}, r"the file's map is normalised already"),
    ],
)
def test_a_normalised_map_is_not_smoothed(smoothing: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(exported_models.folder() / exported_models.WIDE_ENDS, smoothing=MapSmoothing(**smoothing))


@pytest.mark.parametrize(
    ("method", "smoothing", "message"),
    [
        ("eigencam", {"eigen": True}, r"method eigencam: it has no option 'eigen_smooth'"),
        ("guided_gradcam", {"augmented": True}, r"`augmented`: method guided_gradcam runs the model again itself"),
        ("gradcam", {"gaussian": -1.0}, r"`gaussian=-1.0`: a standard deviation of 0 or more"),
        ("gradcam", {"gaussian": float("nan")}, r"`gaussian=nan`"),
    ],
)
def test_refusals(method: str, smoothing: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Explainer(exported_models.folder() / NETWORK, method=method, smoothing=MapSmoothing(**smoothing))
